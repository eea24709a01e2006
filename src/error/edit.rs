//! Why a tree cannot be changed.

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
