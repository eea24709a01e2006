//! The order of a transaction's locks, the outermost first.
//!
//! A change of chunks needs no tree but the chunk tree, and a thread that holds another tree may ask for chunks: a copy of one of
//! its blocks may need a new chunk.

use crate::disk::objectid;
use crate::sync::Rank;

/// A tree that was opened on demand: those of files, of several the one with the lower id first, then others, such as the
/// checksum tree.
pub fn opened_tree(id: u64) -> Rank {
    Rank(if objectid::is_fs_tree(id) { 0 } else { 1 }, id)
}

pub const EXTENT_TREE: Rank = Rank(2, 0);
pub const BLOCK_GROUP_TREE: Rank = Rank(3, 0);
pub const DEVICE_TREE: Rank = Rank(4, 0);
pub const FREE_SPACE_TREE: Rank = Rank(5, 0);
/// The list of trees that were opened on demand.
pub const OPENED_TREES: Rank = Rank(6, 0);
pub const ROOT_TREE: Rank = Rank(7, 0);
/// The chunk tree and all that goes with it.
pub const CHUNKS: Rank = Rank(8, 0);
/// Block groups and delayed references: no thread holds both.
pub const SPACE: Rank = Rank(9, 0);
pub const DELAYED_REFS: Rank = SPACE;
