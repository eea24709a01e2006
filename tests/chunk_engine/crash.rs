//! The machine stops, or a disk fails, amid a commit that allocates and removes hundreds of chunks.

use std::collections::BTreeSet;
use std::path::PathBuf;

use fuser::Errno;
use rbtrfs::chunk::{begin, finish, remove};
use rbtrfs::disk::flags::block_group::{DATA, SYSTEM};
use rbtrfs::disk::{Logical, STRIPE_LEN};
use rbtrfs::trans::Filesystem;

use super::support::mounted::{Mounted, btrfs_check};
use super::support::recording_disk::{Event, Failure, RecordingDisk};
use super::support::*;
use super::{Random, allocate, assert_sound, assert_sound_but_stale, items, open_for_change, wish};

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

#[test]
fn a_crash_amid_a_commit_leaves_all_chunks_of_before_or_all_of_after() {
    for name in ["nodesize-4k", "raid1", "no-cache", "raid5"] {
        let scratch = Scratch::new();
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
        let after = addresses(disk.images());
        assert!(before.difference(&after).count() > 70 && after.difference(&before).count() > 200, "{name}");
        let barriers = (0..events.len()).filter(|number| matches!(events[*number], Event::Barrier { .. }));
        let mut random = Random(events.len() as u64);
        let mut cuts: Vec<(usize, usize)> = (0..cuts() / 4).map(|_| (random.below(events.len() + 1), 2)).collect();
        // At each barrier with nothing and with all of what follows the one before.
        cuts.extend(barriers.flat_map(|number| [(number, 0), (number, 1), (number + 1, 0)]));
        let mut found = BTreeSet::new();
        // Those that leave devices of before beside some of after.
        let mut mixed = 0..;
        for (number, (count, how)) in cuts.into_iter().enumerate() {
            let survivors: Vec<bool> = events.iter().map(|_| random.below(2) == 1).collect();
            let crashed = Scratch::new();
            let survives = |event: usize| if how == 2 { survivors[event] } else { how == 1 };
            let mut left = disk.after_crash(count, survives, &crashed);
            let what = format!("{name}: after {count} of {} events", events.len());
            let is_mixed = assert_sound_but_stale(&left, &what);
            let chunks = addresses(&left);
            assert!(chunks == before || chunks == after, "{what}: neither old nor new");
            found.insert(chunks == after);
            if number % 10 == 0 {
                or_skip(btrfs_check(&left));
            } else if number % 10 == 5 {
                // The next commit mends what was left of this one.
                let mut fs = open_for_change(&left);
                allocate_some(&fs, 1);
                fs.commit().unwrap();
                assert_sound(&left, &what);
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
    }
}

#[test]
fn a_write_that_fails_leaves_what_was_there_and_says_so_once() {
    for (name, error) in [("nodesize-4k", Errno::EIO), ("raid1", Errno::ENOSPC)] {
        let scratch = Scratch::new();
        let Some(images) = kernel_image_or_skip(name) else { return };
        let before = addresses(&images);
        let mut is_done = false;
        for from in 0.. {
            let Some(disk) =
                or_skip(RecordingDisk::failing(&images, &scratch, Some(Failure { from, count: usize::MAX, error })))
            else {
                return;
            };
            let run = run_rbtrfs("chunk-alloc --type data --size 64k --count 60 --quiet", disk.images());
            let events = disk.events();
            is_done = !events.iter().any(|event| matches!(event, Event::Failed { .. }));
            let what = format!("{name}: writes fail from {from}: {run:?}");
            if is_done {
                assert_eq!((run.code, run.stderr.as_str()), (0, ""), "{what}");
                assert!(from > 5, "{what}");
                break;
            }
            assert_eq!((run.code, run.stderr.lines().count()), (2, 1), "{what}");
            assert_eq!(run.stderr.matches("os error").count(), 1, "{what}");
            let is_published = events.iter().any(|event| matches!(event, Event::Write { offset: 65536, .. }));
            assert_eq!(addresses(disk.images()) == before, !is_published, "{what}");
            assert_sound_but_stale(disk.images(), &what);
        }
        assert!(is_done);
    }
}
