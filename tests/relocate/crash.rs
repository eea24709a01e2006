//! The machine stops while things move.

use super::support::crash::{Left, after, is_primary_intact, moments};
use super::support::mounted::btrfs_check;
use super::support::random::Random;
use super::support::recording_disk::RecordingDisk;
use super::support::soundness::{assert_sound_but_torn, assert_sound_with_data};
use super::support::{Scratch, copies, kernel_image_or_skip, or_skip};
use super::{all_groups, contents, move_all, move_groups};

use rbtrfs::disk::Profile;

/// So many moments between barriers, beside those at each barrier; where none are asked for, a few of all.
fn cuts() -> Option<usize> {
    Some(std::env::var("RBTRFS_CRASH_CUTS").ok()?.parse().expect("a number of cuts"))
}

/// Whatever a crash leaves is whole, has all files, and the next run does the rest.
fn crash_while_moving(name: &str, into: Option<Profile>) {
    let Some(images) = kernel_image_or_skip(name) else { return };
    let scratch = Scratch::in_memory();
    let images = copies(&images, &scratch.path(""));
    let Some(expected) = contents(&images, &scratch) else { return };
    let Some(disk) = or_skip(RecordingDisk::new(&images, &scratch)) else { return };
    let go = |images: &[_]| match into {
        None => move_all(images),
        Some(into) => move_groups(images, |fs| all_groups(fs, |_| Some(into))),
    };
    go(disk.images()).unwrap();
    let events = disk.events();
    let mut random = Random(events.len() as u64 + 1);
    let moments = moments(&events, cuts().unwrap_or(20), 1, &mut random);
    let step = if cuts().is_some() { 1 } else { moments.len() / 16 };
    for (number, moment) in moments.into_iter().step_by(step).enumerate() {
        let crashed = Scratch::in_memory();
        let left = after(&disk, &events, moment, &mut random, &crashed);
        let what = format!("{name} to {into:?}: {moment:?} of {} events", events.len());
        assert_sound_but_torn(&left, &what);
        let is_torn = !left.iter().all(|image| is_primary_intact(image));
        assert!(!is_torn || matches!(moment.1, Left::Torn(_)), "{what}: a primary superblock is lost");
        if number % 5 == 0 {
            go(&left).unwrap_or_else(|error| panic!("{what}: {error}"));
            assert_sound_with_data(&left, &what);
        }
        // Neither the kernel nor btrfs-progs look for another superblock.
        if number % 10 == 0 || number % 5 == 2 && !is_torn {
            or_skip(btrfs_check(&left));
            assert_eq!(contents(&left, &crashed).as_ref(), Some(&expected), "{what}");
        }
    }
}

#[test]
fn a_crash_while_everything_moves_loses_no_file() {
    crash_while_moving("snapshots", None);
    crash_while_moving("raid1", None);
}

#[test]
fn a_crash_while_mirrors_become_parity_and_parity_mirrors_loses_no_file() {
    crash_while_moving("raid1c3", Some(Profile::Raid5));
    crash_while_moving("raid6", Some(Profile::Raid1c4));
}
