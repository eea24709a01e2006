//! Threads that wait for each other: what changes chunks takes the locks in one order, and system chunks that are made amid
//! it wait for no other tree.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Barrier, Mutex, PoisonError};
use std::time::Duration;

use rbtrfs::Error;
use rbtrfs::chunk::{alloc, begin, finish, remove};
use rbtrfs::disk::flags::block_group::{DATA, METADATA, SYSTEM};
use rbtrfs::disk::{BlockGroupFlags, Key, KeyType, Logical, Profile, STRIPE_LEN};
use rbtrfs::trans::{Filesystem, StagedTree};
use rbtrfs::tree::reservation::{to_change_chunk, to_change_item};

use super::state::State;
use super::{Random, assert_sound, items, make_filesystem, open_for_change, wish};
use crate::support::mounted::btrfs_check;
use crate::support::*;

const SYSTEM_SPACE: BlockGroupFlags = BlockGroupFlags(SYSTEM);

/// Far more than any of this takes.
const PATIENCE: Duration = Duration::from_secs(180);

/// What a thread is doing, for the report of a watchdog.
#[derive(Clone)]
struct Doing(Arc<Mutex<String>>);

impl Doing {
    fn now(&self, what: impl Into<String>) {
        *self.0.lock().unwrap() = what.into();
    }
}

type Job = Box<dyn FnOnce(&Doing) + Send>;

/// Runs the jobs on threads of their own. If they have not all ended in time, an error says what each was doing, and
/// their threads are left behind. A job that panics is a failure.
fn watch(patience: Duration, jobs: Vec<Job>) -> Result<(), String> {
    let (ended, endings) = channel();
    let mut doings = Vec::new();
    let mut threads = Vec::new();
    for job in jobs {
        let doing = Doing(Arc::new(Mutex::new("starting".to_owned())));
        doings.push(doing.clone());
        let ended = ended.clone();
        threads.push(std::thread::spawn(move || {
            job(&doing);
            doing.now("ended");
            drop(ended);
        }));
    }
    drop(ended);
    // Nobody sends: the channel closes when the last of them is gone.
    match endings.recv_timeout(patience) {
        Err(RecvTimeoutError::Disconnected) => {
            threads.into_iter().for_each(|thread| thread.join().unwrap());
            Ok(())
        }
        Ok(()) | Err(RecvTimeoutError::Timeout) => {
            let lines = doings.iter().enumerate().map(|(number, doing)| {
                format!("thread {number}: {}\n", doing.0.lock().unwrap_or_else(PoisonError::into_inner))
            });
            Err(lines.collect())
        }
    }
}

#[track_caller]
fn assert_ends(jobs: Vec<Job>) {
    if let Err(report) = watch(PATIENCE, jobs) {
        panic!("threads wait for each other:\n{report}");
    }
}

fn filesystem(options: &[&str], devices: usize, scratch: &Scratch) -> Option<(Vec<PathBuf>, Arc<Filesystem>)> {
    let images = make_filesystem(options, devices, 1 << 40, scratch)?;
    let fs = Arc::new(open_for_change(&images));
    Some((images, fs))
}

fn commit(fs: Arc<Filesystem>) {
    Arc::into_inner(fs).expect("all threads have ended").commit().unwrap();
}

/// Promises nobody in particular all system space but `left` bytes, so that whoever changes chunks needs a new system chunk.
pub fn exhaust(fs: &Filesystem, left: u64) -> u64 {
    let mut space = fs.space();
    let info = space.info_mut(SYSTEM_SPACE);
    let taken = info.available().saturating_sub(left);
    assert!(info.reserve(taken));
    taken
}

pub fn system_chunks(fs: &Filesystem) -> usize {
    fs.chunks().map.iter().filter(|chunk| chunk.flags.contains(SYSTEM)).count()
}

