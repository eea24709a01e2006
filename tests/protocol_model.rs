//! The chunk protocol as a reduced engine, under a scheduler that tries thousands of orders of its steps: what real threads
//! meet once in a million runs it meets in seconds. The same engine with a fault must be found at fault.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError};

use shuttle::scheduler::{PctScheduler, RandomScheduler, Scheduler};
use shuttle::sync::{Mutex, MutexGuard, RwLock, RwLockReadGuard};
use shuttle::{Config, FailurePersistence, Runner, thread};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Protocol {
    /// That of the engine: what is promised is given back at the end of phase 1.
    TwoPhase,
    /// A handle keeps its promises to its end, as in kernels before 5.13.
    KeptPromises,
    /// A removal holds the chunks while it wants the device tree.
    ReversedLocks,
    /// A removal takes a system chunk out of use without the lock on the chunks.
    HastyRemoval,
    /// A commit does not wait until all handles have ended.
    HastyCommit,
}

/// Blocks of system space that a change of chunks is promised.
const NEED: usize = 4;
const SYSTEM_CHUNK: usize = NEED + 2;
/// System chunks that the array has room for.
const ARRAY: usize = 3;
/// Edits that a metadata chunk has room for; its own items are two.
const METADATA_CHUNK: usize = 5;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    System,
    Metadata,
    Data,
}

/// What goes with the chunk tree.
struct Chunks {
    items: BTreeMap<u32, Kind>,
    array: BTreeSet<u32>,
    next: u32,
    /// Whether its one block was copied since the last commit.
    is_copied: bool,
}

#[derive(Clone, Copy)]
struct Group {
    kind: Kind,
    /// Whether its items are in the trees.
    is_complete: bool,
    is_read_only: bool,
}

#[derive(Default)]
struct Space {
    groups: BTreeMap<u32, Group>,
    /// Blocks of system groups that are not read-only.
    total: usize,
    used: usize,
    pinned: usize,
    promised: usize,
    reserved: usize,
    peak: usize,
    /// Edits that there is metadata for.
    metadata: usize,
    /// Somebody is allocating.
    chunk_alloc: bool,
}

impl Space {
    fn left(&self) -> usize {
        self.total.saturating_sub(self.used + self.pinned + self.reserved)
    }
}

/// By chunk.
type Items = BTreeSet<u32>;

/// Locks from the outermost to the innermost.
struct Engine {
    protocol: Protocol,
    /// Held by handles for reading, and by a commit, which has the engine for itself, for writing.
    handles: RwLock<()>,
    block_groups: Mutex<Items>,
    device_extents: Mutex<Items>,
    chunks: Mutex<Chunks>,
    space: Mutex<Space>,
}

struct Handle<'e> {
    engine: &'e Engine,
    new_groups: VecDeque<u32>,
    promised: usize,
    _open: RwLockReadGuard<'e, ()>,
}

impl Engine {
    /// One chunk of each kind, and just enough system space for one change.
    fn new(protocol: Protocol) -> Self {
        let kinds = [(0, Kind::System), (1, Kind::Metadata), (2, Kind::Data), (3, Kind::Data)];
        let group = |kind| Group { kind, is_complete: true, is_read_only: false };
        let groups = kinds.map(|(id, kind)| (id, group(kind))).into();
        let ids: Items = kinds.map(|(id, _)| id).into();
        let chunks = Chunks { items: kinds.into(), array: [0].into(), next: 4, is_copied: false };
        let space = Space { groups, total: NEED + 1, used: 1, metadata: 2, ..Space::default() };
        Self {
            protocol,
            handles: RwLock::new(()),
            block_groups: Mutex::new(ids.clone()),
            device_extents: Mutex::new(ids),
            chunks: Mutex::new(chunks),
            space: Mutex::new(space),
        }
    }

