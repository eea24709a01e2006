//! Files and directories: inodes, their names and their contents.

use zerocopy::little_endian::{U16, U32, U64};

use super::fields::{Flags, disk_struct};
use super::flags;
use super::key::DiskKey;

disk_struct! {
    /// Seconds since 1970 and nanoseconds.
    Timespec: 12 {
        /// Seconds since 1970, signed.
        sec: U64,
        /// Nanoseconds of the second.
        nsec: U32,
    }

    /// What stat(2) tells of an inode (`struct btrfs_inode_item`).
    InodeItem: 160 {
        /// Generation in which the inode was made.
        generation: U64,
        /// Generation of its last change.
        transid: U64,

        /// Bytes of a file; of a directory, twice the bytes of the names in it.
        size: U64,
        /// Bytes of extents and inline data that the inode uses, holes left out.
        nbytes: U64,

        /// Hint of the allocator; 0 in filesystems of today.
        block_group: U64,
        /// Number of names.
        nlink: U32,
        /// Owner.
        uid: U32,

        /// Group.
        gid: U32,
        /// Type and permissions, as `st_mode`.
        mode: U32,
        /// Major and minor number of a device file.
        rdev: U64,

        /// [`flags::inode`].
        flags: U64 => Flags(flags::inode::NAMES),
        /// Version of the inode, which NFS asks for.
        sequence: U64,

        /// Zero.
        reserved: [U64; 4],

        /// Last access.
        atime: Timespec,
        /// Last change of the inode.
        ctime: Timespec,
        /// Last change of the contents.
        mtime: Timespec,
        /// Creation.
        otime: Timespec,
    }

    /// A name of an inode in the directory that the key's offset names; the name follows, then more of the same.
    InodeRef: 10 {
        /// Index of the name in its directory: the key offset of the `DIR_INDEX` item.
        index: U64,
        /// Bytes of the name.
        name_len: U16,
    }

    /// A name of an inode, for those that do not fit into one [`InodeRef`] item.
    InodeExtref: 18 {
        /// Inode of the directory.
        parent_objectid: U64,
        /// Index of the name in its directory.
        index: U64,

        /// Bytes of the name.
        name_len: U16,
    }

    /// A directory entry or extended attribute; the name follows, then the value, then more of the same.
    DirItem: 30 {
        /// Key of the inode item, or of the root item of a subvolume; zero for an extended attribute.
        location: DiskKey,
        /// Generation in which the entry was made.
        transid: U64,
        /// Bytes of the value of an extended attribute; 0 for an entry.
        data_len: U16,
        /// Bytes of the name.
        name_len: U16,
        /// [`dir_type`].
        r#type: u8,
    }

    /// A range of directory indexes that a log tree knows completely.
    DirLogItem: 8 {
        /// Last index of the range, which begins at the key's offset.
        end: U64,
    }

    /// The part of a file extent item that every type has; inline data follows it.
    FileExtentItem: 21 {
        /// Generation in which the extent was made.
        generation: U64,
        /// Bytes of the whole extent, decompressed.
        ram_bytes: U64,

        /// [`compression`].
        compression: u8,
        /// Zero: no encryption is defined.
        encryption: u8,
        /// Zero: no other encoding is defined.
        other_encoding: U16,
        /// [`file_extent_type`].
        r#type: u8,
    }

    /// What follows [`FileExtentItem`] for extents with blocks of their own.
    FileExtentDisk: 32 {
        /// Logical address of the extent; 0 for a hole.
        disk_bytenr: U64,
        /// Bytes of the extent on the disk.
        disk_num_bytes: U64,

        /// First byte of the decompressed extent that the file uses.
        offset: U64,
        /// Bytes of the file that the item covers.
        num_bytes: U64,
    }

    /// Header of the fs-verity descriptor of a file.
    VerityDescriptorItem: 25 {
        /// Bytes of the descriptor, which stands in items of its own.
        size: U64,
        /// Zero.
        reserved: [U64; 2],
        /// Zero: no encryption is defined.
        encryption: u8,
    }
}

/// Type of a file extent.
pub mod file_extent_type {
    /// The data stands in the item.
    pub const INLINE: u8 = 0;
    /// The data stands in an extent, or the range is a hole.
    pub const REG: u8 = 1;
    /// The extent is reserved (fallocate(2)); the range reads as zeroes.
    pub const PREALLOC: u8 = 2;
}

/// Compression of a file extent.
pub mod compression {
    /// Not compressed.
    pub const NONE: u8 = 0;
    /// A zlib stream.
    pub const ZLIB: u8 = 1;
    /// Segments of LZO1X, one for each sector.
    pub const LZO: u8 = 2;
    /// A zstd frame.
    pub const ZSTD: u8 = 3;
}

/// Type of a directory entry.
pub mod dir_type {
    /// No type is said.
    pub const UNKNOWN: u8 = 0;
    /// A file.
    pub const REG_FILE: u8 = 1;
    /// A directory, or a subvolume.
    pub const DIR: u8 = 2;
    /// A character device.
    pub const CHRDEV: u8 = 3;
    /// A block device.
    pub const BLKDEV: u8 = 4;
    /// A pipe.
    pub const FIFO: u8 = 5;
    /// A socket.
    pub const SOCK: u8 = 6;
    /// A symbolic link.
    pub const SYMLINK: u8 = 7;
    /// An extended attribute.
    pub const XATTR: u8 = 8;
    /// Set in the type of names that are encrypted.
    pub const ENCRYPTED: u8 = 0x80;

    /// The bits of a mode that make an inode of this type; those of a file for what is no type of a file.
    pub fn to_mode(entry_type: u8) -> u32 {
        let kind = match entry_type {
            FIFO => 1,
            CHRDEV => 2,
            DIR => 4,
            BLKDEV => 6,
            SYMLINK => 10,
            SOCK => 12,
            _ => 8,
        };
        kind << 12
    }

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
    /// Bytes of the name behind the struct.
    fn name_len(&self) -> usize;

    /// Bytes of the value behind the name.
    fn data_len(&self) -> usize {
        0
    }
}

impl InodeItem {
    /// Whether the data of the inode has checksums.
    pub fn has_csums(&self) -> bool {
        self.flags.get() & flags::inode::NODATASUM == 0
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
    /// The struct.
    pub entry: &'a T,
    /// The name, without a terminator.
    pub name: &'a [u8],
    /// The value of an extended attribute; empty for other entries.
    pub data: &'a [u8],
}

/// An entry that runs past the end of its item, or rest bytes too few for another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CutEntry {
    /// Bytes from the start of the entry to the end of the item.
    pub bytes_left: usize,
}

impl<'a, T: Entry> Entries<'a, T> {
    /// The entries in the data of an item.
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
