//! Edits of trees, and the items of extents and of free space.

mod extent_items;
mod free_space_tree;
mod shared_trees;
#[path = "../support/mod.rs"]
mod support;
mod tree_edits;
