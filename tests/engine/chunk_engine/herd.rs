//! A herd of handles between the two phases of an allocation. If each kept the system space that it was promised, as
//! kernels before 5.13 had it, system chunks would be made for all of them, until the superblock has room for no more.

use std::sync::Mutex;

use rbtrfs::Error;
use rbtrfs::chunk::{alloc, begin, finish};
use rbtrfs::disk::flags::block_group::{DATA, SYSTEM};
use rbtrfs::disk::{BlockGroupFlags, Profile, STRIPE_LEN};
use rbtrfs::trans::Filesystem;
use rbtrfs::tree::reservation::to_change_chunk;

use super::{assert_sound, items, make_filesystem, open_for_change, wish};
use crate::support::meeting::Meeting;
use crate::support::mounted::btrfs_check;
use crate::support::*;

const THREADS: usize = 32;
const MIB: u64 = 1 << 20;

struct Case {
    profile: Profile,
    devices: usize,
    nodesize: u32,
    /// Bytes of a system chunk that is made when one is needed.
    system_chunk: u64,
}

const fn case(profile: Profile, devices: usize, nodesize: u32, system_chunk: u64) -> Case {
    Case { profile, devices, nodesize, system_chunk }
}

const CASES: [Case; 7] = [
    case(Profile::Single, 1, 65536, 32 * MIB),
    case(Profile::Dup, 1, 65536, 32 * MIB),
    case(Profile::Raid1, 2, 65536, 32 * MIB),
    case(Profile::Raid1c4, 4, 65536, 32 * MIB),
    case(Profile::Raid10, 8, 65536, 64 * MIB),
    case(Profile::Raid10, 18, 16384, 144 * MIB),
    case(Profile::Dup, 1, 16384, 32 * MIB),
];

fn system_info<T>(fs: &Filesystem, of: impl Fn(&rbtrfs::space::SpaceInfo) -> T) -> T {
    of(fs.space().info(BlockGroupFlags(SYSTEM)))
}

fn array_size(fs: &Filesystem) -> usize {
    fs.chunks().superblock.sys_chunk_array_size.get() as usize
}

impl Case {
    fn make(&self, scratch: &Scratch) -> Option<Vec<std::path::PathBuf>> {
        let (profile, nodesize) = (self.profile.name().to_lowercase(), self.nodesize.to_string());
        let options = ["-m", &profile, "-d", &profile, "-n", &nodesize];
        make_filesystem(&options, self.devices, 1 << 40, scratch)
    }

    fn entry(&self) -> usize {
        let stripes = match self.profile.geometry().devs_max {
            0 => self.devices,
            most => usize::from(most) * usize::from(self.profile.geometry().dev_stripes),
        };
        65 + 32 * stripes
    }

    fn need(&self) -> u64 {
        to_change_chunk(self.nodesize, self.profile, self.devices as u64)
    }

    /// The number of the handle that, if all keep their promises, would need an entry that the array has no room for.
    fn overflow(&self, fs: &Filesystem) -> u64 {
        let more = (2048 - array_size(fs)) as u64 / self.entry() as u64;
        let left = system_info(fs, |info| info.total - info.taken());
        (left + more * self.system_chunk) / self.need() + 1
    }
}

/// A line of the table that `scripts/bench herd` shows.
fn print_line(protocol: &str, case: &Case, fs: &Filesystem, tasks: usize, result: &str) {
    let chunks = fs.chunks().map.iter().filter(|chunk| chunk.flags.contains(SYSTEM)).count();
    let (profile, peak) = (case.profile.name(), system_info(fs, |info| info.reserve.peak) >> 10);
    let (devices, nodesize, array) = (case.devices, case.nodesize, array_size(fs));
    println!(
        "{protocol:9} {profile:8} devices={devices:<2} nodesize={nodesize:<5} tasks={tasks:<5} peak_reserved={peak}KiB \
         system_chunks={chunks} array_bytes={array} result={result}"
    );
}

#[test]
fn handles_between_the_phases_hold_no_system_space() {
    for case in &CASES {
        let scratch = Scratch::in_memory();
        let Some(images) = case.make(&scratch) else { return };
        let mut fs = open_for_change(&images);
        let (array, each) = (array_size(&fs), (10 * case.overflow(&fs)) as usize / THREADS + 1);
        // One after the other through phase 1: who comes while another is at it would be content with its chunk.
        let turnstile = Mutex::new(());
        let meeting = Meeting::new(THREADS);
        let herd = || {
            let expected = meeting.expect();
            let mut handles = Vec::new();
            for _ in 0..each {
                let turn = turnstile.lock().unwrap();
                let mut handle = begin(&fs, items(&fs)).unwrap();
                alloc(&mut handle, &wish(DATA, None, STRIPE_LEN)).unwrap().expect("nobody else was faster");
                drop(turn);
                handles.push(handle);
            }
            expected.wait();
            handles.into_iter().for_each(|handle| finish(handle).unwrap());
        };
        std::thread::scope(|scope| (0..THREADS).for_each(|_| drop(scope.spawn(herd))));
        let what = format!("{} on {} of {}", case.profile.name(), case.devices, case.nodesize);
        let reserve = system_info(&fs, |info| info.reserve);
        assert_eq!((reserve.peak, reserve.size), (case.need(), 0), "{what}");
        assert!(array_size(&fs) <= array + case.entry(), "{what}: {} after {array}", array_size(&fs));
        let count = fs.chunks().map.iter().filter(|chunk| chunk.flags.contains(DATA)).count();
        assert!(count >= each * THREADS, "{what}");
        print_line("two-phase", case, &fs, each * THREADS, "ok");
        fs.commit().unwrap();
        assert_sound(&images, &what);
        assert_eq!(open(&images).chunks().iter().filter(|chunk| chunk.flags.contains(DATA)).count(), count);
        or_skip(btrfs_check(&images));
    }
}

/// That the herd is a danger: the old order, with the promises of this engine.
#[test]
fn handles_that_kept_their_system_space_would_exhaust_the_array() {
    for case in &CASES {
        let scratch = Scratch::in_memory();
        let Some(images) = case.make(&scratch) else { return };
        let fs = open_for_change(&images);
        let expected = case.overflow(&fs) - 1;
        let mut handles = Vec::new();
        let error = loop {
            let mut handle = begin(&fs, items(&fs)).unwrap();
            if let Err(error) = alloc(&mut handle, &wish(DATA, None, STRIPE_LEN)) {
                break error;
            }
            handles.push(handle);
            assert!(fs.space().info_mut(BlockGroupFlags(SYSTEM)).reserve(case.need()));
        };
        let what = format!("{} on {} of {}", case.profile.name(), case.devices, case.nodesize);
        assert!(matches!(error, Error::SysChunkArrayFull { .. }), "{what}: {error}");
        print_line("legacy", case, &fs, handles.len() + 1, "array full");
        // The chunk tree itself has grown meanwhile.
        let count = handles.len() as u64;
        assert!(count <= expected && expected - count <= expected / 20 + 1, "{what}: {count}, expected {expected}");
    }
}

#[test]
fn a_thread_that_panics_keeps_no_other_waiting() {
    let meeting = Meeting::new(2);
    let panics = std::thread::scope(|scope| {
        let wait = scope.spawn(|| meeting.expect().wait());
        let panic = scope.spawn(|| {
            let _expected = meeting.expect();
            panic!("before the meeting");
        });
        [wait.join().is_err(), panic.join().is_err()]
    });
    assert_eq!(panics, [true, true]);
}