/// The watchdog reports a deadlock, and what each thread in it was doing.
#[test]
fn the_watchdog_sees_threads_that_wait_for_each_other() {
    let locks = Arc::new([Mutex::new(()), Mutex::new(())]);
    let meeting = Arc::new(Barrier::new(2));
    let job = |first: usize| -> Job {
        let (locks, meeting) = (locks.clone(), meeting.clone());
        Box::new(move |doing| {
            let _own = locks[first].lock();
            meeting.wait();
            doing.now(["wants the second", "wants the first"][first]);
            drop(locks[1 - first].lock());
        })
    };
    let report = watch(Duration::from_secs(1), vec![job(0), job(1)]).unwrap_err();
    assert!(report.contains("wants the first") && report.contains("wants the second"), "{report}");
}

/// A thread that holds the chunks and takes an outer lock is found without another thread that waits.
#[test]
fn locks_are_not_taken_against_their_order() {
    let scratch = Scratch::in_memory();
    let Some((_, fs)) = filesystem(&["-m", "dup"], 1, &scratch) else { return };
    let against = catch_unwind(AssertUnwindSafe(|| {
        let _chunks = fs.chunks();
        drop(fs.device_tree());
    }));
    let panic = against.unwrap_err();
    assert!(panic.downcast_ref::<String>().is_some_and(|text| text.contains("lock order")));
}

/// Who holds the outer locks may wait for the chunks. So who has the chunks must wait for none of them, not even when a
/// system chunk is to be made first.
#[test]
fn phase_one_waits_for_no_other_tree() {
    for (options, devices) in [(&["-m", "dup"][..], 1), (&["-m", "raid1c3", "-d", "raid5"][..], 3)] {
        let scratch = Scratch::in_memory();
        let Some((images, fs)) = filesystem(options, devices, &scratch) else { return };
        exhaust(&fs, 0);
        let before = system_chunks(&fs);
        let (hold, held) = (Arc::new(Barrier::new(2)), Arc::new(Barrier::new(2)));
        let holder: Job = {
            let (fs, hold, held) = (fs.clone(), hold.clone(), held.clone());
            Box::new(move |doing| {
                let _items = fs.block_group_items();
                let _devices = fs.device_tree();
                let _free_space = fs.free_space_tree();
                doing.now("holds all outer locks");
                hold.wait();
                held.wait();
                doing.now("wants the chunks too");
                drop(fs.chunks());
            })
        };
        let allocator: Job = {
            let fs = fs.clone();
            Box::new(move |doing| {
                let mut handle = begin(&fs, items(&fs)).unwrap();
                hold.wait();
                doing.now("in phase 1");
                alloc(&mut handle, &wish(DATA, None, STRIPE_LEN)).unwrap().unwrap();
                alloc(&mut handle, &wish(METADATA, None, STRIPE_LEN)).unwrap().unwrap();
                alloc(&mut handle, &wish(SYSTEM, None, STRIPE_LEN)).unwrap().unwrap();
                held.wait();
                doing.now("in phase 2");
                finish(handle).unwrap();
            })
        };
        assert_ends(vec![holder, allocator]);
        assert!(system_chunks(&fs) > before + 1, "{options:?}: no system chunk was needed");
        commit(fs);
        assert_sound(&images, &format!("{options:?}"));
    }
}

