//! The engine under a scheduler that tries many orders of its steps: what real threads meet once in a million runs it meets
//! in seconds, and a deadlock is found as such.

#[path = "../../tests/fixtures/small_image.rs"]
pub mod small_image;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use shuttle::scheduler::{PctScheduler, RandomScheduler, Scheduler};
use shuttle::{Config, FailurePersistence, Runner, thread};

use crate::check::{Options, check};
use crate::disk::flags::block_group::{DATA, METADATA, SYSTEM};
use crate::disk::{BlockGroupFlags, Logical, Profile, STRIPE_LEN};
use crate::error::Error;
use crate::finding::{Finding, Severity};
use crate::image::Image;
use crate::progress::Progress;
use crate::trans::Filesystem;
use crate::tree::reservation::to_change_chunk;
use crate::volume::{MissingDevices, Volume};

use super::{AllocRequest, Force, alloc, begin, finish, items_of_chunk, remove};

/// Schedules of each of two kinds: steps at random, and few switches of threads at the worst moments.
const SCHEDULES: usize = 1000;
const NODESIZE: u32 = 4096;
const SYSTEM_SPACE: BlockGroupFlags = BlockGroupFlags(SYSTEM);

type Addresses = BTreeSet<Logical>;

fn request(type_bits: u64, size: u64) -> AllocRequest {
    AllocRequest { type_bits, profile: None, size: Some(size), force: Force::Force }
}

fn allocate(fs: &Filesystem, request: &AllocRequest) -> Option<Logical> {
    let mut handle = begin(fs, items_of_chunk(fs)).unwrap();
    let allocated = alloc(&mut handle, request).unwrap();
    finish(handle).unwrap();
    allocated
}

/// Removes the newest chunk that may go.
fn remove_newest(fs: &Filesystem) -> Option<Logical> {
    let candidates: Vec<Logical> = fs.chunks().map.iter().map(|chunk| chunk.logical).collect();
    let mut handle = begin(fs, items_of_chunk(fs)).unwrap();
    let is_removed = |logical: &Logical| match remove(&mut handle, *logical) {
        Ok(()) => true,
        // In use, the last of its type, removed by another thread, or promised to one.
        Err(Error::ChunkInUse { .. } | Error::LastChunk { .. } | Error::NoChunk { .. } | Error::NoSpace { .. }) => {
            false
        }
        Err(error) => panic!("{error}"),
    };
    let removed = candidates.into_iter().rev().find(is_removed);
    finish(handle).unwrap();
    removed
}

fn chunks(volume: &Volume) -> Addresses {
    volume.chunks().iter().map(|chunk| chunk.logical).collect()
}

/// A filesystem with a system chunk that may go, and little other system space.
struct Case {
    path: PathBuf,
    /// Bytes of system space that a change of a chunk is promised.
    need: u64,
    /// What the others are promised of it, to their end.
    promised: u64,
}

impl Drop for Case {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

impl Case {
    fn new() -> (Self, Filesystem) {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let memory = Path::new("/dev/shm");
        let directory = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = directory.join(format!("rbtrfs-schedules-{}-{number}", std::process::id()));
        let options = small_image::Options { size: 1 << 30, nodesize: NODESIZE, ..Default::default() };
        small_image::write_small_image(&options, &std::fs::File::create(&path).unwrap()).unwrap();
        let mut fs = Filesystem::open(std::slice::from_ref(&path), MissingDevices::Refuse).unwrap();
        allocate(&fs, &request(SYSTEM, 2 * STRIPE_LEN)).unwrap();
        fs.commit().unwrap();
        let need = to_change_chunk(NODESIZE, Profile::Dup, 1);
        let promised = {
            let mut space = fs.space();
            let info = space.info_mut(SYSTEM_SPACE);
            // Enough for one change, but not without the chunk that may go.
            let promised = info.available() - 2 * STRIPE_LEN - need / 2;
            assert!(info.reserve(promised));
            promised
        };
        (Self { path, need, promised }, fs)
    }

