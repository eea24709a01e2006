//! The machine stops, or a disk fails, while devices change.

use std::path::{Path, PathBuf};

use fuser::Errno;
use rbtrfs::image::Image;
use rbtrfs::volume::read_copies;

use super::support::change::make_filesystem;
use super::support::crash::{Left, after, is_primary_intact, moments};
use super::support::mounted::{Mounted, btrfs_check};
use super::support::random::Random;
use super::support::recording_disk::RecordingDisk;
use super::support::soundness::{assert_sound_but_torn, assert_sound_with_data};
use super::support::{Scratch, copies, or_skip, run_rbtrfs};
use super::{MIB, contents, superblocks};

/// So many moments between barriers, beside those at each barrier; where none are asked for, a few of all.
fn cuts() -> Option<usize> {
    Some(std::env::var("RBTRFS_CRASH_CUTS").ok()?.parse().expect("a number of cuts"))
}

/// A change of the devices. Images are told by their numbers: three devices, and one that is none yet.
struct Case {
    name: &'static str,
    command: &'static str,
    /// The devices before it, and those after it.
    before: &'static [usize],
    after: &'static [usize],
}

const CASES: [Case; 6] = [
    Case { name: "add", command: "device add --new NEW", before: &[0, 1, 2], after: &[0, 1, 2, 3] },
    Case { name: "remove", command: "device remove --devid 2", before: &[0, 1, 2], after: &[0, 2] },
    Case { name: "replace", command: "device replace --devid 2 --new NEW", before: &[0, 1, 2], after: &[0, 3, 2] },
    Case {
        name: "replace missing",
        command: "device replace --degraded --devid missing --new NEW",
        before: &[0, 2],
        after: &[0, 3, 2],
    },
    Case { name: "shrink", command: "resize --devid 1 --keep-file-size 150M", before: &[0, 1, 2], after: &[0, 1, 2] },
    Case { name: "least", command: "resize --devid 3 --keep-file-size min", before: &[0, 1, 2], after: &[0, 1, 2] },
];

/// Three devices with files, and one that is empty.
fn images(scratch: &Scratch) -> Option<(Vec<PathBuf>, String)> {
    let mut images = make_filesystem(&["-d", "raid1", "-m", "raid1"], 3, 300 * MIB, scratch)?;
    let mounted = or_skip(Mounted::new(&images, "rw", scratch))?;
    mounted.write_something();
    let expected = mounted.contents();
    drop(mounted);
    images.push(scratch.zeros("3.img", 300 * MIB));
    Some((images, expected))
}

fn chosen(images: &[PathBuf], numbers: &[usize]) -> Vec<PathBuf> {
    numbers.iter().map(|number| images[*number].clone()).collect()
}

/// The one that counts: the first, or if that is torn the newest mirror.
fn superblock(image: &Path) -> Option<Box<rbtrfs::disk::Superblock>> {
    let copies = read_copies(&Image::open(image).unwrap()).unwrap();
    let intact = || copies.iter().filter(|copy| copy.superblock.is_intact());
    let newest = || intact().max_by_key(|copy| copy.superblock.generation.get());
    let found = intact().find(|copy| copy.offset.0 == 65536).or_else(newest);
    found.map(|copy| copy.superblock.clone())
}

impl Case {
    fn run(&self, images: &[PathBuf]) -> super::support::Run {
        let words = self.command.replace("NEW", images[3].to_str().unwrap());
        run_rbtrfs(&format!("{words} --quiet"), &chosen(images, self.before))
    }

