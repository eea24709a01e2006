//! What superblocks say of their own devices.

use crate::outcome::{assert_mended_by, contents};
use crate::support::inject::Injector;
use crate::support::repaired::repaired;
use crate::support::{kernel_image_or_skip, tool};

#[test]
fn a_device_with_the_number_of_no_other_gets_its_own_back() {
    for (name, device, number) in [("single", 0, 7), ("raid1", 0, 9), ("raid10", 2, 1 << 40), ("raid5", 1, 3)] {
        let Some(images) = kernel_image_or_skip(name) else { return };
        let before = contents(&images);
        let it = Injector::new(&images);
        it.superblocks_of(device, |superblock| superblock.dev_item.devid.set(number));
        assert_mended_by("device-number-set", it.images(), repaired(it.images()), name);
        assert!(contents(it.images()) == before, "{name}");
    }
}

/// Two devices that claim each other's numbers, or one whose uuid may be what is wrong.
#[test]
fn no_device_gets_a_number_that_another_one_claims() {
    let Some(images) = kernel_image_or_skip("raid1c3") else { return };
    for is_missing in [false, true] {
        let mut it = Injector::new(&images);
        it.superblocks_of(0, |superblock| superblock.dev_item.devid.set(2));
        if is_missing {
            it.lose(1);
        } else {
            it.superblocks_of(1, |superblock| superblock.dev_item.devid.set(1));
        }
        let held = tool("sha256sum", it.images()).unwrap();
        let is_mended = repaired(it.images()).is_ok_and(|repaired| repaired.is_better());
        assert!(!is_mended, "missing: {is_missing}");
        assert_eq!(tool("sha256sum", it.images()).unwrap(), held, "missing: {is_missing}");
    }
}
