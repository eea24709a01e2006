//! Which inode, and what kind of file it is.

use std::fmt;

use crate::disk::inode::dir_type;
use crate::disk::{Ino, TreeId};
use crate::error::{Error, FileProblem};

/// `BTRFS_EMPTY_SUBVOL_DIR_OBJECTID`.
pub(super) const EMPTY_SUBVOL_DIR: Ino = Ino(2);

/// An inode of a subvolume. Whether there is one is known when it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InodeId {
    /// Id of the subvolume.
    pub tree: TreeId,
    /// Number of the inode.
    pub ino: Ino,
}

impl InodeId {
    /// An inode by its subvolume and number.
    pub const fn new(tree: TreeId, ino: Ino) -> Self {
        Self { tree, ino }
    }

    /// Whether this is the empty directory that stands where a snapshot has a subvolume of the subvolume that it is of
    /// (`BTRFS_EMPTY_SUBVOL_DIR_OBJECTID`). All of a tree have one number, and there is no item of it.
    pub fn is_placeholder(self) -> bool {
        self.ino == EMPTY_SUBVOL_DIR
    }

    /// The error of this inode.
    pub(super) fn error(self, problem: FileProblem) -> Error {
        Error::File { tree: self.tree, ino: self.ino, problem: Box::new(problem) }
    }
}

impl fmt::Display for InodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.tree, self.ino)
    }
}

/// Kind of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FileKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A character device.
    CharDevice,
    /// A block device.
    BlockDevice,
    /// A pipe.
    Fifo,
    /// A socket.
    Socket,
    /// None of those that are known.
    Unknown,
}

impl FileKind {
    /// The kind that the file type of a mode says.
    pub fn of_mode(mode: u32) -> Self {
        Self::of_dir_type(dir_type::of_mode(mode).unwrap_or(dir_type::UNKNOWN))
    }

    pub(super) fn of_dir_type(raw: u8) -> Self {
        match raw & !dir_type::ENCRYPTED {
            dir_type::REG_FILE => Self::File,
            dir_type::DIR => Self::Directory,
            dir_type::SYMLINK => Self::Symlink,
            dir_type::CHRDEV => Self::CharDevice,
            dir_type::BLKDEV => Self::BlockDevice,
            dir_type::FIFO => Self::Fifo,
            dir_type::SOCK => Self::Socket,
            _ => Self::Unknown,
        }
    }
}
