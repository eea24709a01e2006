//! Attributes of inodes.

use crate::disk::inode::{InodeItem, Timespec};
use crate::disk::{Key, KeyType, Transid};
use crate::error::{FileProblem, Result};

use super::id::{FileKind, InodeId};
use super::store::Files;

/// The mode that the kernel gives to placeholders (`new_simple_dir`).
const EMPTY_SUBVOL_DIR_MODE: u32 = 0o040_755;

const MINOR_BITS: u32 = 20;

/// A time: seconds since 1970, which may be negative, and nanoseconds. Damaged times have more of these than make a second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp {
    /// Seconds since 1970.
    pub sec: i64,
    /// Nanoseconds of the second.
    pub nsec: u32,
}

impl Timestamp {
    /// Nanoseconds of the second, no more than it has.
    pub fn nanoseconds(self) -> u32 {
        self.nsec.min(999_999_999)
    }
}

impl From<&Timespec> for Timestamp {
    fn from(disk: &Timespec) -> Self {
        Self { sec: disk.sec.get() as i64, nsec: disk.nsec.get() }
    }
}

/// What the inode item says, with the kernel's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attributes {
    /// In bytes.
    pub size: u64,
    /// Bytes that it takes on disk.
    pub nbytes: u64,
    /// File type and permissions.
    pub mode: u32,
    /// Number of names.
    pub nlink: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Of a device file, as the kernel keeps it: see [`Attributes::device`].
    pub rdev: u64,
    /// Bits of [`crate::disk::flags::inode`].
    pub flags: u64,
    /// The transaction that made it.
    pub generation: Transid,
    /// The transaction that changed it last.
    pub transid: Transid,
    /// Version of the inode, which NFS asks for.
    pub sequence: u64,
    /// Last access.
    pub atime: Timestamp,
    /// Last change of the inode.
    pub ctime: Timestamp,
    /// Last change of the contents.
    pub mtime: Timestamp,
    /// When it was made.
    pub otime: Timestamp,
}

impl Attributes {
    /// The kind of file that `mode` says.
    pub fn kind(&self) -> FileKind {
        FileKind::of_mode(self.mode)
    }

    /// Major and minor number of a device file.
    pub fn device(&self) -> (u32, u32) {
        ((self.rdev >> MINOR_BITS) as u32, (self.rdev & ((1 << MINOR_BITS) - 1)) as u32)
    }

    fn of_item(inode: &InodeItem) -> Self {
        Self {
            size: inode.size.get(),
            nbytes: inode.nbytes.get(),
            mode: inode.mode.get(),
            nlink: inode.nlink.get(),
            uid: inode.uid.get(),
            gid: inode.gid.get(),
            rdev: inode.rdev.get(),
            flags: inode.flags.get(),
            generation: inode.generation.into(),
            transid: inode.transid.into(),
            sequence: inode.sequence.get(),
            atime: (&inode.atime).into(),
            ctime: (&inode.ctime).into(),
            mtime: (&inode.mtime).into(),
            otime: (&inode.otime).into(),
        }
    }
}

impl Files<'_> {
    /// The attributes of an inode.
    ///
    /// # Errors
    ///
    /// There is no such tree, its blocks cannot be read, or it has no such inode ([`FileProblem::NoInode`]). Of an inode whose
    /// item alone is lost, names and contents can still be read.
    pub fn attributes(&self, id: InodeId) -> Result<Attributes> {
        self.find_attributes(id)?.ok_or_else(|| id.error(FileProblem::NoInode))
    }

    /// The same; nothing where there is no inode item.
    pub(super) fn find_attributes(&self, id: InodeId) -> Result<Option<Attributes>> {
        if id.is_placeholder() {
            let mut inode = InodeItem::zeroed();
            (inode.mode, inode.nlink) = (EMPTY_SUBVOL_DIR_MODE.into(), 1.into());
            return Ok(Some(Attributes::of_item(&inode)));
        }
        let key = Key::new(id.ino.0, KeyType::INODE_ITEM, 0);
        let read = |data: &[u8]| InodeItem::read_prefix(data).map(|(inode, _)| Attributes::of_item(inode));
        Ok(self.item(id, key, read)?.flatten())
    }
}