    /// The devices that stay tell which state is there: by the number that the newest of them says, and of a replacement by
    /// whether the new device is a member.
    fn state<'c>(&'c self, images: &[PathBuf]) -> &'c [usize] {
        if self.after.contains(&3) {
            let is_member = is_primary_intact(&images[3]);
            return if is_member { self.after } else { self.before };
        }
        let staying = self.before.iter().filter(|number| self.after.contains(number));
        let newest = staying.filter_map(|number| superblock(&images[*number])).max_by_key(|one| one.generation.get());
        let devices = newest.expect("an intact superblock").num_devices.get() as usize;
        if devices == self.after.len() { self.after } else { self.before }
    }

    fn is_degraded(&self) -> bool {
        self.before.len() == 2
    }

    fn crash(&self) {
        let scratch = Scratch::in_memory();
        let Some((images, expected)) = images(&scratch) else { return };
        let Some(disk) = or_skip(RecordingDisk::new(&images, &scratch)) else { return };
        let run = self.run(disk.images());
        assert_eq!(run.code, 0, "{}: {}", self.name, run.stderr);
        let events = disk.events();
        let mut random = Random(events.len() as u64 + 3);
        let moments = moments(&events, cuts().unwrap_or(20), 1, &mut random);
        let step = if cuts().is_some() { 1 } else { (moments.len() / 6).max(1) };
        for (number, moment) in moments.into_iter().step_by(step).enumerate() {
            let crashed = Scratch::in_memory();
            let all = after(&disk, &events, moment, &mut random, &crashed);
            let what = format!("{}: {moment:?} of {} events", self.name, events.len());
            let state = self.state(&all);
            let left = chosen(&all, state);
            // Without the missing device the kernel is the judge.
            if state == self.before && self.is_degraded() {
                assert_eq!(contents(&left, "ro,degraded", &crashed).as_ref(), Some(&expected), "{what}");
                continue;
            }
            assert_sound_but_torn(&left, &what);
            let is_torn = !left.iter().all(|image| is_primary_intact(image));
            assert!(!is_torn || matches!(moment.1, Left::Torn(_)), "{what}: a primary superblock is lost");
            if number % 4 == 0 && !is_torn {
                or_skip(btrfs_check(&left));
                assert_eq!(contents(&left, "ro", &crashed).as_ref(), Some(&expected), "{what}");
            }
            // The same once more, from the state that the crash left.
            if number % 5 == 1 && state == self.before && superblocks(&all[3]).is_empty() {
                let run = self.run(&all);
                assert_eq!(run.code, 0, "{what}: {}", run.stderr);
                assert_sound_with_data(&chosen(&all, self.after), &what);
            }
        }
    }

    /// A write or a barrier of a device fails: the old state stands, or what was committed of the new one.
    fn fail(&self, error: Errno) {
        let scratch = Scratch::in_memory();
        let Some((images, expected)) = images(&scratch) else { return };
        for failing in 0..4 {
            for from in [0, 5] {
                let calls = from..usize::MAX;
                let here = Scratch::in_memory();
                let Some(disk) = or_skip(RecordingDisk::failing_calls(&images, &here, failing, calls, error)) else {
                    return;
                };
                let run = self.run(disk.images());
                let all = copies(disk.images(), &here.new_directory());
                let what = format!("{}: {error:?} of image {failing} from call {from}: {}", self.name, run.stderr);
                assert!(matches!(run.code, 0 | 2 | 3), "{what}");
                let state = if run.code == 2 { self.before } else { self.state(&all) };
                let left = chosen(&all, state);
                if state == self.before && self.is_degraded() {
                    assert_eq!(contents(&left, "ro,degraded", &here).as_ref(), Some(&expected), "{what}");
                    continue;
                }
                assert_sound_but_torn(&left, &what);
                if from == 5 {
                    assert_eq!(contents(&left, "ro", &here).as_ref(), Some(&expected), "{what}");
                }
            }
        }
    }
}

macro_rules! crashes {
    ($($crash:ident $fail:ident: $index:literal;)*) => {$(
        #[test]
        fn $crash() {
            CASES[$index].crash();
        }

        #[test]
        fn $fail() {
            CASES[$index].fail(if $index % 2 == 0 { Errno::EIO } else { Errno::ENOSPC });
        }
    )*};
}

crashes! {
    a_crash_while_a_device_is_added_loses_no_file a_disk_that_fails_while_a_device_is_added_loses_no_file: 0;
    a_crash_while_a_device_is_removed_loses_no_file a_disk_that_fails_while_a_device_is_removed_loses_no_file: 1;
    a_crash_while_a_device_is_replaced_loses_no_file a_disk_that_fails_while_a_device_is_replaced_loses_no_file: 2;
    a_crash_while_a_missing_device_is_replaced_loses_no_file
        a_disk_that_fails_while_a_missing_device_is_replaced_loses_no_file: 3;
    a_crash_while_a_device_shrinks_loses_no_file a_disk_that_fails_while_a_device_shrinks_loses_no_file: 4;
    a_crash_while_a_device_is_packed_loses_no_file a_disk_that_fails_while_a_device_is_packed_loses_no_file: 5;
}
