//! The machine stops, or a disk fails, amid a commit that allocates and removes hundreds of chunks.

use std::collections::BTreeSet;
use std::path::PathBuf;

use fuser::Errno;
use rbtrfs::chunk::{begin, finish, remove};
use rbtrfs::disk::flags::block_group::{DATA, SYSTEM};
use rbtrfs::disk::{Logical, STRIPE_LEN};
use rbtrfs::trans::Filesystem;

use super::{
    Random, allocate, assert_sound, assert_sound_but_behind, assert_sound_but_torn, items, open_for_change, wish,
};
use crate::support::crash::{Left, after, is_primary_intact, is_superblock, moments};
use crate::support::mounted::{Mounted, btrfs_check};
use crate::support::profiles::without;
use crate::support::recording_disk::{Event, RecordingDisk};
use crate::support::soundness::assert_readable_after_torn_writes;
use crate::support::*;

/// Cuts between barriers, beside those at each barrier.
fn cuts() -> usize {
    std::env::var("RBTRFS_CRASH_CUTS").map_or(150, |cuts| cuts.parse().expect("a number of cuts"))
}

fn addresses(images: &[PathBuf]) -> BTreeSet<Logical> {
    open(images).chunks().iter().map(|chunk| chunk.logical).collect()
}

fn allocate_some(fs: &Filesystem, count: usize) {
    for _ in 0..count {
        allocate(fs, &wish(DATA, None, STRIPE_LEN)).unwrap().unwrap();
    }
    for _ in 0..2 {
        allocate(fs, &wish(SYSTEM, None, 4 * STRIPE_LEN)).unwrap().unwrap();
    }
}

/// A change of many leaves: every other one of the empty chunks goes, and others come.
fn change_much(fs: &Filesystem) {
    let empty: Vec<Logical> = fs.space().groups().filter(|group| group.used == 0).map(|group| group.logical).collect();
    for logical in empty.into_iter().rev().step_by(2) {
        let mut handle = begin(fs, items(fs)).unwrap();
        remove(&mut handle, logical).unwrap();
        finish(handle).unwrap();
    }
    allocate_some(fs, 200);
}

/// A filesystem with many chunks.
fn prepared(name: &str, scratch: &Scratch) -> Option<Vec<PathBuf>> {
    let images = copy_of_kernel_image_or_skip(name, scratch)?;
    let mut fs = open_for_change(&images);
    allocate_some(&fs, 150);
    fs.commit().unwrap();
    assert_sound(&images, name);
    Some(images)
}

/// The kernel finds the files, writes, and leaves nothing to be mended. Nothing where it cannot be asked.
#[track_caller]
fn assert_kernel_goes_on(images: &[PathBuf], contents: &str, scratch: &Scratch, what: &str) -> Option<()> {
    let mounted = or_skip(Mounted::new(images, "rw,commit=300", scratch))?;
    assert_eq!(mounted.contents(), contents, "{what}");
    std::fs::write(mounted.path().join("of-the-test"), what).unwrap();
    drop(mounted);
    assert_sound(images, what);
    Some(())
}

