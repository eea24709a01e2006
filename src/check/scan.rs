//! Reads every tree block once, however many trees share it, and verifies all its copies.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};

use crate::block::item::{Rules, check_block};
use crate::block::verify::{BlockError, Expected};
use crate::block::{Block, Kind, Leaf, Node};
use crate::disk::{Key, Logical, Physical, objectid};
use crate::finding::findings;
use crate::tree::TreeRoot;

use super::Job;
use super::reached::{Claim, Reached};
use super::sketch::hash;

findings! {
    /// Tree blocks: whether they are what points to them says.
    BlockProblem {
        /// No copy of a tree block can be used: what it holds, and what is below it, is unknown.
        Unreadable("block-unreadable", Fatal, "tree={tree} block={block} level={level}, {problem}") {
            tree: u64, block: Logical, level: u8, problem: String,
        }
        /// A copy of a tree block is damaged while another one is good.
        BadCopy(
            "block-bad-copy", Error,
            "tree={tree} block={block}, bad copy on device {devid} at {physical}: {problem}; another one is good"
        ) {
            tree: u64, block: Logical, devid: u64, physical: Physical, problem: String,
        }
        /// The owner in a block's header is not the tree that the block belongs to.
        Owner("block-owner", Error, "tree={tree} block={block}, invalid owner, have {have} expect {expect}") {
            tree: u64, block: Logical, have: u64, expect: u64,
        }
        /// A block holds keys that, by the keys of its parent, belong into its right neighbour.
        LastKey("block-last-key", Error, "tree={tree} block={block}, last key {have} expect less than {expect}") {
            tree: u64, block: Logical, have: Key, expect: Key,
        }
        /// Two pointers to one block promise different levels, generations or first keys.
        Disagreement(
            "block-pointers-disagree", Error,
            "tree={tree} block={block}, another pointer to it promises another level, generation or first key"
        ) {
            tree: u64, block: Logical,
        }
    }
}

/// A tree to scan.
#[derive(Clone, Copy, Debug)]
pub struct Tree {
    pub root: TreeRoot,
    /// Of a tree that is being dropped: the first key, and the level of its pointer, that is still there.
    pub dropped_to: Option<(Key, u8)>,
}

/// A block that could not be read, and with it all below it.
#[derive(Clone, Copy, Debug)]
pub struct Unread {
    pub tree: u64,
    pub block: Logical,
    pub level: u8,
    first: Option<Key>,
    end: Option<Key>,
}

impl Unread {
    /// Whether items with this object id may stand in what could not be read.
    pub fn may_hold_objectid(&self, objectid: u64) -> bool {
        self.first.is_none_or(|first| first.objectid <= objectid) && self.end.is_none_or(|end| objectid <= end.objectid)
    }

    /// Whether items with keys from `from` to `to` may stand in what could not be read.
    pub fn may_hold_between(&self, from: Key, to: Key) -> bool {
        self.first.is_none_or(|first| first <= to) && self.end.is_none_or(|end| from < end)
    }
}

/// What a scan hands to its visitor: each block once.
pub enum Visit<'a> {
    Leaf(Leaf<'a>),
    /// A node, and the first of its pointers that counts: those before it are dropped already.
    Node(Node<'a>, usize),
}

impl<'a> Visit<'a> {
    pub fn block(&self) -> Block<'a> {
        match self {
            Visit::Leaf(leaf) => leaf.block(),
            Visit::Node(node, _) => node.block(),
        }
    }
}

/// The scan of all trees.
pub struct Scan<'v> {
    job: Job<'v>,
    reached: Reached,
    rules: Rules,
    unread: Mutex<Vec<Unread>>,
    copies: AtomicU64,
}

/// A block to visit.
#[derive(Clone, Copy)]
struct Task {
    tree: usize,
    expected: Expected,
    /// Keys of the block are below this.
    end: Option<Key>,
    /// Whether the block is on the path to the first key that is not dropped yet.
    on_dropped_path: bool,
}

/// Tasks of all threads. A thread that finds none waits until one comes, or until all threads wait.
struct Queue {
    tasks: Vec<Task>,
    busy: usize,
}

/// Buffers of one thread.
#[derive(Default)]
struct Buffers {
    block: Vec<u8>,
    copy: Vec<u8>,
}

