//! What is wrong with what stands at a logical address.

use std::fmt;

use crate::disk::Key;

use super::chunk::{BadEntryProblem, ChunkProblem};
use super::copy::{BlockError, NoGoodCopy};
use super::edit::EditError;
use super::extent::ExtentProblem;
use super::free_space::FreeSpaceProblem;

/// What stands at a logical address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Addressed {
    /// A block of a tree.
    TreeBlock,
    /// The root of the root tree.
    TreeRoot,
    /// The root of the chunk tree.
    ChunkRoot,
    /// A block of the root tree.
    RootTreeBlock,
    /// A block of the extent tree.
    ExtentTreeBlock,
    /// A copy of a tree block.
    BlockCopy,
    /// The item of a paused balance, in a root tree with its root there.
    BalanceItem,
    /// The status of quotas, in a quota tree with its root there.
    QuotaStatus,
    /// The root item of the tree with its root there.
    RootItem,
    /// Data.
    Data,
    /// Data of a row with parity, another part of which is to be written.
    DataBeside,
    /// Checksums of data.
    Csums,
    /// The first byte that is to be written.
    Write,
    /// An extent.
    Extent,
    /// A chunk.
    Chunk,
    /// The entry of a chunk in the `sys_chunk_array`.
    SysChunk,
    /// A device extent of the chunk.
    DevExtent,
    /// A block group.
    BlockGroup,
    /// The item of a block group.
    BlockGroupItem,
    /// What the free space tree says of a block group.
    FreeSpace,
    /// The v1 free space cache of a block group.
    SpaceCache,
}

impl fmt::Display for Addressed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TreeBlock => "tree block",
            Self::TreeRoot => "tree root",
            Self::ChunkRoot => "chunk root",
            Self::RootTreeBlock => "root tree block",
            Self::ExtentTreeBlock => "extent tree block",
            Self::BlockCopy => "copy of",
            Self::BalanceItem => "balance item in the root tree at",
            Self::QuotaStatus => "quota status in the quota tree at",
            Self::RootItem => "root item of the tree at",
            Self::Data => "data",
            Self::DataBeside => "data beside what is to be written, at",
            Self::Csums => "checksums at",
            Self::Write => "write at",
            Self::Extent => "extent",
            Self::Chunk => "chunk",
            Self::SysChunk => "system chunk array entry",
            Self::DevExtent => "device extent of chunk",
            Self::BlockGroup => "block group",
            Self::BlockGroupItem => "block group item",
            Self::FreeSpace => "free space of block group",
            Self::SpaceCache => "free space cache of block group",
        })
    }
}

/// What is wrong with what stands at an address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AddressProblem {
    /// No copy of it is good.
    #[error(transparent)]
    Unreadable(#[from] NoGoodCopy),
    /// The bytes at hand are not those of the block, or cannot be read in the one way that there is.
    #[error(transparent)]
    Bad(#[from] BlockError),
    /// No copy of the root of the chunk tree is good, nor can the tree be made anew.
    #[error("{bad}; no chunk tree can be made anew: {reason}")]
    NoChunkTree {
        /// What is wrong with the copies.
        bad: NoGoodCopy,
        /// Why it cannot be made anew, as a phrase.
        reason: String,
    },
    /// A copy cannot be written anew of another one.
    #[error("no other one is good")]
    NoOtherCopy,
    /// A copy of data would look as if it was right.
    #[error("cannot be read from any copy, and has no checksum that would tell so")]
    NoCsum,
    /// The block cannot be changed as it is.
    #[error(transparent)]
    Malformed(#[from] EditError),
    /// The block was written before back references had the form that the kernel changes.
    #[error("is from before Linux 2.6.31, and its references are of another form")]
    OldBackrefs,
    /// The block was not made for the transaction.
    #[error("is not editable")]
    NotEditable,
    /// The chunk makes no sense.
    #[error(transparent)]
    Chunk(#[from] ChunkProblem),
    /// The entry makes no sense.
    #[error(transparent)]
    SysChunk(#[from] BadEntryProblem),
    /// References and the item of the extent contradict each other.
    #[error(transparent)]
    Extent(#[from] ExtentProblem),
    /// What is free of the block group cannot be said.
    #[error(transparent)]
    FreeSpace(#[from] FreeSpaceProblem),
    /// More stripes of the chunk are missing than its profile can do without.
    #[error("{missing} of its stripes are missing, {profile} tolerates {tolerated}")]
    MissingStripes {
        /// Stripes that are missing.
        missing: usize,
        /// Stripes that may be.
        tolerated: usize,
        /// Name of the profile.
        profile: &'static str,
    },
    /// What is to be written reaches into what lies behind a stripe.
    #[error("row {row}: reaches past the end of its stripes")]
    PastStripes {
        /// The row of the chunk.
        row: u64,
    },
    /// What is to be written would overwrite a superblock.
    #[error("row {row}: lies over a superblock")]
    OverSuperblock {
        /// The row of the chunk.
        row: u64,
    },
    /// There is no device to write to.
    #[error("row {row}: lies on a device that is not there")]
    NoDevice {
        /// The row of the chunk.
        row: u64,
    },
    /// Bytes would have no place.
    #[error("no chunk holds all of it")]
    NotMapped,
    /// Another one has a part of it.
    #[error("overlaps another")]
    Overlaps,
    /// It reaches past the last address.
    #[error("has no end")]
    NoEnd,
    /// It is not as its chunk has it.
    #[error("disagrees with its chunk")]
    Disagrees,
    /// The block group has no chunk.
    #[error("has no chunk")]
    NoChunk,
    /// The device extent is that of no stripe.
    #[error("has no stripe")]
    NoStripe,
    /// A stripe of the chunk has no device extent.
    #[error("has a stripe without its device extent")]
    NoDevExtent,
    /// The block group has no item.
    #[error("has no item")]
    NoItem,
    /// The item is shorter than its type.
    #[error("is too short")]
    TooShort,
    /// The item is longer than its type.
    #[error("is longer than any that is known")]
    TooLong,
    /// The item of a block group does not count its extents.
    #[error("says that {used} bytes are in use, its extents have {have}")]
    Used {
        /// Bytes in use, as the item says.
        used: u64,
        /// Bytes of the extents.
        have: u64,
    },
    /// The chunk has extents, and the item of its block group counts none.
    #[error("has extents, its block group says none")]
    NotEmpty {
        /// Bytes of the extents.
        have: u64,
    },
    /// The item has a part of a checksum, or those of no range.
    #[error("item {key} does not have whole checksums")]
    Csums {
        /// Key of the item.
        key: Key,
    },
    /// A balance has a target that this version does not know.
    #[error("converts to no profile that is known")]
    UnknownProfile,
    /// The header of the cache leads to something else than a cache.
    #[error("leads to what is no hidden file")]
    NotCache,
}