/// What is found is all chunks of before or all of after, and nothing of it is damaged.
fn crash_amid_a_commit(name: &str, cuts: usize, is_redundant: bool) {
    let scratch = Scratch::in_memory();
    let Some(images) = prepared(name, &scratch) else { return };
    let before = addresses(&images);
    let Some(contents) = or_skip(Mounted::new(&images, "ro", &scratch)).map(|mounted| mounted.contents()) else {
        return;
    };
    let Some(disk) = or_skip(RecordingDisk::new(&images, &scratch)) else { return };
    let mut fs = open_for_change(disk.images());
    change_much(&fs);
    fs.commit().unwrap();
    let events = disk.events();
    let new = addresses(disk.images());
    assert!(before.difference(&new).count() > 70 && new.difference(&before).count() > 200, "{name}");
    let mut random = Random(events.len() as u64);
    let mut found = BTreeSet::new();
    // Those that leave devices of before beside some of after, and those with torn primary superblocks.
    let (mut mixed, mut torn) = (0.., 0..);
    for (number, moment) in moments(&events, cuts, 8, &mut random).into_iter().enumerate() {
        let crashed = Scratch::in_memory();
        let mut left = after(&disk, &events, moment, &mut random, &crashed);
        let what = format!("{name}: {moment:?} of {} events", events.len());
        let is_torn = !left.iter().all(|image| is_primary_intact(image));
        assert!(!is_torn || matches!(moment.1, Left::Torn(_)), "{what}: a primary superblock is lost");
        let judge = |left: &[PathBuf]| match moment.1 {
            Left::Torn(_) => assert_sound_but_torn(left, &what),
            _ => assert_sound_but_behind(left, &what),
        };
        let is_mixed = judge(&left);
        let chunks = addresses(&left);
        assert!(chunks == before || chunks == new, "{what}: neither old nor new");
        found.insert(chunks == new);
        if is_redundant {
            for lost in &left {
                let rest = without(&left, std::slice::from_ref(lost));
                if name.starts_with("raid5") || name.starts_with("raid6") {
                    assert_readable_after_torn_writes(&rest, &what);
                } else {
                    judge(&rest);
                }
                let chunks = addresses(&rest);
                assert!(chunks == before || chunks == new, "{what}, then {lost:?} lost: neither old nor new");
            }
        }
        let is_turn_of_torn = is_torn && torn.next().unwrap() % 3 == 0;
        if number % 10 == 5 || is_turn_of_torn {
            // The next commit mends what was left of this one.
            let mut fs = open_for_change(&left);
            allocate_some(&fs, 1);
            fs.commit().unwrap();
            assert_sound(&left, &what);
        } else if is_torn {
            // Neither the kernel nor btrfs-progs look for another superblock.
        } else if number % 10 == 0 {
            or_skip(btrfs_check(&left));
        } else if number % 20 == 7 || is_mixed && mixed.next().unwrap() % 4 == 0 {
            // The last to be written, which are those of before, are named first.
            left.reverse();
            if assert_kernel_goes_on(&left, &contents, &crashed, &what).is_none() {
                return;
            }
            assert_eq!(addresses(&left), chunks, "{what}: another state than ours to the kernel");
        }
    }
    assert_eq!(found.len(), 2, "{name}: both the old and the new state are found");
    assert!(images.len() == 1 || mixed.start > 0, "{name}: all devices of one state, always");
    assert!(torn.start > 0, "{name}: no primary superblock was torn");
}

#[test]
fn a_crash_amid_a_commit_leaves_all_chunks_of_before_or_all_of_after() {
    for (name, is_redundant) in [("nodesize-4k", false), ("raid1", true), ("no-cache", false)] {
        crash_amid_a_commit(name, cuts() / 5, is_redundant);
    }
}

#[test]
fn a_crash_amid_a_commit_to_rows_with_parity_leaves_the_chunks_of_before_or_those_of_after() {
    for name in ["raid5", "raid6"] {
        crash_amid_a_commit(name, cuts() / 5, true);
    }
}

/// Writes and barriers of one image fail, one of them or all from one on. What the program says of that is true.
#[test]
fn a_disk_that_fails_leaves_what_was_there_or_what_is_new_and_the_exit_code_says_which() {
    for (name, error) in [("nodesize-4k", Errno::EIO), ("raid1", Errno::ENOSPC)] {
        let Some(images) = kernel_image_or_skip(name) else { return };
        let before = addresses(&images);
        let mut codes = BTreeSet::new();
        for (failing, how_many) in (0..images.len()).flat_map(|image| [(image, 1), (image, usize::MAX)]) {
            for from in 0_usize.. {
                let calls = from..from.saturating_add(how_many);
                let directory = Scratch::in_memory();
                let Some(disk) = or_skip(RecordingDisk::failing_calls(&images, &directory, failing, calls, error))
                else {
                    return;
                };
                let run = run_rbtrfs("chunk-alloc --type data --size 64k --count 60 --quiet", disk.images());
                let events = disk.events();
                let what = format!("{name}: {how_many} calls of image {failing} fail from {from}: {run:?}");
                let is_failure = |event: &Event| matches!(event, Event::Failed { .. } | Event::FailedBarrier { .. });
                if !events.iter().any(is_failure) {
                    assert_eq!((run.code, run.stderr.as_str()), (0, ""), "{what}");
                    assert!(from > 5, "{what}");
                    break;
                }
                codes.insert(run.code);
                let expected = if events.iter().any(is_superblock) { 3 } else { 2 };
                assert_eq!((run.code, run.stderr.lines().count()), (expected, 1), "{what}");
                assert!(run.says(&[disk.images()[failing].to_str().unwrap(), "os error"]), "{what}");
                let (is_sure, is_possible) =
                    (run.says(&["the change is on the disk"]), run.says(&["may be on the disk"]));
                assert_eq!(is_sure || is_possible, expected == 3, "{what}");
                assert!(is_sure || images.len() == 1 || expected == 2, "{what}");
                let found = addresses(disk.images());
                assert!(found == before || expected == 3, "{what}: the change was made");
                assert!(found != before || !is_sure, "{what}: the change was not made");
                assert_sound_but_behind(disk.images(), &what);
            }
        }
        assert_eq!(codes, BTreeSet::from([2, 3]), "{name}");
    }
}
