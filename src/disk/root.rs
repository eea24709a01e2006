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
        inode: InodeItem,

        generation: U64,
        root_dirid: U64,

        bytenr: U64,
        byte_limit: U64,

        bytes_used: U64,
        last_snapshot: U64,

        flags: U64 => Flags(flags::root::NAMES),
        refs: U32,
        drop_progress: DiskKey,
        drop_level: u8,
        level: u8,
        /// Equal to `generation` if what follows was written by a kernel that knows it.
        generation_v2: U64,
        uuid: Uuid,
        parent_uuid: Uuid,
        received_uuid: Uuid,
        ctransid: U64,
        otransid: U64,
        stransid: U64,
        rtransid: U64,
        ctime: Timespec,
        otime: Timespec,
        stime: Timespec,
        rtime: Timespec,
        reserved: [U64; 8],
    }

    /// Where a subvolume stands in its parent (reference) or has its parent (back reference); the name follows.
    RootRef: 18 {
        dirid: U64,
        sequence: U64,

        name_len: U16,
    }
}

impl RootItem {
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
