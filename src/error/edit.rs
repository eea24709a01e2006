//! Why a tree, or a block of it, cannot be changed.

use crate::disk::Key;

/// Why a tree cannot be changed as it was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EditProblem {
    /// An item with the key is there.
    #[error("exists already")]
    Exists,
    /// No item has the key.
    #[error("does not exist")]
    Missing,
    /// A key would stand on the wrong side of a neighbour.
    #[error("would be out of order")]
    OutOfOrder,
    /// The item does not fit an empty leaf.
    #[error("is too large for a leaf: {size} bytes, at most {limit}")]
    TooLarge {
        /// Bytes of the item with its header.
        size: usize,
        /// Bytes that a leaf has for items.
        limit: usize,
    },
    /// More bytes are to be taken from an item than it has.
    #[error("has no {count} bytes to take away, only {size}")]
    TooSmall {
        /// Bytes to take.
        count: usize,
        /// Bytes of the item.
        size: usize,
    },
    /// The tree has the greatest height already.
    #[error("needs more levels than a tree may have")]
    TooHigh,
}

/// Why a block cannot be changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
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
