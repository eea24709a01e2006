//! What `stat` says of a file.

use rustix::fs::Stat;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::disk::inode::{Timespec, dir_type};

/// Seconds since 1970, and nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Time {
    /// Seconds since 1970.
    pub sec: i64,
    /// Nanoseconds of the second.
    pub nsec: u64,
}

impl From<Time> for Timespec {
    fn from(time: Time) -> Self {
        Self { sec: (time.sec as u64).into(), nsec: (time.nsec as u32).into() }
    }
}

/// Of an entry of a source, and of the inode that it leads to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Attributes {
    /// Device that the entry is on.
    pub dev: u64,
    /// Number of its inode there.
    pub ino: u64,
    /// In bytes.
    pub size: u64,
    /// Blocks of 512 bytes that are stored.
    pub blocks: u64,
    /// Of a device node, as the kernel keeps it and btrfs stores it: 12 bits for the major number and 20 for the minor.
    pub rdev: u64,
    /// Last access.
    pub atime: Time,
    /// Last change of the contents.
    pub mtime: Time,
    /// Last change of the inode.
    pub ctime: Time,
    /// Type and permissions, as `st_mode`.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Number of names.
    pub nlink: u32,
}

impl Attributes {
    /// The attributes that stat(2) told.
    pub fn new(stat: &Stat) -> Self {
        let time = |sec, nsec| Time { sec, nsec };
        let mut new = Self {
            dev: stat.st_dev,
            ino: stat.st_ino,
            size: stat.st_size as u64,
            blocks: stat.st_blocks as u64,
            rdev: 0,
            atime: time(stat.st_atime, stat.st_atime_nsec as u64),
            mtime: time(stat.st_mtime, stat.st_mtime_nsec as u64),
            ctime: time(stat.st_ctime, stat.st_ctime_nsec as u64),
            mode: stat.st_mode,
            uid: stat.st_uid,
            gid: stat.st_gid,
            nlink: u32::try_from(stat.st_nlink).unwrap_or(u32::MAX),
        };
        if matches!(new.entry_type(), Some(dir_type::CHRDEV | dir_type::BLKDEV)) {
            let (major, minor) = (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev));
            new.rdev = u64::from(major) << 20 | u64::from(minor);
        }
        new
    }

    /// The type of the entries that lead to it; nothing for what btrfs has no type for.
    pub fn entry_type(&self) -> Option<u8> {
        dir_type::of_mode(self.mode)
    }

    /// Whether it is a directory.
    pub fn is_directory(&self) -> bool {
        self.entry_type() == Some(dir_type::DIR)
    }

    /// Whether it is a regular file.
    pub fn is_file(&self) -> bool {
        self.entry_type() == Some(dir_type::REG_FILE)
    }

    /// Whether it is a symbolic link.
    pub fn is_symlink(&self) -> bool {
        self.entry_type() == Some(dir_type::SYMLINK)
    }

    /// Bytes of a file that are not in holes, as far as that can be told without opening it.
    pub fn stored(&self) -> u64 {
        self.blocks.saturating_mul(512).min(self.size)
    }

    /// Whether so little of it is stored that it may have holes.
    pub fn may_have_holes(&self) -> bool {
        self.stored() < self.size
    }

    /// Whether this is the same file with the same contents. Reading changes the time of access and nothing else.
    pub fn is_unchanged(&self, later: &Attributes) -> bool {
        let of = |one: &Attributes| (one.dev, one.ino, one.mode, one.size, one.mtime, one.ctime);
        of(self) == of(later)
    }
}
