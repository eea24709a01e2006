//! Reads every tree block once, however many trees share it, and verifies all its copies.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::block::item::{Rules, check_block};
use crate::block::verify::{BlockError, Expected};
use crate::block::{Block, Kind, Leaf, Node};
use crate::disk::fields::Uuid;
use crate::disk::{Key, Logical, Physical, objectid};
use crate::finding::findings;
use crate::parallel::{lock, on_threads};
use crate::tree::TreeRoot;
use crate::volume::Volume;

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
        /// A block carries the UUID of another chunk tree.
        ChunkTreeUuid(
            "block-chunk-tree-uuid", Warning,
            "tree={tree} block={block}, invalid chunk tree uuid, have {have} expect {expect}"
        ) {
            tree: u64, block: Logical, have: Uuid, expect: Uuid,
        }
        /// A block holds keys that, by the keys of its parent, belong into its right neighbour.
        LastKey("block-last-key", Error, "tree={tree} block={block}, last key {have} expect less than {expect}") {
            tree: u64, block: Logical, have: Key, expect: Key,
        }
        /// A pointer promises a level, generation or first key that the block, to which another one leads, does not have.
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

impl Tree {
    /// The tree that a block of this one was written for. A subvolume shares blocks below its root with others, and a
    /// relocation tree with the tree that it copies; any other owner in a header is wrong.
    pub fn owner_of(&self, block: Block<'_>) -> u64 {
        let (tree, owner) = (self.root.key.objectid, block.header().owner.get());
        let may_share = objectid::is_fs_tree(tree) || tree == objectid::TREE_RELOC || tree == objectid::DATA_RELOC_TREE;
        let is_root = block.logical() == self.root.logical && tree != objectid::TREE_RELOC;
        // The blocks of a relocation tree keep the owner that they have in the tree that is relocated (`btrfs_copy_root` in
        // fs/btrfs/ctree.c); that of data relocation is none of files.
        let is_relocated = tree == objectid::TREE_RELOC && owner == self.root.key.offset;
        let is_of_files = objectid::is_fs_tree(owner) || owner == objectid::TREE_RELOC;
        let is_shared = may_share && !is_root && (is_of_files || is_relocated);
        if is_shared { owner } else { tree }
    }
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
    /// Address, and object id of the first key, as the pointer to the block has them.
    pub fn pointer(&self) -> Option<(Logical, u64)> {
        Some((self.block, self.first?.objectid))
    }

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
    reached: Mutex<Reached>,
    rules: Rules,
    /// That of all blocks, if it is known.
    chunk_tree_uuid: Option<Uuid>,
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
    /// Whether another pointer to the block promises something else.
    is_disputed: bool,
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
        Self { job: *job, reached, rules, chunk_tree_uuid: chunk_tree_uuid(job.volume), unread, copies }
    }

    /// Number of blocks that were reached.
    pub fn blocks(&self) -> u64 {
        lock(&self.reached).count()
    }

    /// Number of copies of blocks that were read.
    pub fn copies(&self) -> u64 {
        self.copies.load(Ordering::Relaxed)
    }

    /// What could not be read so far.
    pub fn unread(&self) -> Vec<Unread> {
        lock(&self.unread).clone()
    }

    /// Visits all blocks of `trees` that no earlier run visited. Each thread gathers what it learns in an `A` of its
    /// own; they are returned in no particular order.
    ///
    /// Nodes are visited one after the other, in the order of the trees, by whichever thread needs leaves next: which
    /// tree a shared block is reached by does not depend on the threads.
    pub fn run<A: Default + Send>(&self, trees: &[Tree], visit: impl Fn(&mut A, &Tree, Visit<'_>) + Sync) -> Vec<A> {
        let root_task = |(index, tree): (usize, &Tree)| Task {
            tree: index,
            expected: tree.root.expected(),
            end: None,
            on_dropped_path: tree.dropped_to.is_some(),
            is_disputed: false,
        };
        let path = Mutex::new(trees.iter().enumerate().rev().map(root_task).collect::<Vec<_>>());
        let worker = || {
            let mut gathered = A::default();
            let mut buffers = Buffers::default();
            loop {
                // Bound to a name so that the path is unlocked before the leaves are visited.
                let next = self.next_leaves(&mut lock(&path), trees, &mut buffers, &mut gathered, &visit);
                let Some(leaves) = next.filter(|_| !self.job.progress.is_stopped()) else { return gathered };
                for leaf in &leaves {
                    self.block(&trees[leaf.tree], leaf, &mut buffers, &mut gathered, &visit);
                }
            }
        };
        on_threads(self.job.threads, worker)
    }

    /// Visits nodes until there are leaves to visit: those below one node, or one that is a root. `path` are the blocks
    /// still to come, the next one last. Nothing if no leaves are left.
    fn next_leaves<A>(
        &self,
        path: &mut Vec<Task>,
        trees: &[Tree],
        buffers: &mut Buffers,
        gathered: &mut A,
        visit: &impl Fn(&mut A, &Tree, Visit<'_>),
    ) -> Option<Vec<Task>> {
        loop {
            let mut task = path.pop()?;
            if !self.claim(&mut task) {
                continue;
            }
            if task.expected.level == Some(0) {
                return Some(vec![task]);
            }
            let mut children = self.block(&trees[task.tree], &task, buffers, gathered, visit);
            if children.first().is_some_and(|child| child.expected.level == Some(0)) {
                children.retain_mut(|child| self.claim(child));
                return Some(children);
            }
            path.extend(children.into_iter().rev());
        }
    }

    /// Whether the block is yet to be visited, or the task promises of it what none before did.
    fn claim(&self, task: &mut Task) -> bool {
        let claim = lock(&self.reached).claim(task.expected.logical, promise(&task.expected));
        task.is_disputed = claim == Claim::Different;
        claim != Claim::Same
    }

    /// Verifies and visits one block. Returns its children, if it is a node.
    fn block<A>(
        &self,
        tree: &Tree,
        task: &Task,
        buffers: &mut Buffers,
        gathered: &mut A,
        visit: &impl Fn(&mut A, &Tree, Visit<'_>),
    ) -> Vec<Task> {
        let expected = &task.expected;
        let id = tree.root.key.objectid;
        let Some(block) = self.read_all_copies(id, task, buffers) else {
            let (level, first) = (expected.level.unwrap_or_default(), expected.first_key);
            let unread = Unread { tree: id, block: expected.logical, level, first, end: task.end };
            lock(&self.unread).push(unread);
            return Vec::new();
        };
        self.check_place(tree, task, block);
        check_block(block, tree.owner_of(block), &self.rules, &mut |problem| self.job.findings.report(problem));
        match block.kind() {
            Kind::Leaf(leaf) => {
                visit(gathered, tree, Visit::Leaf(leaf));
                Vec::new()
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
                    is_disputed: false,
                };
                (first..ptrs.len()).map(child).collect()
            }
        }
    }

    /// The block from its first good copy. Every copy is read; a bad one is reported.
    fn read_all_copies<'b>(&'b self, tree: u64, task: &Task, buffers: &'b mut Buffers) -> Option<Block<'b>> {
        let Buffers { block, copy } = buffers;
        let expected = &task.expected;
        let logical = expected.logical;
        let mut good = None;
        let mut bad = Vec::new();
        for mirror in 1..=self.job.volume.mirrors(logical) {
            // A rebuild from parity is no copy of its own: it is needed only where nothing else is good.
            if good.is_some() && self.job.volume.place(logical, mirror).is_none() {
                break;
            }
            let buffer = if good.is_some() { &mut *copy } else { &mut *block };
            match self.job.volume.read_copy(expected, mirror, buffer) {
                Ok(read) => good = good.or(Some(read)),
                Err(error) => bad.push((mirror, error)),
            }
            self.copies.fetch_add(1, Ordering::Relaxed);
        }
        self.job.progress.add(self.job.volume.format().nodesize.into());
        if good.is_none() && task.is_disputed {
            self.job.findings.report(BlockProblem::Disagreement { tree, block: logical });
            return None;
        }
        if good.is_none() {
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
        good.map(|good| good.block(block))
    }

    /// Whether the block belongs to this tree and into its place.
    fn check_place(&self, tree: &Tree, task: &Task, block: Block<'_>) {
        let (id, logical, have) = (tree.root.key.objectid, task.expected.logical, block.header().owner.get());
        if have != tree.owner_of(block) {
            self.job.findings.report(BlockProblem::Owner { tree: id, block: logical, have, expect: id });
        }
        let have = block.header().chunk_tree_uuid;
        if let Some(expect) = self.chunk_tree_uuid.filter(|expect| *expect != have) {
            self.job.findings.report(BlockProblem::ChunkTreeUuid { tree: id, block: logical, have, expect });
        }
        if let (Some(have), Some(expect)) = (block.last_key(), task.end)
            && have >= expect
        {
            self.job.findings.report(BlockProblem::LastKey { tree: id, block: logical, have, expect });
        }
    }
}

/// What two of three roots say: one wrong header must not make all others wrong.
fn chunk_tree_uuid(volume: &Volume) -> Option<Uuid> {
    let root_tree = TreeRoot::root_tree(volume);
    let roots =
        [TreeRoot::chunk_tree(volume), root_tree].into_iter().chain(root_tree.children(volume).into_iter().take(1));
    let mut buffer = Vec::new();
    let mut uuids = Vec::new();
    for root in roots {
        let Ok(read) = volume.read_block(&root.expected(), &mut buffer) else { continue };
        let uuid = read.block.header().chunk_tree_uuid;
        if uuids.contains(&uuid) {
            return Some(uuid);
        }
        uuids.push(uuid);
    }
    None
}

/// What a pointer promises, in a number.
fn promise(expected: &Expected) -> u64 {
    let key = expected.first_key.unwrap_or_default();
    let generation = expected.generation.unwrap_or_default().0;
    let level = expected.level.unwrap_or_default().into();
    hash(&[level, generation, key.objectid, key.key_type.0.into(), key.offset])
}
