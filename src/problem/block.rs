//! Tree blocks.

use std::fmt;

use serde::{Serialize, Serializer};

use crate::block::verify::BlockError;
use crate::disk::fields::Uuid;
use crate::disk::objectid::tree_name;
use crate::disk::{Key, Logical, Physical};
use crate::finding::findings;

findings! {
    /// Tree blocks: whether they are what points to them says.
    BlockProblem {
        /// No copy of a tree block can be used: what it holds, and what is below it, is unknown.
        Unreadable("block-unreadable", Fatal, "tree={tree} block={block} level={level}, {problem}") {
            tree: u64 as tree_name, block: Logical, level: u8, problem: Unusable,
        }
        /// The root of the root tree or of the chunk tree cannot be read: other roots may lead to what was there.
        OtherRoots(
            "other-roots", Note,
            "the root of tree {tree} at {block} is lost: try the backup roots (-b), another superblock (-s 1, -s 2), or a root \
            that is known otherwise (--tree-root, --chunk-root)"
        ) {
            tree: u64 as tree_name, block: Logical,
        }
        /// A copy of a tree block is damaged while another one is good.
        BadCopy(
            "block-bad-copy", Error,
            "tree={tree} block={block}, bad copy on device {devid} at {physical}: {problem}; another one is good"
        ) {
            tree: u64 as tree_name, block: Logical, devid: u64, physical: Physical, problem: BlockError,
        }
        /// Two copies of a tree block are right by themselves, and differ: which of them is read is a matter of chance.
        CopiesDiffer(
            "block-copies-differ", Error,
            "tree={tree} block={block}, the copy on device {devid} at {physical} differs from another one, and both are right \
            by themselves"
        ) {
            tree: u64 as tree_name, block: Logical, devid: u64, physical: Physical,
        }
        /// A tree block lies across the end of a stripe, as btrfs-convert placed them long ago: it cannot be scrubbed.
        CrossesStripe("block-crosses-stripe", Warning, "tree={tree} block={block} lies across the end of a stripe") {
            tree: u64 as tree_name, block: Logical,
        }
        /// The owner in a block's header is not the tree that the block belongs to.
        Owner("block-owner", Error, "tree={tree} block={block}, invalid owner, have {have} expect {expect}") {
            tree: u64 as tree_name, block: Logical, have: u64 as tree_name, expect: u64 as tree_name,
        }
        /// A block carries the UUID of another chunk tree.
        ChunkTreeUuid(
            "block-chunk-tree-uuid", Warning,
            "tree={tree} block={block}, invalid chunk tree uuid, have {have} expect {expect}"
        ) {
            tree: u64 as tree_name, block: Logical, have: Uuid, expect: Uuid,
        }
        /// A block holds keys that, by the keys of its parent, belong into its right neighbour.
        LastKey("block-last-key", Error, "tree={tree} block={block}, last key {have} expect less than {expect}") {
            tree: u64 as tree_name, block: Logical, have: Key, expect: Key,
        }
        /// A pointer promises a level, generation or first key that the block, to which another one leads, does not have.
        Disagreement(
            "block-pointers-disagree", Error,
            "tree={tree} block={block}, another pointer to it promises another level, generation or first key"
        ) {
            tree: u64 as tree_name, block: Logical,
        }
    }
}

/// Why no copy of a block can be used.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Unusable {
    /// No chunk holds its address.
    NoChunk,
    /// All devices with a copy are missing.
    Missing,
    /// The first of the copies that could be looked at.
    Bad(BlockError),
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unusable::NoChunk => f.write_str("no chunk holds this address"),
            Unusable::Missing => f.write_str("its devices are missing"),
            Unusable::Bad(error) => error.fmt(f),
        }
    }
}

impl Serialize for Unusable {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
