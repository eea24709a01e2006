//! Files and directories: inodes, their names and their contents.

use zerocopy::little_endian::{U16, U32, U64};

use super::fields::{Flags, disk_struct};
use super::flags;
use super::key::DiskKey;

disk_struct! {
    /// Seconds since 1970 and nanoseconds.
    Timespec: 12 {
        sec: U64,
        nsec: U32,
    }

    InodeItem: 160 {
        generation: U64,
        transid: U64,

        size: U64,
        nbytes: U64,

        block_group: U64,
        nlink: U32,
        uid: U32,

        gid: U32,
        mode: U32,
        rdev: U64,

        flags: U64 => Flags(flags::inode::NAMES),
        sequence: U64,

        reserved: [U64; 4],

        atime: Timespec,
        ctime: Timespec,
        mtime: Timespec,
        otime: Timespec,
    }

    /// A name of an inode in the directory that the key's offset names; the name follows, then more of the same.
    InodeRef: 10 {
        index: U64,
        name_len: U16,
    }

    /// A name of an inode, for those that do not fit into one [`InodeRef`] item.
    InodeExtref: 18 {
        parent_objectid: U64,
        index: U64,

        name_len: U16,
    }

    /// A directory entry or extended attribute; the name follows, then the value, then more of the same.
    DirItem: 30 {
        location: DiskKey,
        transid: U64,
        data_len: U16,
        name_len: U16,
        r#type: u8,
    }

    /// A range of directory indexes that a log tree knows completely.
    DirLogItem: 8 {
        end: U64,
    }

    /// The part of a file extent item that every type has; inline data follows it.
    FileExtentItem: 21 {
        generation: U64,
        ram_bytes: U64,

        compression: u8,
        encryption: u8,
        other_encoding: U16,
        r#type: u8,
    }

    /// What follows [`FileExtentItem`] for extents with blocks of their own.
    FileExtentDisk: 32 {
        disk_bytenr: U64,
        disk_num_bytes: U64,

        offset: U64,
        num_bytes: U64,
    }

    /// Header of the fs-verity descriptor of a file.
    VerityDescriptorItem: 25 {
        size: U64,
        reserved: [U64; 2],
        encryption: u8,
    }
}

/// Type of a file extent.
pub mod file_extent_type {
    pub const INLINE: u8 = 0;
    pub const REG: u8 = 1;
    pub const PREALLOC: u8 = 2;
}

/// Compression of a file extent.
pub mod compression {
    pub const NONE: u8 = 0;
    pub const ZLIB: u8 = 1;
    pub const LZO: u8 = 2;
    pub const ZSTD: u8 = 3;
}

/// Type of a directory entry.
pub mod dir_type {
    pub const UNKNOWN: u8 = 0;
    pub const REG_FILE: u8 = 1;
    pub const DIR: u8 = 2;
    pub const CHRDEV: u8 = 3;
    pub const BLKDEV: u8 = 4;
    pub const FIFO: u8 = 5;
    pub const SOCK: u8 = 6;
    pub const SYMLINK: u8 = 7;
    pub const XATTR: u8 = 8;
    /// Set in the type of names that are encrypted.
    pub const ENCRYPTED: u8 = 0x80;

    /// The type that entries of an inode with this mode have; nothing where the mode tells of none.
    pub fn of_mode(mode: u32) -> Option<u8> {
        Some(match mode >> 12 {
            1 => FIFO,
            2 => CHRDEV,
            4 => DIR,
            6 => BLKDEV,
            8 => REG_FILE,
            10 => SYMLINK,
            12 => SOCK,
            _ => return None,
        })
    }
}

/// Structs that repeat within one item, each followed by `tail_len` bytes of its own.
pub trait Entry: zerocopy::FromBytes + zerocopy::KnownLayout + zerocopy::Immutable + zerocopy::Unaligned {
    fn name_len(&self) -> usize;

    fn data_len(&self) -> usize {
        0
    }
}

impl Entry for InodeRef {
    fn name_len(&self) -> usize {
        self.name_len.get().into()
    }
}

impl Entry for InodeExtref {
    fn name_len(&self) -> usize {
        self.name_len.get().into()
    }
}

impl Entry for DirItem {
    fn name_len(&self) -> usize {
        self.name_len.get().into()
    }

    fn data_len(&self) -> usize {
        self.data_len.get().into()
    }
}

/// The entries of an item of names.
pub struct Entries<'a, T> {
    rest: &'a [u8],
    entry: std::marker::PhantomData<T>,
}

/// One entry: its struct, its name, and the value of an extended attribute.
pub struct Named<'a, T> {
    pub entry: &'a T,
    pub name: &'a [u8],
    pub data: &'a [u8],
}

/// An entry that runs past the end of its item, or rest bytes too few for another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CutEntry {
    pub bytes_left: usize,
}

impl<'a, T: Entry> Entries<'a, T> {
    pub fn new(item: &'a [u8]) -> Self {
        Self { rest: item, entry: std::marker::PhantomData }
    }

    fn parse(bytes: &'a [u8]) -> Option<(Named<'a, T>, &'a [u8])> {
        let (entry, rest) = T::ref_from_prefix(bytes).ok()?;
        let (name, rest) = rest.split_at_checked(entry.name_len())?;
        let (data, rest) = rest.split_at_checked(entry.data_len())?;
        Some((Named { entry, name, data }, rest))
    }
}

impl<'a, T: Entry + 'a> Iterator for Entries<'a, T> {
    type Item = Result<Named<'a, T>, CutEntry>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        match Self::parse(self.rest) {
            Some((named, rest)) => {
                self.rest = rest;
                Some(Ok(named))
            }
            None => {
                let bytes_left = self.rest.len();
                self.rest = &[];
                Some(Err(CutEntry { bytes_left }))
            }
        }
    }
}