    fn chunks(&self) -> MutexGuard<'_, Chunks> {
        self.chunks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn space(&self) -> MutexGuard<'_, Space> {
        self.space.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(&self) -> Handle<'_> {
        let _open = self.handles.read().unwrap_or_else(PoisonError::into_inner);
        Handle { engine: self, new_groups: VecDeque::new(), promised: 0, _open }
    }

    /// The chunk tree's block is copied once in a transaction; the old one is free after it.
    fn edit_chunk_tree(&self, chunks: &mut Chunks) {
        if !std::mem::replace(&mut chunks.is_copied, true) {
            let mut space = self.space();
            assert!(space.reserved > 0 || space.left() > 0, "an edit of the chunk tree has no space");
            space.reserved = space.reserved.saturating_sub(1);
            space.pinned += 1;
        }
    }

    /// What each commit must find.
    fn commit(&self) {
        let _alone = (self.protocol != Protocol::HastyCommit)
            .then(|| self.handles.write().unwrap_or_else(PoisonError::into_inner));
        let block_groups = self.block_groups.lock().unwrap_or_else(PoisonError::into_inner);
        let device_extents = self.device_extents.lock().unwrap_or_else(PoisonError::into_inner);
        let mut chunks = self.chunks();
        let mut space = self.space();
        let ids: Items = chunks.items.keys().copied().collect();
        assert_eq!(*block_groups, ids, "chunks and block groups");
        assert_eq!(*device_extents, ids, "chunks and device extents");
        assert_eq!(space.groups.keys().copied().collect::<Items>(), ids, "chunks and groups in memory");
        let system = chunks.items.iter().filter(|(_, kind)| **kind == Kind::System);
        assert_eq!(system.map(|(id, _)| *id).collect::<Items>(), chunks.array, "the array");
        assert_eq!((space.promised, space.reserved), (0, 0), "promises of handles that have ended");
        space.pinned = 0;
        chunks.is_copied = false;
    }
}

impl Handle<'_> {
    /// Promises system space, and makes a system chunk where it is not there.
    fn reserve_system(&mut self, chunks: &mut Chunks) {
        if self.engine.space().left() < NEED {
            assert!(chunks.array.len() < ARRAY, "the array is full");
            self.create(chunks, Kind::System);
        }
        let mut space = self.engine.space();
        assert!(space.left() >= NEED, "a new system chunk is not enough");
        space.promised += NEED;
        space.reserved += NEED;
        space.peak = space.peak.max(space.promised);
        self.promised += NEED;
    }

    fn release_system(&mut self) {
        let mut space = self.engine.space();
        space.promised -= std::mem::take(&mut self.promised);
        space.reserved = space.reserved.min(space.promised);
    }

    /// A chunk with its item, and with its entry in the array.
    fn create(&mut self, chunks: &mut Chunks, kind: Kind) {
        let id = chunks.next;
        chunks.next += 1;
        {
            let mut space = self.engine.space();
            space.groups.insert(id, Group { kind, is_complete: false, is_read_only: false });
            match kind {
                Kind::System => space.total += SYSTEM_CHUNK,
                Kind::Metadata => space.metadata += METADATA_CHUNK,
                Kind::Data => {}
            }
        }
        self.new_groups.push_back(id);
        self.engine.edit_chunk_tree(chunks);
        chunks.items.insert(id, kind);
        if kind == Kind::System {
            chunks.array.insert(id);
        }
    }

    /// Phase 1.
    fn alloc(&mut self, kind: Kind) {
        let engine = self.engine;
        while std::mem::replace(&mut engine.space().chunk_alloc, true) {
            drop(engine.chunks());
            thread::yield_now();
        }
        {
            let mut chunks = engine.chunks();
            self.reserve_system(&mut chunks);
            self.create(&mut chunks, kind);
            if engine.protocol != Protocol::KeptPromises {
                self.release_system();
            }
        }
        engine.space().chunk_alloc = false;
    }

    /// An edit of a tree, whose lock is held: a copy of its blocks may need a chunk.
    fn take_metadata(&mut self) {
        loop {
            let mut space = self.engine.space();
            if space.metadata > 0 {
                space.metadata -= 1;
                return;
            }
            drop(space);
            self.alloc(Kind::Metadata);
        }
    }

    /// Phase 2, and the end.
    fn finish(mut self) {
        let engine = self.engine;
        while let Some(id) = self.new_groups.pop_front() {
            {
                let mut items = engine.block_groups.lock().unwrap_or_else(PoisonError::into_inner);
                self.take_metadata();
                assert!(items.insert(id));
            }
            {
                let mut extents = engine.device_extents.lock().unwrap_or_else(PoisonError::into_inner);
                self.take_metadata();
                assert!(extents.insert(id));
            }
            engine.space().groups.get_mut(&id).unwrap().is_complete = true;
        }
        self.release_system();
    }

    /// Removes the last chunk that may go.
    fn remove(&mut self) {
        let engine = self.engine;
        let (id, kind) = {
            let _chunks = (engine.protocol != Protocol::HastyRemoval).then(|| engine.chunks());
            let mut space = engine.space();
            let left = space.left();
            let may_go = |id: u32, group: &Group| match group.kind {
                // The first one has the chunk tree's block and its copy.
                Kind::System => id != 0 && left >= SYSTEM_CHUNK,
                Kind::Data => true,
                Kind::Metadata => false,
            };
            let found = space
                .groups
                .iter_mut()
                .rev()
                .find(|(id, group)| group.is_complete && !group.is_read_only && may_go(**id, group));
            let Some((id, group)) = found else { return };
            group.is_read_only = true;
            let (id, kind) = (*id, group.kind);
            if kind == Kind::System {
                space.total -= SYSTEM_CHUNK;
            }
            (id, kind)
        };
        let mut chunks = engine.chunks();
        self.reserve_system(&mut chunks);
        engine.edit_chunk_tree(&mut chunks);
        assert_eq!(chunks.items.remove(&id), Some(kind));
        assert_eq!(chunks.array.remove(&id), kind == Kind::System);
        self.release_system();
        let held = match engine.protocol {
            Protocol::ReversedLocks => Some(chunks),
            _ => {
                drop(chunks);
                None
            }
        };
        assert!(engine.device_extents.lock().unwrap_or_else(PoisonError::into_inner).remove(&id));
        drop(held);
        assert!(engine.block_groups.lock().unwrap_or_else(PoisonError::into_inner).remove(&id));
        engine.space().groups.remove(&id);
    }
}

