//! Roots of trees and how subvolumes hang together.

use zerocopy::little_endian::{U16, U32, U64};

use super::fields::{Flags, Uuid, disk_struct};
use super::flags;
use super::inode::{InodeItem, Timespec};
use super::key::{DiskKey, Key};

/// Length of a root item before Linux 3.6, which ends after `level`.
pub const LEGACY_ROOT_ITEM_SIZE: usize = 239;

disk_struct! {
    /// Root of a tree.
    RootItem: 439 {
        /// An inode item, of which the kernel reads the flags alone (`ROOT_ITEM_INIT`).
        inode: InodeItem,

        /// Generation of the root block.
        generation: U64,
        /// Inode number of the root directory: 256, or 0 for a tree without files.
        root_dirid: U64,

        /// Logical address of the root block.
        bytenr: U64,
        /// Zero: a limit that no kernel has used.
        byte_limit: U64,

        /// Bytes of the tree's blocks.
        bytes_used: U64,
        /// Generation of the last snapshot: newer blocks are not shared.
        last_snapshot: U64,

        /// [`flags::root`].
        flags: U64 => Flags(flags::root::NAMES),
        /// 1, or 0 for a subvolume that is deleted.
        refs: U32,
        /// First key that is left of a tree that is being dropped.
        drop_progress: DiskKey,
        /// Level of the pointer that `drop_progress` was taken of.
        drop_level: u8,
        /// Level of the root block.
        level: u8,
        /// Equal to `generation` if what follows was written by a kernel that knows it.
        generation_v2: U64,
        /// Uuid of the subvolume; zero for other trees.
        uuid: Uuid,
        /// Uuid of the subvolume that the snapshot was made of.
        parent_uuid: Uuid,
        /// Uuid of the subvolume that was received.
        received_uuid: Uuid,
        /// Generation of the last change of the subvolume.
        ctransid: U64,
        /// Generation of its creation.
        otransid: U64,
        /// Generation in which the received subvolume was sent, on the sender.
        stransid: U64,
        /// Generation in which it was received.
        rtransid: U64,
        /// Last change.
        ctime: Timespec,
        /// Creation.
        otime: Timespec,
        /// Time of `stransid`.
        stime: Timespec,
        /// Time of `rtransid`.
        rtime: Timespec,
        /// Zero.
        reserved: [U64; 8],
    }

    /// Where a subvolume stands in its parent (reference) or has its parent (back reference); the name follows.
    RootRef: 18 {
        /// Inode of the directory.
        dirid: U64,
        /// Index of the name in the directory.
        sequence: U64,

        /// Bytes of the name.
        name_len: U16,
    }
}

impl RootItem {
    /// The root item of a tree that is there once and holds no files: what is left is its root, its generation and its size.
    /// The inode means nothing but to old programs (`btrfs_set_root_node` and its callers).
    pub fn new(nodesize: u32) -> Self {
        const DIRECTORY: u32 = 0o040_755;
        let mut item = Self::zeroed();
        (item.inode.generation, item.inode.size, item.inode.nbytes) = (1.into(), 3.into(), u64::from(nodesize).into());
        (item.inode.nlink, item.inode.mode) = (1.into(), DIRECTORY.into());
        item.refs = 1.into();
        item
    }

    /// A root item of the present or of the legacy length, whose missing end reads as zero; nothing if it is shorter.
    pub fn read(item: &[u8]) -> Option<RootItem> {
        let mut root = RootItem::zeroed();
        let bytes = zerocopy::IntoBytes::as_mut_bytes(&mut root);
        let length = item.len().min(bytes.len());
        if length < LEGACY_ROOT_ITEM_SIZE {
            return None;
        }
        bytes[..length].copy_from_slice(&item[..length]);
        Some(root)
    }

    /// Of a tree that is being dropped: the first key, and the level of its pointer, that is still there.
    pub fn drop_progress(&self) -> Option<(Key, u8)> {
        let progress = Key::from(&self.drop_progress);
        let is_dropping = self.refs.get() == 0 && progress.objectid != 0;
        is_dropping.then_some((progress, self.drop_level))
    }
}