impl<'v> Scan<'v> {
    pub fn new(job: &Job<'v>) -> Self {
        let rules = Rules::new(job.volume.format(), job.volume.superblock());
        let (reached, unread, copies) = Default::default();
        Self { job: *job, reached, rules, unread, copies }
    }

    /// Number of blocks that were reached.
    pub fn blocks(&self) -> u64 {
        self.reached.len()
    }

    /// Number of copies of blocks that were read.
    pub fn copies(&self) -> u64 {
        self.copies.load(Ordering::Relaxed)
    }

    /// What could not be read so far.
    pub fn unread(&self) -> Vec<Unread> {
        self.unread.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Visits all blocks of `trees` that no earlier run visited. Each thread gathers what it learns in an `A` of its
    /// own; they are returned in no particular order.
    pub fn run<A: Default + Send>(&self, trees: &[Tree], visit: impl Fn(&mut A, &Tree, Visit<'_>) + Sync) -> Vec<A> {
        let root_task = |(index, tree): (usize, &Tree)| Task {
            tree: index,
            expected: tree.root.expected(),
            end: None,
            on_dropped_path: tree.dropped_to.is_some(),
        };
        let tasks = trees.iter().enumerate().rev().map(root_task).collect();
        let queue = Mutex::new(Queue { tasks, busy: 0 });
        let changed = Condvar::new();
        let worker = || {
            let mut gathered = A::default();
            let mut buffers = Buffers::default();
            loop {
                let mut state = queue.lock().unwrap_or_else(PoisonError::into_inner);
                let task = loop {
                    match state.tasks.pop() {
                        Some(task) => break task,
                        None if state.busy == 0 || self.job.progress.is_stopped() => return gathered,
                        None => state = changed.wait(state).unwrap_or_else(PoisonError::into_inner),
                    }
                };
                if self.job.progress.is_stopped() {
                    changed.notify_all();
                    return gathered;
                }
                state.busy += 1;
                drop(state);
                let children = self.subtree(&trees[task.tree], &task, &mut buffers, &mut gathered, &visit);
                let mut state = queue.lock().unwrap_or_else(PoisonError::into_inner);
                state.busy -= 1;
                state.tasks.extend(children);
                changed.notify_all();
            }
        };
        std::thread::scope(|scope| {
            let others: Vec<_> = (1..self.job.threads).map(|_| scope.spawn(worker)).collect();
            let mut gathered = vec![worker()];
            gathered.extend(others.into_iter().filter_map(|thread| thread.join().ok()));
            gathered
        })
    }

    /// Visits a block, and the leaves below a node of level 1. Returns the children of a higher node.
    fn subtree<A>(
        &self,
        tree: &Tree,
        task: &Task,
        buffers: &mut Buffers,
        gathered: &mut A,
        visit: &(impl Fn(&mut A, &Tree, Visit<'_>) + Sync),
    ) -> Vec<Task> {
        let Some(children) = self.block(tree, task, buffers, gathered, visit) else { return Vec::new() };
        if children.iter().any(|child| child.expected.level != Some(0)) {
            return children;
        }
        for child in &children {
            self.block(tree, child, buffers, gathered, visit);
        }
        Vec::new()
    }

    /// Verifies and visits one block; its children, if it is a node that was not reached before.
    fn block<A>(
        &self,
        tree: &Tree,
        task: &Task,
        buffers: &mut Buffers,
        gathered: &mut A,
        visit: &(impl Fn(&mut A, &Tree, Visit<'_>) + Sync),
    ) -> Option<Vec<Task>> {
        let expected = &task.expected;
        let id = tree.root.key.objectid;
        match self.reached.claim(expected.logical, promise(expected)) {
            Claim::New => {}
            Claim::Same => return None,
            Claim::Different => {
                let problem = BlockProblem::Disagreement { tree: id, block: expected.logical };
                self.job.findings.report(problem);
                return None;
            }
        }
        let Some(block) = self.read_all_copies(id, expected, buffers) else {
            let (level, first) = (expected.level.unwrap_or_default(), expected.first_key);
            let unread = Unread { tree: id, block: expected.logical, level, first, end: task.end };
            self.unread.lock().unwrap_or_else(PoisonError::into_inner).push(unread);
            return None;
        };
        self.check_place(id, task, block);
        check_block(block, block.header().owner.get(), &self.rules, &mut |problem| self.job.findings.report(problem));
        match block.kind() {
            Kind::Leaf(leaf) => {
                visit(gathered, tree, Visit::Leaf(leaf));
                None
            }
            Kind::Node(node) => {
                let ptrs = node.ptrs();
                let kept = tree.dropped_to.filter(|(_, level)| task.on_dropped_path && block.level() >= *level);
                let first =
                    kept.map_or(0, |(key, _)| ptrs.partition_point(|ptr| Key::from(&ptr.key) <= key).saturating_sub(1));
                visit(gathered, tree, Visit::Node(node, first));
                let end_of = |index: usize| ptrs.get(index + 1).map(|ptr| Key::from(&ptr.key)).or(task.end);
                let child = |index: usize| Task {
                    tree: task.tree,
                    expected: Expected::child(&ptrs[index], block.level()),
                    end: end_of(index),
                    on_dropped_path: kept.is_some_and(|(_, level)| index == first && block.level() > level),
                };
                Some((first..ptrs.len()).map(child).collect())
            }
        }
    }

    /// The block from its first good copy. Every copy is read; a bad one is reported.
    fn read_all_copies<'b>(&self, tree: u64, expected: &Expected, buffers: &'b mut Buffers) -> Option<Block<'b>> {
        let Buffers { block, copy } = buffers;
        let logical = expected.logical;
        let mut good = false;
        let mut bad = Vec::new();
        for mirror in 1..=self.job.volume.mirrors(logical) {
            // A rebuild from parity is no copy of its own: it is needed only where nothing else is good.
            if good && self.job.volume.place(logical, mirror).is_none() {
                break;
            }
            let buffer = if good { &mut *copy } else { &mut *block };
            match self.job.volume.read_copy(expected, mirror, buffer) {
                Ok(()) => good = true,
                Err(error) => bad.push((mirror, error)),
            }
            self.copies.fetch_add(1, Ordering::Relaxed);
        }
        self.job.progress.add(self.job.volume.format().nodesize.into());
        if !good {
            let first = bad.into_iter().find(|(_, error)| !matches!(error, BlockError::Missing { .. }));
            let problem = match (first, self.job.volume.mirrors(logical)) {
                (Some((_, error)), _) => error.to_string(),
                (None, 0) => "no chunk holds this address".to_owned(),
                (None, _) => "its devices are missing".to_owned(),
            };
            let level = expected.level.unwrap_or_default();
            self.job.findings.report(BlockProblem::Unreadable { tree, block: logical, level, problem });
            return None;
        }
        for (mirror, error) in bad {
            if let (Some((devid, physical)), false) =
                (self.job.volume.place(logical, mirror), matches!(error, BlockError::Missing { .. }))
            {
                let problem = error.to_string();
                self.job.findings.report(BlockProblem::BadCopy { tree, block: logical, devid, physical, problem });
            }
        }
        Block::new(block)
    }

    /// Whether the block belongs to this tree and into its place.
    fn check_place(&self, tree: u64, task: &Task, block: Block<'_>) {
        let logical = task.expected.logical;
        let owner = block.header().owner.get();
        // A subvolume shares blocks with others, and a relocation tree with the tree that it copies.
        let may_share = objectid::is_fs_tree(tree) || tree == objectid::TREE_RELOC || tree == objectid::DATA_RELOC_TREE;
        let is_shared = may_share && (objectid::is_fs_tree(owner) || owner == objectid::TREE_RELOC);
        if owner != tree && !is_shared {
            self.job.findings.report(BlockProblem::Owner { tree, block: logical, have: owner, expect: tree });
        }
        if let (Some(have), Some(expect)) = (block.last_key(), task.end)
            && have >= expect
        {
            self.job.findings.report(BlockProblem::LastKey { tree, block: logical, have, expect });
        }
    }
}

/// What a pointer promises, in a number.
fn promise(expected: &Expected) -> u64 {
    let key = expected.first_key.unwrap_or_default();
    let generation = expected.generation.unwrap_or_default().0;
    let level = expected.level.unwrap_or_default().into();
    hash(&[level, generation, key.objectid, key.key_type.0.into(), key.offset])
}