/// Who ends a handle, or removes a chunk, holds the chunks only while it needs nothing else.
#[test]
fn who_waits_for_another_tree_does_not_hold_the_chunks() {
    let scratch = Scratch::in_memory();
    let Some((images, fs)) = filesystem(&["-m", "raid1", "-d", "raid0"], 3, &scratch) else { return };
    let chunk = super::allocate(&fs, &wish(DATA, None, STRIPE_LEN)).unwrap().unwrap();
    type Lock = fn(&Filesystem, &mut dyn FnMut());
    let locks: [(&str, Lock); 2] = [
        ("block group items", |fs, held| {
            let _lock = fs.block_group_items();
            held();
        }),
        ("device tree", |fs, held| {
            let _lock = fs.device_tree();
            held();
        }),
    ];
    for (number, (name, lock)) in locks.into_iter().enumerate() {
        let locked = Arc::new(Barrier::new(3));
        let holder: Job = {
            let (fs, locked) = (fs.clone(), locked.clone());
            Box::new(move |doing| {
                lock(&fs, &mut || {
                    locked.wait();
                    for _ in 0..200 {
                        doing.now(format!("holds the {name}, wants the chunks"));
                        drop(fs.chunks());
                        doing.now(format!("holds the {name}"));
                        std::thread::sleep(Duration::from_millis(1));
                    }
                });
            })
        };
        let allocator: Job = {
            let (fs, locked) = (fs.clone(), locked.clone());
            Box::new(move |doing| {
                let mut handle = begin(&fs, items(&fs)).unwrap();
                alloc(&mut handle, &wish(DATA, None, STRIPE_LEN)).unwrap().unwrap();
                locked.wait();
                doing.now("in phase 2");
                finish(handle).unwrap();
            })
        };
        let remover: Job = {
            let fs = fs.clone();
            Box::new(move |doing| {
                let mut handle = begin(&fs, items(&fs)).unwrap();
                locked.wait();
                doing.now("removes");
                if number == 0 {
                    remove(&mut handle, chunk).unwrap();
                }
                finish(handle).unwrap();
            })
        };
        assert_ends(vec![holder, allocator, remover]);
    }
    commit(fs);
    assert_sound(&images, "after all");
}

/// Items that are nobody's, put in and taken out again.
fn edit_for_a_while(fs: &Filesystem, tree: &mut StagedTree, random: &mut Random) -> rbtrfs::Result<()> {
    let keys: Vec<Key> = (0..1 + random.below(40))
        .map(|number| Key::new(u64::MAX / 2 + number as u64, KeyType::TEMPORARY_ITEM, 0))
        .collect();
    for key in &keys {
        tree.edit(fs, |editor| editor.insert(*key, &[0; 300]))?;
    }
    keys.iter().try_for_each(|key| tree.edit(fs, |editor| editor.delete(*key)))
}

struct Storm {
    fs: Arc<Filesystem>,
    /// System space that the storm keeps from the others.
    kept: AtomicUsize,
    /// Chunks that came or went.
    changes: AtomicUsize,
    is_over: AtomicBool,
}

impl Storm {
    fn change_item_of_device(&self, random: &mut Random) {
        let fs = &*self.fs;
        let mut chunks = fs.chunks();
        let bytes = to_change_item(fs.volume().format().nodesize);
        if !fs.space().info_mut(SYSTEM_SPACE).reserve(bytes) {
            return;
        }
        let devid = 1 + random.below(chunks.devices.len()) as u64;
        chunks.update_device_item(fs, devid).unwrap();
        fs.space().info_mut(SYSTEM_SPACE).release(bytes);
    }

    fn change_chunks(&self, random: &mut Random, doing: &Doing) {
        let fs = &*self.fs;
        doing.now("begins");
        let mut handle = begin(fs, items(fs)).unwrap();
        let done = if random.below(3) < 2 {
            doing.now("allocates");
            let type_bits = [DATA, DATA, METADATA, SYSTEM][random.below(4)];
            alloc(&mut handle, &wish(type_bits, None, STRIPE_LEN)).map(|allocated| allocated.is_some())
        } else {
            let candidates: Vec<Logical> = fs.chunks().map.iter().map(|chunk| chunk.logical).collect();
            doing.now("removes");
            remove(&mut handle, candidates[random.below(candidates.len())]).map(|()| true)
        };
        match done {
            Ok(is_done) => drop(self.changes.fetch_add(is_done.into(), Ordering::Relaxed)),
            Err(Error::SysChunkArrayFull { .. } | Error::NoSpace { .. }) => {}
            Err(Error::ChunkInUse { .. } | Error::LastChunk { .. } | Error::NoChunk { .. }) => {}
            Err(error) => panic!("{error}"),
        }
        assert!(!fs.is_poisoned(), "by {}", doing.0.lock().unwrap());
        doing.now("ends");
        finish(handle).unwrap();
    }

