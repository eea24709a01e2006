//! The parallel scan: every block of some trees once, however many trees share it, and every copy of each.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::block::verify::{BlockError, Expected};
use crate::block::{Block, BlockKind};
use crate::disk::{Key, Logical};
use crate::parallel::{lock, on_threads};
use crate::progress::Progress;
use crate::volume::{BadCopy, BlockCopy, Volume};

use super::reached::{Claim, Reached, promise};
use super::visitor::{BlockPlace, Tree, Visit, Visitor};
use super::walk::{Entered, walk_by};

/// A scan of trees, in one run or several.
pub struct Scan<'v> {
    volume: &'v Volume,
    threads: usize,
    progress: &'v Progress,
    reached: Mutex<Reached>,
    /// Blocks that were read before their turn, by address and what the pointer says.
    ahead: Mutex<HashMap<(Logical, u64), Copies<'v>>>,
    copies: AtomicU64,
}

/// A pointer to follow.
#[derive(Clone, Copy)]
struct Task {
    tree: usize,
    expected: Expected,
    end: Option<Key>,
    /// Whether the block is on the path to the first key that is not dropped yet.
    on_dropped_path: bool,
    is_disputed: bool,
}

impl Task {
    fn place<'t>(&self, trees: &'t [Tree]) -> BlockPlace<'t> {
        let Self { expected, end, is_disputed, .. } = *self;
        BlockPlace { tree: &trees[self.tree], expected, end, is_disputed }
    }
}

/// All copies of a block: the first good one, and the bad ones.
#[derive(Clone, Default)]
struct Copies<'v> {
    good: Option<BlockCopy<'v>>,
    /// What the good one was read with.
    buffer: Vec<u8>,
    bad: Vec<BadCopy>,
    /// How many were read.
    count: u64,
}

impl Copies<'_> {
    /// The good copy.
    fn block(&self) -> Option<Block<'_>> {
        self.good.map(|good| good.block(&self.buffer))
    }
}

/// Buffers of one thread.
#[derive(Default)]
struct Buffers<'v> {
    block: Copies<'v>,
    other: Vec<u8>,
}

impl<'v> Scan<'v> {
    /// A scan on `threads` threads. `progress` counts its blocks and can stop it.
    pub fn new(volume: &'v Volume, threads: usize, progress: &'v Progress) -> Self {
        let (reached, ahead, copies) = Default::default();
        Self { volume, threads, progress, reached, ahead, copies }
    }

    /// Number of blocks that were reached.
    pub fn blocks(&self) -> u64 {
        lock(&self.reached).count()
    }

    /// Number of copies of visited blocks that were read.
    pub fn copies(&self) -> u64 {
        self.copies.load(Ordering::Relaxed)
    }

    /// Walks over a tree before its turn, on the caller's thread. A later run that reaches one of its blocks by the same
    /// pointer does not read it again; only that run hands on which copies are bad.
    pub fn walk_ahead<V: Visitor>(&self, tree: &Tree, visitor: &V, part: &mut V::Part) {
        let read = |expected: &Expected, buffer: &mut Vec<u8>| {
            *buffer = self.read_ahead(expected).ok_or_else(Vec::new)?;
            Ok(Vec::new())
        };
        walk_by(read, tree, &mut Entered::default(), visitor, part);
    }

    /// Reads a block before its turn, as [`Scan::walk_ahead`]. Returns the bytes of a good copy, if there is one.
    pub fn read_ahead(&self, expected: &Expected) -> Option<Vec<u8>> {
        let mut ahead = lock(&self.ahead);
        let copies = ahead.entry((expected.logical, promise(expected))).or_insert_with(|| {
            let mut buffers = Buffers::default();
            self.read_all_copies(expected, &mut buffers);
            buffers.block
        });
        copies.block().map(|block| block.bytes().to_vec())
    }

    /// Visits all blocks of `trees` that no earlier run visited. Each thread gathers what it learns in a part of its
    /// own; they are returned in no particular order.
    ///
    /// Nodes are visited one after the other, in the order of the trees, by whichever thread needs leaves next: which
    /// tree a shared block is reached by does not depend on the threads.
    pub fn run<V: Visitor<Part: Default + Send>>(&self, trees: &[Tree], visitor: &V) -> Vec<V::Part> {
        let root_task = |(index, tree): (usize, &Tree)| Task {
            tree: index,
            expected: tree.root.expected(),
            end: None,
            on_dropped_path: tree.drop_progress.is_some(),
            is_disputed: false,
        };
        let path = Mutex::new(trees.iter().enumerate().rev().map(root_task).collect::<Vec<_>>());
        let worker = || {
            let mut part = V::Part::default();
            let mut buffers = Buffers::default();
            loop {
                // Bound to a name so that the path is unlocked before the leaves are visited.
                let next = self.next_leaves(&mut lock(&path), trees, &mut buffers, &mut part, visitor);
                let Some(leaves) = next.filter(|_| !self.progress.is_stopped()) else { return part };
                for leaf in &leaves {
                    self.block(trees, leaf, &mut buffers, &mut part, visitor);
                }
            }
        };
        on_threads(self.threads, worker)
    }

