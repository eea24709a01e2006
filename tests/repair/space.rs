//! The trees of space built anew, of filesystems on which nothing is wrong.

use std::process::Command;

use rbtrfs::disk::flags::header;
use rbtrfs::disk::node::Header;
use rbtrfs::disk::objectid;
use rbtrfs::image::Image;
use rbtrfs::progress::Progress;
use rbtrfs::repair::{Force, Options, publish, repair};
use zerocopy::FromBytes;

use crate::outcome::{contents, judge};
use crate::support::inject::Injector;
use crate::support::mounted::{Mounted, btrfs_check, btrfs_check_output};
use crate::support::repaired::{options, repaired};
use crate::support::soundness::assert_sound;
use crate::support::staged::held;
use crate::support::{Scratch, kernel_image_or_skip, or_skip};

/// The kernel does not look at the flag of a relocation in the root of a subvolume, and else takes the blocks below for those of the
/// subvolume.
#[test]
fn a_root_that_claims_to_be_of_a_relocation_does_not_abort_the_next_snapshot() {
    let Some(images) = kernel_image_or_skip("single") else { return };
    let injector = Injector::new(&images);
    let root = injector.root(objectid::FS_TREE);
    injector.block(root.logical, |block| Header::mut_from_prefix(block).unwrap().0.flags |= header::RELOC);
    let before = contents(injector.images());
    assert_eq!(judge(injector.images(), &repaired(injector.images())), "clean");
    assert_eq!(contents(injector.images()), before);
    let scratch = Scratch::new();
    let Some(mounted) = or_skip(Mounted::new(injector.images(), "rw", &scratch)) else { return };
    mounted.write_something();
    let snapshot = mounted.path().join("snapshot");
    let made =
        Command::new("btrfs").args(["subvolume", "snapshot"]).arg(mounted.path()).arg(snapshot).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    drop(mounted);
    assert_sound(injector.images(), "after a snapshot");
}

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
