//! What walks over whole trees hand to their callers.

use crate::block::verify::Expected;
use crate::block::{Block, Leaf, Node};
use crate::disk::{Key, objectid};
use crate::volume::BadCopy;

use super::root::TreeRoot;

/// A tree to walk over.
#[derive(Clone, Copy, Debug)]
pub struct Tree {
    /// Its root block.
    pub root: TreeRoot,
    /// Of a tree that is being dropped: the first key, and the level of its pointer, that is still there.
    pub drop_progress: Option<(Key, u8)>,
}

impl Tree {
    /// A tree of which nothing is dropped.
    pub fn whole(root: TreeRoot) -> Self {
        Self { root, drop_progress: None }
    }

    /// The id of the tree.
    pub fn id(&self) -> u64 {
        self.root.key.objectid
    }

    /// The tree that a block of this one was written for. A subvolume shares blocks below its root with others, and a
    /// relocation tree with the tree that it copies; any other owner in a header is wrong.
    pub fn owner_of(&self, block: Block<'_>) -> u64 {
        let (tree, owner) = (self.id(), block.header().owner.get());
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

/// The pointer by which a walk reaches a block.
#[derive(Clone, Copy, Debug)]
pub struct BlockPlace<'t> {
    /// The tree that is walked.
    pub tree: &'t Tree,
    /// What the pointer says of the block.
    pub expected: Expected,
    /// Keys of the block are below this.
    pub end: Option<Key>,
    /// Whether another pointer to the block, which was followed before, promises something else of it.
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

    /// A pointer that is not followed: the block was visited before, by a pointer that promises the same.
    fn again(&self, part: &mut Self::Part, place: &BlockPlace<'_>) {
        let _ = (part, place);
    }
}