    /// Visits nodes until there are leaves to visit: those below one node, or one that is a root. `path` are the blocks
    /// still to come, the next one last. Nothing if no leaves are left.
    fn next_leaves<V: Visitor>(
        &self,
        path: &mut Vec<Task>,
        trees: &[Tree],
        buffers: &mut Buffers<'v>,
        part: &mut V::Part,
        visitor: &V,
    ) -> Option<Vec<Task>> {
        let claim = |task: &mut Task, part: &mut V::Part| {
            let is_new = self.claim(task);
            if !is_new {
                visitor.again(part, &task.place(trees));
            }
            is_new
        };
        loop {
            let mut task = path.pop()?;
            if !claim(&mut task, part) {
                continue;
            }
            if task.expected.level == Some(0) {
                return Some(vec![task]);
            }
            let mut children = self.block(trees, &task, buffers, part, visitor);
            if children.first().is_some_and(|child| child.expected.level == Some(0)) {
                children.retain_mut(|child| claim(child, part));
                return Some(children);
            }
            path.extend(children.into_iter().rev());
        }
    }

    /// Whether the block is yet to be visited, or the task says of it what none before did.
    fn claim(&self, task: &mut Task) -> bool {
        let claim = lock(&self.reached).claim(task.expected.logical, promise(&task.expected));
        task.is_disputed = claim == Claim::Different;
        claim != Claim::Same
    }

    /// Verifies and visits one block. Returns its children, if it is a node.
    fn block<V: Visitor>(
        &self,
        trees: &[Tree],
        task: &Task,
        buffers: &mut Buffers<'v>,
        part: &mut V::Part,
        visitor: &V,
    ) -> Vec<Task> {
        let place = task.place(trees);
        match self.take_ahead(&task.expected) {
            Some(ahead) => buffers.block = ahead,
            None => self.read_all_copies(&task.expected, buffers),
        }
        self.copies.fetch_add(buffers.block.count, Ordering::Relaxed);
        self.progress.add(self.volume.format().nodesize.into());
        let bad = std::mem::take(&mut buffers.block.bad);
        let Some(block) = buffers.block.block() else {
            visitor.unreadable(part, &place, bad);
            return Vec::new();
        };
        if !bad.is_empty() {
            visitor.bad_copies(part, &place, bad, block);
        }
        let node = match block.kind() {
            BlockKind::Leaf(leaf) => {
                visitor.visit(part, &place, Visit::Leaf(leaf));
                return Vec::new();
            }
            BlockKind::Node(node) => node,
        };
        let ptrs = node.ptrs();
        let kept = place.tree.kept(ptrs, block.level(), task.on_dropped_path);
        let first = kept.first;
        visitor.visit(part, &place, Visit::Node(node, first));
        let end_of = |index: usize| ptrs.get(index + 1).map(|ptr| Key::from(&ptr.key)).or(task.end);
        let child = |index: usize| Task {
            tree: task.tree,
            expected: Expected::child(&ptrs[index], block.level()),
            end: end_of(index),
            on_dropped_path: kept.is_on_path(index),
            is_disputed: false,
        };
        (first..ptrs.len()).map(child).collect()
    }

    fn take_ahead(&self, expected: &Expected) -> Option<Copies<'v>> {
        let mut ahead = lock(&self.ahead);
        if ahead.is_empty() { None } else { ahead.remove(&(expected.logical, promise(expected))) }
    }

    /// Reads every copy of a block.
    fn read_all_copies(&self, expected: &Expected, buffers: &mut Buffers<'v>) {
        let Buffers { block, other } = buffers;
        let Copies { good, buffer, bad, count } = block;
        let logical = expected.logical;
        (*good, *count) = (None, 0);
        bad.clear();
        for mirror in 1..=self.volume.mirrors(logical) {
            let place = || self.volume.place(logical, mirror);
            // A rebuild from parity is no copy of its own: it is needed only where nothing else is good.
            if good.is_some() && place().is_none() {
                break;
            }
            let read = match good {
                Some(_) => self.volume.read_copy(expected, mirror, other),
                None => self.volume.read_copy(expected, mirror, buffer),
            };
            match (read, *good) {
                (Ok(copy), None) => *good = Some(copy),
                // Both are verified: they are the same if their checksums are.
                (Ok(copy), Some(first)) => {
                    if copy.block(other).header().csum != first.block(buffer).header().csum {
                        bad.push(BadCopy { mirror, place: place(), error: BlockError::Differs });
                    }
                }
                (Err(error), _) => bad.push(BadCopy { mirror, place: place(), error }),
            }
            *count += 1;
        }
    }
}
