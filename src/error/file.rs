//! Why a file, or a part of one, cannot be read.

use crate::disk::Logical;

/// Why a file cannot be found or read. Numbers are bytes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FileProblem {
    /// The directory has no entry of this name.
    #[error("has no entry {:?}", name.escape_ascii().to_string())]
    NotFound { name: Vec<u8> },
    #[error("is no directory")]
    NotDirectory,
    #[error("is no regular file")]
    NotFile,
    #[error("is no symbolic link")]
    NotSymlink,
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
    Name { name: Vec<u8> },
    /// A directory entry that leads to neither an inode nor a subvolume.
    #[error("has an entry {:?} with the invalid location ({objectid} {key_type} {offset})", name.escape_ascii().to_string())]
    Location { name: Vec<u8>, objectid: u64, key_type: u8, offset: u64 },
    /// An item whose entries run past its end.
    #[error("has an item of names or attributes that is cut short, key offset {key_offset}")]
    Cut { key_offset: u64 },
    /// A symbolic link with an impossible length.
    #[error("target is too long, have {have} expect at most {limit}")]
    TargetTooLong { have: u64, limit: u64 },
    /// A tree block that may hold what is asked for cannot be read.
    #[error("tree block {logical}: {problem}")]
    TreeBlock { logical: Logical, problem: String },
    /// A range of the file cannot be read. What is behind it may be readable.
    #[error("file offset {offset}, {length} bytes: {problem}")]
    Range { offset: u64, length: u64, problem: RangeProblem },
}

/// Why a range of a file cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RangeProblem {
    /// No copy of the data is good.
    #[error("data {logical}: {problem}")]
    Data { logical: Logical, problem: String },
    /// The data should have a checksum, and none is found.
    #[error("data {logical} has no checksum")]
    Unverified { logical: Logical },
    /// Where the data lies is not known.
    #[error("data {logical}: {reason}")]
    NotPlaced { logical: Logical, reason: &'static str },
    /// Compressed data is not what its method makes.
    #[error("{method} data {}: {problem}", logical.map_or("in the tree".to_owned(), |logical| logical.to_string()))]
    Compressed { logical: Option<Logical>, method: &'static str, problem: CompressedProblem },
    /// A file extent item makes no sense.
    #[error("file extent item: invalid {field}, have {have}")]
    Item { field: &'static str, have: u64 },
    /// A tree block that may hold the file extent items cannot be read.
    #[error("tree block {logical}: {problem}")]
    TreeBlock { logical: Logical, problem: String },
}

/// Why compressed data cannot be decompressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CompressedProblem {
    #[error("the compressed data is damaged")]
    Invalid,
    #[error("the compressed data ends early")]
    Cut,
}
