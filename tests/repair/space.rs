//! The trees of space built anew, of filesystems on which nothing is wrong.

use rbtrfs::image::Image;
use rbtrfs::progress::Progress;
use rbtrfs::repair::{Force, Options, publish, repair};

use crate::outcome::contents;
use crate::support::inject::Injector;
use crate::support::mounted::{Mounted, btrfs_check, btrfs_check_output};
use crate::support::repaired::options;
use crate::support::soundness::assert_sound;
use crate::support::staged::held;
use crate::support::{Scratch, kernel_image_or_skip, or_skip};

/// Blocks of a relocation tree refer by their addresses, blocks that a subvolume gave up do, simple quotas count data for the
/// subvolume that wrote it.
#[test]
fn no_filesystem_is_worse_off_with_a_new_extent_tree() {
    let names =
        ["balance-interrupted", "half-dropped", "squota", "squota-sharing", "quota-sharing", "orphan", "no-skinny"];
    for name in names {
        let Some(images) = kernel_image_or_skip(name) else { continue };
        let injector = Injector::new(&images);
        let images = injector.images();
        let before = contents(images);
        // Not every version of btrfs-progs knows simple quotas.
        let Some(known) = or_skip(btrfs_check_output(images)) else { return };
        let progress = Progress::default();
        let force = Force { extent_tree: true, ..Force::default() };
        let staged: Vec<Image> = images.iter().map(|image| held(image).staged()).collect();
        let repaired = repair(&staged, &Options { force, ..options(&progress) }).unwrap();
        assert!(repaired.stopped.is_none(), "{name}: {:?}", repaired.stopped);
        publish(staged, None, &progress).unwrap().wholly().unwrap();
        assert_sound(images, name);
        if known.status.success() {
            or_skip(btrfs_check(images));
        }
        assert_eq!(contents(images), before, "{name}");
        let scratch = Scratch::new();
        let Some(mounted) = or_skip(Mounted::new(images, "rw", &scratch)) else { return };
        mounted.write_something();
        drop(mounted);
        assert_sound(images, &format!("{name}, written to"));
    }
}
