//! Changing the bytes of one tree block.
//!
//! The data of a leaf's items is packed from the end of the block downwards, in the order of the items and without gaps;
//! bytes that no element uses any more are zeroed. The blocks are the caller's, and were verified when they were read.
//! Where they are malformed all the same an edit fails, maybe half done, and never panics.

mod leaf;
mod node;
#[cfg(test)]
mod tests;

use std::ops::Range;

use crate::disk::fields::Uuid;
use crate::disk::flags::{BACKREF_REV_SHIFT, MIXED_BACKREF_REV, header::WRITTEN};
use crate::disk::node::Header;
use crate::disk::{Key, Logical, MAX_NODESIZE, Transid};

use super::{Block, BlockKind};

pub use leaf::{LeafMut, NewItem};
pub use node::NodeMut;

/// Why a block cannot be changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EditError {
    /// The block is malformed: how.
    #[error("malformed: {0}")]
    Malformed(&'static str),
    /// The element does not fit.
    #[error("no room for {need} bytes, have {room}")]
    NoRoom {
        /// Bytes that it needs.
        need: usize,
        /// Bytes that are free.
        room: usize,
    },
    /// There is no such element.
    #[error("no slot {slot}, have {count}")]
    NoSlot {
        /// Its slot.
        slot: usize,
        /// Elements of the block.
        count: usize,
    },
    /// More bytes are to be taken from an item than it has.
    #[error("no {count} bytes to take from an item of {size}")]
    ItemTooSmall {
        /// Bytes to take.
        count: usize,
        /// Bytes of the item.
        size: usize,
    },
    /// A key would not lie between those of its neighbours.
    #[error("key {key} out of order")]
    KeyOrder {
        /// The key.
        key: Key,
    },
}

/// What the header of a new block says.
#[derive(Clone, Copy, Debug)]
pub struct NewBlock {
    /// Logical address of the block.
    pub logical: Logical,
    /// Its level; 0 for a leaf.
    pub level: u8,
    /// Generation of the transaction that makes it.
    pub generation: Transid,
    /// The id of the tree that it is made for.
    pub owner: u64,
    /// Uuid of the filesystem: [`crate::disk::Superblock::metadata_fsid`].
    pub fsid: Uuid,
    /// Uuid of the chunk tree.
    pub chunk_tree_uuid: Uuid,
}

impl NewBlock {
    /// Makes `bytes` an empty block, whose checksum is not computed yet.
    pub fn write(&self, bytes: &mut [u8]) -> Result<(), EditError> {
        bytes.fill(0);
        let (header, _) = split_header(bytes)?;
        header.fsid = self.fsid;
        header.bytenr = self.logical.0.into();
        header.flags = (u64::from(MIXED_BACKREF_REV) << BACKREF_REV_SHIFT | WRITTEN).into();
        header.chunk_tree_uuid = self.chunk_tree_uuid;
        header.generation = self.generation.0.into();
        header.owner = self.owner.into();
        header.level = self.level;
        Ok(())
    }
}

/// Says in the header of a block where it stands.
pub fn set_logical(bytes: &mut [u8], logical: Logical) -> Result<(), EditError> {
    let (header, _) = split_header(bytes)?;
    header.bytenr = logical.0.into();
    Ok(())
}

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

fn split_header(bytes: &mut [u8]) -> Result<(&mut Header, &mut [u8]), EditError> {
    if bytes.len() > MAX_NODESIZE as usize {
        return Err(EditError::Malformed("size"));
    }
    zerocopy::FromBytes::mut_from_prefix(bytes).map_err(|_| EditError::Malformed("size"))
}

/// The first `count` elements of a body.
fn elements<T>(body: &[u8], count: usize) -> &[T]
where
    T: zerocopy::FromBytes + zerocopy::KnownLayout + zerocopy::Immutable + zerocopy::Unaligned,
{
    <[T] as zerocopy::FromBytes>::ref_from_prefix_with_elems(body, count).map_or(&[], |(elements, _)| elements)
}

fn elements_mut<T>(body: &mut [u8], count: usize) -> &mut [T]
where
    T: zerocopy::FromBytes + zerocopy::IntoBytes + zerocopy::KnownLayout + zerocopy::Unaligned,
{
    <[T] as zerocopy::FromBytes>::mut_from_prefix_with_elems(body, count).map_or(&mut [], |(elements, _)| elements)
}

fn check_slots(slots: &Range<usize>, count: usize) -> Result<(), EditError> {
    match slots.start > slots.end || slots.end > count {
        true => Err(EditError::NoSlot { slot: slots.end, count }),
        false => Ok(()),
    }
}

/// Whether `keys` ascend, and lie between their neighbours.
fn check_order(before: Option<Key>, keys: impl Iterator<Item = Key>, after: Option<Key>) -> Result<(), EditError> {
    let mut previous = before;
    for key in keys.chain(after) {
        if previous.is_some_and(|previous| previous >= key) {
            return Err(EditError::KeyOrder { key });
        }
        previous = Some(key);
    }
    Ok(())
}