    /// What the commit has is what follows from what was done.
    fn commit(self, mut fs: Filesystem, expected: &Addresses) {
        let reserve = fs.space().info(SYSTEM_SPACE).reserve;
        assert_eq!(reserve.peak, self.promised + self.need, "promises of more than one handle");
        assert_eq!(reserve.size, self.promised, "promises of handles that have ended");
        fs.space().info_mut(SYSTEM_SPACE).release(self.promised);
        fs.commit().unwrap();
        drop(fs);
        let volume = Volume::open(vec![Image::open(&self.path).unwrap()]).unwrap();
        assert_eq!(&chunks(&volume), expected);
        let progress = Progress::default();
        let options =
            Options { threads: 1, memory: 1 << 20, progress: &progress, count_qgroups: false, check_data_csum: false };
        let mut problems = check(&volume, &options).unwrap().problems;
        problems.retain(|problem| problem.severity() > Severity::Note);
        let lines: Vec<String> = problems.iter().map(|problem| format!("{}: {problem}", problem.code())).collect();
        assert_eq!(lines, [""; 0]);
    }
}

/// Threads that allocate and remove chunks, and bring trees up to date amid it; then a commit. Returns how many system
/// chunks were made, and how many chunks were removed.
fn run() -> (usize, usize) {
    let (case, fs) = Case::new();
    let mut expected = chunks(fs.volume());
    let removed = Mutex::new(Vec::new());
    let allocate_two = || {
        let mut handle = begin(&fs, 2 * items_of_chunk(&fs)).unwrap();
        // One of them may be content with what another thread makes.
        alloc(&mut handle, &request(DATA, STRIPE_LEN)).unwrap();
        alloc(&mut handle, &request(METADATA, STRIPE_LEN)).unwrap();
        finish(handle).unwrap();
    };
    let remove_two = || {
        for _ in 0..2 {
            removed.lock().unwrap().extend(remove_newest(&fs));
        }
    };
    thread::scope(|scope| {
        scope.spawn(allocate_two);
        scope.spawn(allocate_two);
        scope.spawn(remove_two);
        scope.spawn(|| fs.flush().unwrap());
    });
    let removed = removed.into_inner().unwrap();
    let new: Vec<(Logical, bool)> = {
        let chunks = fs.chunks();
        let new = chunks.map.iter().filter(|chunk| !expected.contains(&chunk.logical));
        new.map(|chunk| (chunk.logical, chunk.flags.contains(SYSTEM))).collect()
    };
    expected.extend(new.iter().map(|(logical, _)| *logical));
    expected.retain(|logical| !removed.contains(logical));
    case.commit(fs, &expected);
    (new.iter().filter(|(_, is_system)| *is_system).count(), removed.len())
}

/// Runs all schedules, and returns in how many of them system chunks were made, and in how many chunks were removed.
fn schedule(scheduler: impl Scheduler + 'static) -> [usize; 2] {
    static SEEN: [AtomicUsize; 2] = [const { AtomicUsize::new(0) }; 2];
    let mut config = Config::new();
    config.failure_persistence = FailurePersistence::None;
    // Each of its threads has such a stack.
    config.stack_size = 1 << 20;
    Runner::new(scheduler, config).run(|| {
        let (made, removed) = run();
        SEEN[0].fetch_add(usize::from(made > 0), Ordering::Relaxed);
        SEEN[1].fetch_add(usize::from(removed > 0), Ordering::Relaxed);
    });
    [0, 1].map(|number| SEEN[number].load(Ordering::Relaxed))
}

#[test]
fn no_order_of_steps_breaks_what_is_committed_or_keeps_a_thread_waiting() {
    schedule(RandomScheduler::new_from_seed(1, SCHEDULES));
    let seen = schedule(PctScheduler::new_from_seed(1, 3, SCHEDULES));
    assert!(seen.iter().all(|seen| *seen > SCHEDULES / 10), "{seen:?}");
}
