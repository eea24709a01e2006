//! Why a file, or a part of one, cannot be read.

use crate::disk::Logical;

use super::copy::NoGoodCopy;

/// Why a file cannot be found or read. Numbers are bytes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FileProblem {
    /// The directory has no entry of this name.
    #[error("has no entry {:?}", name.escape_ascii().to_string())]
    NotFound {
        /// The name that was looked for.
        name: Vec<u8>,
    },
    /// The inode is no directory.
    #[error("is no directory")]
    NotDirectory,
    /// The inode is no regular file.
    #[error("is no regular file")]
    NotFile,
    /// The inode is no symbolic link.
    #[error("is no symbolic link")]
    NotSymlink,
    /// The inode is not the root directory of a subvolume.
    #[error("is not the root directory of a subvolume")]
    NotSubvolume,
    /// Neither an inode item nor anything else that is asked for is there.
    #[error("inode item is missing")]
    NoInode,
    /// A directory was entered before: directories form a loop, or one has two names.
    #[error("directory is reached a second time")]
    Loop,
    /// A directory entry with a name that no file can have, such as one with a slash.
    #[error("has an entry with the invalid name {:?}", name.escape_ascii().to_string())]
    Name {
        /// The name, without a terminator.
        name: Vec<u8>,
    },
    /// A directory entry that leads to neither an inode nor a subvolume.
    #[error("has an entry {:?} with the invalid location ({objectid} {key_type} {offset})", name.escape_ascii().to_string())]
    Location {
        /// The name, without a terminator.
        name: Vec<u8>,
        /// Object id of the key that the entry names.
        objectid: u64,
        /// Its type.
        key_type: u8,
        /// Its offset.
        offset: u64,
    },
    /// An item whose entries run past its end.
    #[error("has an item of names or attributes that is cut short, key offset {key_offset}")]
    Cut {
        /// Offset in the key of the item.
        key_offset: u64,
    },
    /// A symbolic link with an impossible length.
    #[error("target is too long, have {have} expect at most {limit}")]
    TargetTooLong {
        /// Bytes of the target.
        have: u64,
        /// Bytes that fit.
        limit: u64,
    },
    /// A tree block that may hold what is asked for cannot be read.
    #[error("tree block {logical}: {problem}")]
    TreeBlock {
        /// Logical address.
        logical: Logical,
        /// What is wrong with its copies.
        problem: NoGoodCopy,
    },
    /// A range of the file cannot be read. What is behind it may be readable.
    #[error("file offset {offset}, {length} bytes: {problem}")]
    Range {
        /// First byte in the file.
        offset: u64,
        /// Bytes of the range.
        length: u64,
        /// Why the range cannot be read.
        problem: RangeProblem,
    },
}

/// Why a range of a file cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RangeProblem {
    /// No copy of the data is good.
    #[error("data {logical}: {problem}")]
    Data {
        /// Logical address of the data.
        logical: Logical,
        /// What is wrong with its copies.
        problem: NoGoodCopy,
    },
    /// The data should have a checksum, and none is found.
    #[error("data {logical} has no checksum")]
    Unverified {
        /// Logical address of the data.
        logical: Logical,
    },
    /// Where the data lies is not known.
    #[error("data {logical}: {reason}")]
    NotPlaced {
        /// Logical address of the data.
        logical: Logical,
        /// Why, as a phrase.
        reason: &'static str,
    },
    /// Compressed data is not what its method makes.
    #[error("{method} data {}: {problem}", logical.map_or("in the tree".to_owned(), |logical| logical.to_string()))]
    Compressed {
        /// Logical address of the extent; nothing for data in a leaf.
        logical: Option<Logical>,
        /// Name of the compression.
        method: &'static str,
        /// What decompression found.
        problem: CompressedProblem,
    },
    /// A file extent item makes no sense.
    #[error("file extent item: invalid {field}, have {have}")]
    Item {
        /// The field of the item.
        field: &'static str,
        /// Its value.
        have: u64,
    },
    /// A tree block that may hold the file extent items cannot be read.
    #[error("tree block {logical}: {problem}")]
    TreeBlock {
        /// Logical address.
        logical: Logical,
        /// What is wrong with its copies.
        problem: NoGoodCopy,
    },
}

/// Why compressed data cannot be decompressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CompressedProblem {
    /// The bytes are no stream of the method.
    #[error("the compressed data is damaged")]
    Invalid,
    /// The bytes end before the stream does.
    #[error("the compressed data ends early")]
    Cut,
}
