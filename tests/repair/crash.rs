//! The machine stops while a repair is published, for each kind of what a repair writes.

use std::collections::BTreeSet;
use std::path::PathBuf;

use rbtrfs::disk::volume::Chunk;
use rbtrfs::disk::{Key, KeyType, objectid};
use rbtrfs::finding::Finding;
use rbtrfs::image::Image;
use rbtrfs::progress::Progress;
use rbtrfs::repair::{UndoOptions, publish, repair, undo};

use crate::outcome::{Contents, contents};
use crate::support::crash::{after, moments};
use crate::support::inject::Injector;
use crate::support::random::Random;
use crate::support::recording_disk::RecordingDisk;
use crate::support::repaired::options;
use crate::support::soundness::beyond_notes;
use crate::support::staged::held;
use crate::support::{Scratch, assert_identical, check, kernel_image_or_skip, open, or_skip};

/// Cuts between barriers for each kind, beside those at each barrier.
fn cuts() -> usize {
    std::env::var("RBTRFS_CRASH_CUTS").map_or(2, |cuts| cuts.parse().expect("a number of cuts"))
}

/// What a crash may leave of a repair besides: superblocks that were being written.
const SUPERBLOCKS: [&str; 3] = ["super-stale", "super-csum", "super-magic"];

fn found(images: &[PathBuf]) -> (BTreeSet<&'static str>, Contents) {
    let problems = beyond_notes(check(&open(images), 2));
    (problems.iter().map(Finding::code).collect(), contents(images))
}

fn publish_repair(images: &[PathBuf], file: &std::path::Path) {
    let progress = Progress::default();
    let staged: Vec<Image> = images.iter().map(|image| held(image).staged()).collect();
    let repaired = repair(&staged, &options(&progress)).unwrap();
    assert!(repaired.is_clean(), "{:?}", repaired.after.problems);
    publish(staged, Some(file), &progress).unwrap().wholly().unwrap();
}

/// Repairs damage to a filesystem, stops the machine at many moments of that, and takes back what each leaves.
fn crash_amid_repair(name: &str, image: &str, damage: impl FnOnce(&Injector)) {
    let Some(images) = kernel_image_or_skip(image) else { return };
    let injector = Injector::new(&images);
    damage(&injector);
    let before = injector.images();
    let scratch = Scratch::in_memory();
    let file = scratch.path("undo");
    let Some(disk) = or_skip(RecordingDisk::new(before, &scratch)) else { return };
    publish_repair(disk.images(), &file);
    let (old, new) = (found(before), found(disk.images()));
    assert!(!old.0.is_empty() && new.0.is_empty(), "{name}: {:?}, {:?}", old.0, new.0);
    let events = disk.events();
    let mut random = Random(events.len() as u64 | 1);
    for moment in moments(&events, cuts(), 1, &mut random) {
        let crashed = Scratch::in_memory();
        let left = after(&disk, &events, moment, &mut random, &crashed);
        let what = format!("{name}: {moment:?} of {} events", events.len());
        let (mut codes, files) = found(&left);
        codes.retain(|code| !SUPERBLOCKS.contains(code));
        assert!(codes.is_subset(&old.0), "{what}: {codes:?} and not {:?}", old.0);
        assert!(files == old.1 || files == new.1, "{what}: neither the files of the one state nor those of the other");
        undo(&file, &left, &UndoOptions { redo: None, dry_run: false, progress: &Progress::default() })
            .unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_identical(&left, before, &what);
    }
}

#[test]
fn a_crash_amid_new_trees_of_space_leaves_the_damage_or_the_repair() {
    crash_amid_repair("extent tree", "snapshots", |injector| {
        injector.block_unstamped(injector.root(objectid::EXTENT_TREE).logical, |bytes| bytes.fill(0));
    });
}

#[test]
fn a_crash_amid_a_leaf_that_is_brought_back_leaves_the_damage_or_the_repair() {
    crash_amid_repair("leaf", "dup", |injector| {
        let leaf = injector.leaf_of(objectid::FS_TREE, Key::new(300, KeyType::INODE_ITEM, 0));
        injector.block_unstamped(leaf, |bytes| bytes.fill(0));
    });
}

/// Copies are the one thing that is written in its place: some are mended before others.
#[test]
fn a_crash_amid_good_copies_over_bad_ones_leaves_some_of_the_damage() {
    crash_amid_repair("copies", "raid1", |injector| {
        for tree in [objectid::FS_TREE, objectid::CSUM_TREE, objectid::EXTENT_TREE, objectid::CHUNK_TREE] {
            injector.block_copy(injector.root(tree).logical, 1 + (tree % 2) as u16, |bytes| bytes[200..300].fill(0x5a));
        }
    });
}

#[test]
fn a_crash_amid_a_new_chunk_tree_leaves_the_damage_or_the_repair() {
    crash_amid_repair("chunk tree", "raid1", |injector| {
        let chunk = injector.volume().chunks().iter().last().unwrap().logical;
        let key = Key::new(objectid::FIRST_CHUNK_TREE, KeyType::CHUNK_ITEM, chunk.0);
        // In the uuid of the first stripe's device.
        injector.item(objectid::CHUNK_TREE, key, |data| data[size_of::<Chunk>() + 16] ^= 1);
    });
}

#[test]
fn a_crash_amid_a_new_device_tree_leaves_the_damage_or_the_repair() {
    crash_amid_repair("device tree", "raid10", |injector| {
        injector.block_unstamped(injector.root(objectid::DEV_TREE).logical, |bytes| bytes.fill(0));
    });
}

#[test]
fn a_crash_amid_superblocks_leaves_the_damage_or_the_repair() {
    crash_amid_repair("superblocks", "single", |injector| {
        injector.superblocks(|superblock| superblock.bytes_used.set(superblock.bytes_used.get() + 4096));
    });
}
