//! Copies of blocks.

use rbtrfs::disk::objectid;

use crate::support::inject::Injector;
use crate::support::kernel_image_or_skip;
use crate::support::repaired::fault_of_repair;

/// What a disk that loses writes leaves: each copy is right by itself.
#[test]
fn an_older_copy_is_no_source_for_another_one() {
    let Some(images) = kernel_image_or_skip("raid5-data-raid1c3-meta") else { return };
    let injector = Injector::new(&images);
    let csum_type = injector.volume().format().csum_type;
    for tree in [objectid::FS_TREE, objectid::CSUM_TREE, objectid::EXTENT_TREE] {
        let block = injector.root(tree).logical;
        for mirror in [1, 2] {
            injector.block_copy(block, mirror, |bytes| {
                let generation = u64::from_le_bytes(bytes[80..88].try_into().unwrap());
                bytes[80..88].copy_from_slice(&(generation - 1).to_le_bytes());
                csum_type.stamp(bytes);
            });
        }
    }
    assert_eq!(fault_of_repair(injector.images()), None);
}
