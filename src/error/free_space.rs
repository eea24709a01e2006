//! Why the free space tree cannot say what is free of a block group.

use crate::disk::{Key, Logical};

/// Why what is free of a block group cannot be said by items.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FreeSpaceProblem {
    /// The block group has no bytes, or reaches past the last address.
    #[error("has an impossible length")]
    Length,
    /// The block group does not consist of sectors.
    #[error("is not aligned to sectors")]
    Unaligned,
    /// The range that is free is not in the block group, or does not consist of sectors.
    #[error("cannot have {length} bytes at {start} free")]
    Range {
        /// First address of the range.
        start: Logical,
        /// Its bytes.
        length: u64,
    },
    /// More ranges are free than a number holds.
    #[error("has more free extents than can be counted")]
    TooMany,
    /// An item that is there makes no sense.
    #[error("item {key} {problem}; the filesystem is to be checked")]
    Item {
        /// Key of the item.
        key: Key,
        /// What is wrong with it.
        problem: FreeSpaceItemProblem,
    },
}

/// What is wrong with an item of the free space tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FreeSpaceItemProblem {
    /// The first item of the block group is another than its `FREE_SPACE_INFO`.
    #[error("is there, but no free space info before it")]
    NoInfo,
    /// It is not as long as one of its type and range.
    #[error("does not have its size")]
    Size,
    /// The `FREE_SPACE_INFO` has flags that are not known.
    #[error("has unknown flags")]
    Flags,
    /// The `FREE_SPACE_INFO` has another count.
    #[error("does not count the {count} free extents that are there")]
    Count {
        /// Free ranges that the items have.
        count: u64,
    },
    /// It is an extent among bitmaps, or a bitmap among extents.
    #[error("is not of the form in use")]
    Form,
    /// Its range is not in the block group, or does not consist of sectors.
    #[error("leaves its block group or is not aligned")]
    Range,
    /// The item before it has a part of its range.
    #[error("overlaps another")]
    Overlaps,
    /// The bitmap does not begin where the one before it ends.
    #[error("follows a gap between bitmaps")]
    Gap,
    /// The last bitmap does not reach the end of the block group.
    #[error("has no bitmap for the end of its block group")]
    NoEnd,
}
