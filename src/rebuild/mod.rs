//! Whole trees out of sorted records: the extent, block group, free space, checksum, device and chunk trees.
//!
//! A maker of filesystems and a repair hand over the same facts: which extents there are and what refers to them, what of
//! each block group is free, where chunks lie. Nothing here knows where the facts come from. Records are read in order, and
//! only what belongs to one extent or to one block group is in memory at a time. Facts that contradict each other are an
//! error, and no tree is made of them.

mod block_groups;
mod csum_tree;
mod device_tree;
mod extent_tree;
mod records;
mod space_trees;
mod stores;

pub use block_groups::{GroupSpace, block_group_items, free_space_tree_items};
pub use csum_tree::{CsumTree, most_csum_bytes};
pub use device_tree::{chunk_tree_items, device_tree_items};
pub use extent_tree::ExtentTree;
pub use records::{BlockRef, DataExtent, DataExtents, DataRange, DataRef, Items};
pub use space_trees::{Settled, SpaceMap, SpaceTrees};
pub use stores::{OutlineStore, PlacedStore};
