//! What walks over whole trees hand to their callers.

use crate::block::verify::Expected;
use crate::block::{Block, Leaf, Node};
use crate::disk::node::KeyPtr;
use crate::disk::{Key, Transid, flags, objectid};
use crate::volume::BadCopy;

use super::root::TreeRoot;

/// A tree to walk over.
#[derive(Clone, Copy, Debug)]
pub struct Tree {
    /// Its root block.
    pub root: TreeRoot,
    /// Of a tree that is being dropped: the first key, and the level of its pointer, that is still there.
    pub drop_progress: Option<(Key, u8)>,
    /// What its root item says of blocks that it shares; nothing where that is not known.
    pub origin: Option<Origin>,
}

/// From which generation on the blocks of a tree are its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// In which it was made: a snapshot has no newer blocks of the tree that it was taken of.
    pub made: Transid,
    /// In which the last snapshot was taken of it, or the last relocation of its blocks began.
    pub last_snapshot: Transid,
}

impl Tree {
    /// A tree of which nothing is dropped.
    pub fn whole(root: TreeRoot) -> Self {
        Self { root, drop_progress: None, origin: None }
    }

    /// The id of the tree.
    pub fn id(&self) -> u64 {
        self.root.key.objectid
    }

    /// What of a node's pointers is still there. `on_dropped_path` says whether the node is on the path to the first key that is;
    /// the root of a tree that is being dropped is.
    pub fn kept(&self, ptrs: &[KeyPtr], level: u8, on_dropped_path: bool) -> KeptPointers {
        let kept = self.drop_progress.filter(|(_, lowest)| on_dropped_path && level >= *lowest);
        let first = kept.map_or(0, |(key, _)| ptrs.partition_point(|ptr| Key::from(&ptr.key) <= key).saturating_sub(1));
        KeptPointers { first, goes_on: kept.is_some_and(|(_, lowest)| level > lowest) }
    }

    /// The tree that a block of this one was written for. A subvolume shares blocks below its root with others, and a
    /// relocation tree with the tree that it copies; any other owner in a header is wrong.
    pub fn owner_of(&self, block: Block<'_>) -> u64 {
        let (tree, owner) = (self.id(), block.header().owner.get());
        let may_share = objectid::may_share_blocks(tree);
        let is_root = block.logical() == self.root.logical && tree != objectid::TREE_RELOC;
        // The blocks of a relocation tree keep the owner that they have in the tree that is relocated (`btrfs_copy_root` in
        // fs/btrfs/ctree.c); that of data relocation is none of files.
        let is_relocated = tree == objectid::TREE_RELOC && owner == self.root.key.offset;
        let is_of_files = objectid::is_fs_tree(owner) || owner == objectid::TREE_RELOC;
        // What a relocation made keeps the owner of the block that it copied (`btrfs_force_cow_block`): a relocation by the
        // kernel flags it so, one by this program counts as a snapshot.
        let is_copy = block.header().flag_bits() & flags::header::RELOC != 0;
        let is_newer = |origin: Origin| block.generation() > origin.made.max(origin.last_snapshot);
        let is_own = !is_copy && self.origin.is_some_and(is_newer);
        let is_shared = may_share && !is_root && !is_own && (is_of_files || is_relocated);
        if is_shared { owner } else { tree }
    }
}

/// The pointers of a node that are not dropped yet.
#[derive(Clone, Copy, Debug)]
pub struct KeptPointers {
    /// The first of them.
    pub first: usize,
    goes_on: bool,
}

impl KeptPointers {
    /// Whether the block of this pointer is on the path to the first key that is still there.
    pub fn is_on_path(&self, index: usize) -> bool {
        self.goes_on && index == self.first
    }
}

/// The pointer by which a walk reaches a block.
#[derive(Clone, Copy, Debug)]
pub struct BlockPlace<'t> {
    /// The tree that is walked.
    pub tree: &'t Tree,
    /// What the pointer says of the block.
    pub expected: Expected,
    /// Keys of the block are below this.
    pub end: Option<Key>,
    /// Whether another pointer to the block, which was followed before, says something else of it.
    pub is_disputed: bool,
}

/// A block that was read and verified.
#[derive(Clone, Copy)]
pub enum Visit<'a> {
    /// A leaf.
    Leaf(Leaf<'a>),
    /// A node, and the first of its pointers that counts: those before it are dropped already.
    Node(Node<'a>, usize),
}

impl<'a> Visit<'a> {
    /// The block, whichever it is.
    pub fn block(&self) -> Block<'a> {
        match self {
            Visit::Leaf(leaf) => leaf.block(),
            Visit::Node(node, _) => node.block(),
        }
    }
}

/// Learns from the blocks of a walk. What one thread learns is a part of its own.
pub trait Visitor: Sync {
    /// What one thread learns.
    type Part;

    /// A block that is good.
    fn visit(&self, part: &mut Self::Part, place: &BlockPlace<'_>, visit: Visit<'_>);

    /// A block of which no copy is good: what it holds, and all below it, is unknown. `bad` is empty if no chunk holds the
    /// address.
    fn unreadable(&self, part: &mut Self::Part, place: &BlockPlace<'_>, bad: Vec<BadCopy>) {
        let _ = (part, place, bad);
    }

    /// Copies that are bad, of a block whose good copy is `good`. The block is visited next.
    fn bad_copies(&self, part: &mut Self::Part, place: &BlockPlace<'_>, bad: Vec<BadCopy>, good: Block<'_>) {
        let _ = (part, place, bad, good);
    }

    /// A pointer that is not followed: the block was visited before, by a pointer that says the same of it.
    fn again(&self, part: &mut Self::Part, place: &BlockPlace<'_>) {
        let _ = (part, place);
    }
}
