//! The machine stops while a change is published, undone, or brought back.

use std::collections::BTreeSet;
use std::path::PathBuf;

use rbtrfs::disk::flags::block_group::DATA;
use rbtrfs::disk::superblock::{SUPER_INFO_SIZE, SUPER_OFFSETS};
use rbtrfs::disk::{Logical, STRIPE_LEN};

use super::*;
use crate::support::change::{allocate, open_for_change, wish};
use crate::support::crash::{Left, after, is_primary_intact, moments};
use crate::support::mounted::btrfs_check;
use crate::support::random::Random;
use crate::support::recording_disk::RecordingDisk;
use crate::support::soundness::{assert_sound_but_behind, assert_sound_but_torn};

/// Cuts between barriers, beside those at each barrier.
fn cuts() -> usize {
    std::env::var("RBTRFS_CRASH_CUTS").map_or(24, |cuts| cuts.parse().expect("a number of cuts"))
}

fn addresses(images: &[PathBuf]) -> BTreeSet<Logical> {
    open(images).chunks().iter().map(|chunk| chunk.logical).collect()
}

/// Stops the machine at many moments of `work`, which brings images from one state to another one. Each leaves one of the two
/// states, and `file` brings what is left to the state of `wanted`.
fn crash_amid(
    name: &str,
    images: &[PathBuf],
    wanted: &[PathBuf],
    file: &Path,
    scratch: &Scratch,
    work: impl FnOnce(&[PathBuf]),
) {
    let Some(disk) = or_skip(RecordingDisk::new(images, scratch)) else { return };
    work(disk.images());
    let states = [addresses(images), addresses(disk.images())];
    assert_ne!(states[0], states[1], "{name}");
    let events = disk.events();
    let mut random = Random(events.len() as u64);
    let (mut found, mut torn) = (BTreeSet::new(), 0);
    for (number, moment) in moments(&events, cuts(), 4, &mut random).into_iter().enumerate() {
        let crashed = Scratch::in_memory();
        let left = after(&disk, &events, moment, &mut random, &crashed);
        let what = format!("{name}: {moment:?} of {} events", events.len());
        let is_torn = !left.iter().all(|image| is_primary_intact(image));
        match moment.1 {
            Left::Torn(_) => assert_sound_but_torn(&left, &what),
            _ => assert_sound_but_behind(&left, &what),
        };
        torn += usize::from(is_torn);
        let chunks = addresses(&left);
        assert!(states.contains(&chunks), "{what}: neither the one state nor the other");
        found.insert(chunks == states[0]);
        if !is_torn && number % 10 == 0 {
            or_skip(btrfs_check(&left));
        }
        undo_with(file, &left, None).unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_identical(&left, wanted, &what);
    }
    assert_eq!(found.len(), 2, "{name}: both states are found");
    assert!(torn > 0, "{name}: no primary superblock was torn");
}

/// The mirrors of the superblock lead to the state before the present one, of which something was since overwritten or may be.
fn leave_mirrors_behind(images: &[PathBuf]) {
    let mirror = SUPER_OFFSETS[1].0;
    let stale: Vec<Vec<u8>> = images.iter().map(|image| change(image, mirror, SUPER_INFO_SIZE, |_| {})).collect();
    let mut fs = open_for_change(images);
    for _ in 0..4 {
        allocate(&fs, &wish(DATA, None, STRIPE_LEN)).unwrap().unwrap();
    }
    fs.commit().unwrap();
    drop(fs);
    for (image, stale) in images.iter().zip(stale) {
        change(image, mirror, SUPER_INFO_SIZE, |bytes| bytes.copy_from_slice(&stale));
    }
}

#[test]
fn a_crash_amid_publishing_leaves_one_of_two_states_and_is_undone() {
    for (name, is_stale) in [("single", true), ("raid1", true), ("raid10", false)] {
        let scratch = Scratch::in_memory();
        let Some(images) = copy_of_kernel_image_or_skip(name, &scratch) else { return };
        if is_stale {
            leave_mirrors_behind(&images);
        }
        let file = scratch.path("undo");
        let work = |served: &[PathBuf]| change_with_undo(served, &file);
        crash_amid(&format!("{name}, stale {is_stale}"), &images, &images, &file, &scratch, work);
    }
}

#[test]
fn a_crash_amid_an_undo_leaves_one_of_two_states_and_the_undo_is_made_again() {
    for name in ["dup", "raid1"] {
        let scratch = Scratch::in_memory();
        let Some(before) = copy_of_kernel_image_or_skip(name, &scratch) else { return };
        let images = copies(&before, &scratch.new_directory());
        let [file, redo] = ["undo", "redo"].map(|file| scratch.path(file));
        change_with_undo(&images, &file);
        let work = |served: &[PathBuf]| drop(undo_with(&file, served, Some(&redo)).unwrap());
        crash_amid(name, &images, &before, &file, &scratch, work);
        // What was brought back in part is brought back, too.
        let work = |served: &[PathBuf]| drop(undo_with(&redo, served, None).unwrap());
        crash_amid(&format!("{name}, redo"), &before, &images, &redo, &scratch, work);
    }
}

/// Neither a primary superblock nor a mirror tells which device an image is.
#[test]
fn a_crash_that_tears_the_only_superblocks_is_undone() {
    let scratch = Scratch::in_memory();
    let images: Vec<PathBuf> = (0..2).map(|number| scratch.zeros(&format!("{number}.img"), 48 << 20)).collect();
    let options = ["--mixed", "-d", "single", "-m", "single", "-n", "4k"];
    let Some(()) = or_skip(mkfs_btrfs(options, &images)) else { return };
    let before = copies(&images, &scratch.new_directory());
    let file = scratch.path("undo");
    change_with_undo(&images, &file);
    for old_sectors in [1..8, 0..1, 3..8] {
        let mut left = copies(&images, &scratch.new_directory());
        for (image, original) in left.iter().zip(&before) {
            let offset = SUPER_OFFSETS[0].0;
            let old = change(original, offset, SUPER_INFO_SIZE, |_| {});
            let torn = old_sectors.start * 512..old_sectors.end * 512;
            change(image, offset, SUPER_INFO_SIZE, |bytes| bytes[torn.clone()].copy_from_slice(&old[torn]));
            assert!(!is_primary_intact(image), "{old_sectors:?}");
        }
        left.reverse();
        undo_with(&file, &left, None).unwrap();
        left.reverse();
        assert_identical(&left, &before, &format!("{old_sectors:?}"));
    }
}
