//! Notices of damage that reading got over.

use crate::disk::{Logical, TreeId};
use crate::volume::{BadCopy, NoGoodCopy};

use super::id::InodeId;

/// Something that is wrong with the filesystem, and did not keep the caller from what was asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Notice {
    /// A copy of a tree block is bad, another one was read.
    #[error("tree {tree}: block {logical}: {copy}; another copy is good")]
    BlockCopy {
        /// Id of the tree.
        tree: TreeId,
        /// Logical address of the copy.
        logical: Logical,
        /// The copy and what is wrong with it.
        copy: BadCopy,
    },
    /// A tree block cannot be read. What stands in it is missing from what is returned; of the checksum tree, data counts as
    /// data without checksums.
    #[error("tree {tree}: block {}: {block}", block.logical)]
    Block {
        /// Id of the tree.
        tree: TreeId,
        /// The block and what is wrong with its copies.
        block: NoGoodCopy,
    },
    /// A copy of a sector of data is bad, another one was read.
    #[error("inode {id}: data {logical}: {copy}; another copy is good")]
    DataCopy {
        /// The file.
        id: InodeId,
        /// Logical address of the copy.
        logical: Logical,
        /// The copy and what is wrong with it.
        copy: BadCopy,
    },
    /// Data that should have checksums was read without, as the caller allowed. Offset in the file and length in bytes.
    #[error("inode {id}: file offset {offset}, {length} bytes have no checksums")]
    Unverified {
        /// The file.
        id: InodeId,
        /// First byte in the file.
        offset: u64,
        /// Bytes of the range.
        length: u64,
    },
    /// An entry of a directory does not stand in both items that it should stand in.
    #[error("directory {directory}: entry {:?}: {problem}", name.escape_ascii().to_string())]
    Name {
        /// The directory.
        directory: InodeId,
        /// The name.
        name: Vec<u8>,
        /// What is wrong.
        problem: NameProblem,
    },
    /// A file has extents and no inode item. Its size is taken for the end of the last extent.
    #[error("inode {id}: the inode item is missing")]
    NoInode {
        /// The file.
        id: InodeId,
    },
    /// A file extent begins before the one before it ends, and is taken from where it begins.
    #[error("inode {id}: file extents overlap at {offset}")]
    Overlap {
        /// The file.
        id: InodeId,
        /// First byte in the file.
        offset: u64,
    },
    /// The filesystem does not say which subvolume is mounted by default: the top level is taken.
    #[error("the default subvolume is not known")]
    NoDefault,
}

/// In what the items of a directory disagree on a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameProblem {
    /// It has no `DIR_ITEM`: the kernel lists the name and does not find it.
    #[error("there is no directory item of it")]
    NoItem,
    /// It has no `DIR_INDEX`: the kernel finds the name and does not list it.
    #[error("there is no directory index of it")]
    NoIndex,
    /// The items lead to different inodes: the one that has this name itself is taken.
    #[error("directory item and index lead to different inodes")]
    Conflict,
}
