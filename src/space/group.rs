//! A block group as it is used now.

use crate::disk::{BlockGroupFlags, Logical};

use super::free_extents::FreeExtents;

#[derive(Clone, Debug)]
pub struct BlockGroup {
    pub logical: Logical,
    pub length: u64,
    pub flags: BlockGroupFlags,
    /// Bytes in use now, which a commit writes into its item.
    pub used: u64,
    /// What its item says; nothing before there is one.
    pub item_used: Option<u64>,
    /// Whether it is not allocated from, as when it is being removed.
    pub is_read_only: bool,
    /// Whether all its devices are there and can be written.
    pub is_writable: bool,
    /// Whether the chunk tree, and of a system chunk the array, knows its chunk.
    pub has_chunk_item: bool,
    /// Free ranges, once somebody allocated from it.
    pub(super) free: Option<FreeExtents>,
    /// Ranges that were freed since the last commit: free after the next.
    pub(super) pinned: FreeExtents,
}

impl BlockGroup {
    /// A group with an item that says how much is used.
    pub fn existing(logical: Logical, length: u64, flags: BlockGroupFlags, used: u64, is_writable: bool) -> Self {
        let (free, pinned) = Default::default();
        let (item_used, has_chunk_item) = (Some(used), true);
        Self { logical, length, flags, used, item_used, is_read_only: false, is_writable, has_chunk_item, free, pinned }
    }

    /// A new group; `free` is all of it that is ever given out.
    pub fn new(logical: Logical, length: u64, flags: BlockGroupFlags, free: FreeExtents) -> Self {
        Self {
            item_used: None,
            has_chunk_item: false,
            free: Some(free),
            ..Self::existing(logical, length, flags, 0, true)
        }
    }

    pub fn end(&self) -> Logical {
        Logical(self.logical.0.saturating_add(self.length))
    }

    /// Whether its item has to be written.
    pub fn is_dirty(&self) -> bool {
        self.item_used != Some(self.used)
    }

    /// Bytes that were freed since the last commit.
    pub fn pinned(&self) -> u64 {
        self.pinned.bytes()
    }

    pub fn is_usable(&self) -> bool {
        !self.is_read_only && self.is_writable
    }
}
