//! Edits of blocks that may be leaves or nodes.

use std::ops::Range;

use crate::block::{Block, BlockKind};
use crate::disk::Key;

use super::leaf::LeafMut;
use super::node::NodeMut;
use super::slots::{EditError, check_order};

/// Whether a block may be edited: its elements lie within it, its keys ascend, and the data of a leaf has no gaps.
pub fn check_layout(block: Block<'_>) -> Result<(), EditError> {
    if block.count() != block.nritems() as usize {
        return Err(EditError::Malformed("more elements than fit"));
    }
    match block.kind() {
        BlockKind::Leaf(leaf) => {
            let mut end = leaf.data_size();
            for item in leaf.headers() {
                if item.offset.get().checked_add(item.size.get()) != Some(end) {
                    return Err(EditError::Malformed("item data is not packed"));
                }
                end = item.offset.get();
            }
            if (end as usize) < size_of_val(leaf.headers()) {
                return Err(EditError::Malformed("item data overlaps item headers"));
            }
            check_order(None, leaf.headers().iter().map(|item| Key::from(&item.key)), None)
        }
        BlockKind::Node(node) => check_order(None, node.ptrs().iter().map(|ptr| Key::from(&ptr.key)), None),
    }
}

/// Moves the elements at `slots` of `from` to `slot` of `to`, a block of the same level.
pub fn transfer(to: &mut [u8], slot: usize, from: &mut [u8], slots: Range<usize>) -> Result<(), EditError> {
    match (level(to)?, level(from)?) {
        (0, 0) => LeafMut::new(to)?.take(slot, &mut LeafMut::new(from)?, slots),
        (above, level) if above == level => NodeMut::new(to)?.take(slot, &mut NodeMut::new(from)?, slots),
        _ => Err(EditError::Malformed("level")),
    }
}

/// Zeroes the bytes that no element uses. btrfs-progs leaves there what it no longer needs.
pub fn clear_unused(bytes: &mut [u8]) -> Result<(), EditError> {
    match level(bytes)? {
        0 => LeafMut::new(bytes)?.clear_unused(),
        _ => NodeMut::new(bytes)?.clear_unused(),
    }
    Ok(())
}

fn level(bytes: &[u8]) -> Result<u8, EditError> {
    Block::new(bytes).map(|block| block.level()).ok_or(EditError::Malformed("size"))
}