/// Handles that allocate and remove, and commits amid them. Returns the most that was promised at once, and the number of
/// system chunks in the end.
fn run(protocol: Protocol) -> (usize, usize) {
    let engine = Arc::new(Engine::new(protocol));
    let spawn = |rounds: usize, work: fn(&Engine)| {
        let engine = engine.clone();
        thread::spawn(move || (0..rounds).for_each(|_| work(&engine)))
    };
    let allocate = |engine: &Engine| {
        let mut handle = engine.begin();
        handle.alloc(Kind::Data);
        handle.alloc(Kind::Data);
        handle.finish();
    };
    let remove = |engine: &Engine| {
        let mut handle = engine.begin();
        handle.remove();
        handle.finish();
    };
    let threads = [spawn(1, allocate), spawn(2, allocate), spawn(3, remove), spawn(2, Engine::commit)];
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    engine.commit();
    let system_chunks = engine.chunks().array.len();
    (engine.space().peak, system_chunks)
}

fn schedule(
    scheduler: impl Scheduler + 'static,
    protocol: Protocol,
    check: impl Fn((usize, usize)) + Send + Sync + 'static,
) {
    let mut config = Config::new();
    config.failure_persistence = FailurePersistence::None;
    Runner::new(scheduler, config).run(move || check(run(protocol)));
}

/// At random, and with few switches at the worst moments.
fn try_schedules(protocol: Protocol, count: usize, check: fn((usize, usize))) {
    schedule(RandomScheduler::new_from_seed(1, count), protocol, check);
    schedule(PctScheduler::new_from_seed(1, 3, count), protocol, check);
}

#[test]
fn no_order_of_steps_exhausts_the_array_or_commits_half_a_chunk() {
    static WITH_NEW_SYSTEM_CHUNK: AtomicUsize = AtomicUsize::new(0);
    try_schedules(Protocol::TwoPhase, 5000, |(peak, system_chunks)| {
        assert_eq!(peak, NEED, "promises of more than one");
        WITH_NEW_SYSTEM_CHUNK.fetch_add(usize::from(system_chunks > 1), Ordering::Relaxed);
    });
    assert!(WITH_NEW_SYSTEM_CHUNK.load(Ordering::Relaxed) > 100);
}

/// What the scheduler finds wrong with a protocol.
#[track_caller]
fn fault(protocol: Protocol) -> String {
    let found = catch_unwind(AssertUnwindSafe(|| try_schedules(protocol, 5000, |_| {})));
    let panic = found.expect_err("no fault was found");
    let text = panic.downcast_ref::<String>().cloned();
    text.or(panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
}

#[test]
fn promises_that_are_kept_to_the_end_are_found_to_exhaust_the_array() {
    let fault = fault(Protocol::KeptPromises);
    assert!(fault.contains("the array is full"), "{fault}");
}

#[test]
fn locks_in_the_wrong_order_are_found_to_deadlock() {
    let fault = fault(Protocol::ReversedLocks);
    assert!(fault.contains("deadlock"), "{fault}");
}

#[test]
fn a_removal_that_takes_space_from_under_a_promise_is_found() {
    let fault = fault(Protocol::HastyRemoval);
    assert!(fault.contains("a new system chunk is not enough"), "{fault}");
}

#[test]
fn a_commit_that_does_not_wait_is_found_to_write_half_a_chunk() {
    let fault = fault(Protocol::HastyCommit);
    assert!(fault.contains("chunks and block groups") || fault.contains("chunks and device extents"), "{fault}");
}