    /// Leaves as much system space as a few changes need, and once there are no more system chunks to be had, all.
    fn exhaust(&self) {
        let fs = &*self.fs;
        let few = 2 * to_change_chunk(fs.volume().format().nodesize, Profile::Dup, 1);
        let has_room = rbtrfs::volume::sys_chunk_array::has_room(&fs.chunks().superblock, 4);
        if has_room {
            self.kept.fetch_add(exhaust(fs, few) as usize, Ordering::Relaxed);
        } else {
            fs.space().info_mut(SYSTEM_SPACE).release(self.kept.swap(0, Ordering::Relaxed) as u64);
        }
    }

    fn job(self: &Arc<Self>, work: impl Fn(&Self, &Doing) + Send + 'static) -> Job {
        let storm = self.clone();
        Box::new(move |doing| {
            while !storm.is_over.load(Ordering::Relaxed) {
                work(&storm, doing);
                std::thread::yield_now();
            }
        })
    }
}

#[test]
fn threads_that_change_all_trees_without_system_space_do_not_wait_for_each_other() {
    for (seed, (options, devices)) in [
        (&["-m", "dup", "-n", "4k"][..], 1),
        (&["-m", "raid1", "-d", "raid0", "-n", "64k"][..], 3),
        (&["-m", "raid10", "-d", "raid6"][..], 4),
    ]
    .into_iter()
    .enumerate()
    {
        let scratch = Scratch::in_memory();
        let Some((images, fs)) = filesystem(options, devices, &scratch) else { return };
        let mut state = State::of(&images);
        let (kept, changes, is_over) = Default::default();
        let storm = Arc::new(Storm { fs, kept, changes, is_over });
        let random = |thread: usize| Mutex::new(Random((seed * 64 + thread + 1) as u64));
        let mut jobs: Vec<Job> = Vec::new();
        for thread in 0..6 {
            let random = random(thread);
            jobs.push(storm.job(move |storm, doing| {
                storm.change_chunks(&mut random.lock().unwrap(), doing);
                if storm.changes.load(Ordering::Relaxed) > 600 {
                    storm.is_over.store(true, Ordering::Relaxed);
                }
            }));
        }
        for thread in 6..8 {
            let random = random(thread);
            jobs.push(storm.job(move |storm, doing| {
                doing.now("changes items of devices");
                storm.change_item_of_device(&mut random.lock().unwrap());
            }));
        }
        for thread in 8..12 {
            let random = random(thread);
            jobs.push(storm.job(move |storm, doing| {
                let fs = &*storm.fs;
                let handle = begin(fs, 80).unwrap();
                doing.now(if thread % 2 == 0 { "changes the device tree" } else { "changes the extent tree" });
                let mut tree = if thread % 2 == 0 { fs.device_tree() } else { fs.block_group_items() };
                edit_for_a_while(fs, &mut tree, &mut random.lock().unwrap()).unwrap();
                doing.now("wants the chunks, with a tree held");
                drop(fs.chunks());
                drop(tree);
                finish(handle).unwrap();
            }));
        }
        jobs.push(storm.job(|storm, doing| {
            doing.now("takes system space");
            storm.exhaust();
        }));
        assert_ends(jobs);
        let fs = Arc::into_inner(storm).unwrap().fs;
        let (made, removed) = {
            let chunks = fs.chunks();
            let new = chunks.map.iter().filter(|chunk| !state.chunks.contains_key(&chunk.logical));
            let made: Vec<_> = new.map(|chunk| (chunk.logical, chunk.clone())).collect();
            (made, chunks.removed.clone())
        };
        let system = made.iter().filter(|(_, chunk)| chunk.flags.contains(SYSTEM)).count();
        assert!(system > 5, "{options:?}: {system} new system chunks");
        state.chunks.extend(made);
        state.chunks.retain(|logical, _| !removed.contains(logical));
        commit(fs);
        state.assert_follows(&images, &format!("{options:?}"));
        assert_sound(&images, &format!("{options:?}"));
        or_skip(btrfs_check(&images));
    }
}
