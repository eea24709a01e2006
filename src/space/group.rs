//! A block group as it is used now.

use crate::disk::superblock::SUPER_OFFSETS;
use crate::disk::{BlockGroupFlags, Logical};
use crate::volume::ChunkMapping;

use super::free_extents::FreeExtents;

/// A block group of an open filesystem.
#[derive(Clone, Debug)]
pub struct BlockGroup {
    /// Logical address of the block group.
    pub logical: Logical,
    /// Its bytes.
    pub length: u64,
    /// Type and profile.
    pub flags: BlockGroupFlags,
    /// Bytes in use now, which a commit writes into its item.
    pub used: u64,
    /// What its item says; nothing before there is one.
    pub item_used: Option<u64>,
    /// Whether it is not allocated from, as when it is being removed.
    pub is_read_only: bool,
    /// Whether its devices can be written: all of them, or as many as the profile asks for where there is no other room.
    pub is_writable: bool,
    /// Whether devices are missing that the profile can do without.
    pub is_degraded: bool,
    /// Whether the chunk tree, and of a system chunk the array, knows its chunk.
    pub has_chunk_item: bool,
    /// Bytes of data in a row, of a chunk with parity.
    row: Option<u64>,
    /// Free ranges that are allocated from, once they are known.
    pub(super) free: Option<FreeExtents>,
    /// Free ranges in rows that hold something of the last commit. A write there changes the parity that protects it: a
    /// crash between the two writes, and then a lost device, would take it away.
    pub(super) partial: FreeExtents,
    /// Ranges that were freed since the last commit: free after the next.
    pub(super) pinned: FreeExtents,
}

impl BlockGroup {
    /// A group with an item that says how much is used.
    pub fn existing(logical: Logical, length: u64, flags: BlockGroupFlags, used: u64, is_writable: bool) -> Self {
        let (free, partial, pinned, row) = Default::default();
        let (item_used, has_chunk_item, is_read_only) = (Some(used), true, false);
        Self {
            logical,
            length,
            flags,
            used,
            item_used,
            is_read_only,
            is_writable,
            is_degraded: false,
            has_chunk_item,
            row,
            free,
            partial,
            pinned,
        }
    }

    /// The group whose item is yet to be written.
    #[must_use]
    pub fn without_item(self) -> Self {
        Self { item_used: None, ..self }
    }

    /// The group of a chunk of which devices are missing, if it is.
    #[must_use]
    pub fn degraded(self, is_degraded: bool) -> Self {
        Self { is_degraded, ..self }
    }

    /// The group of a chunk with parity: it is allocated from in rows that hold nothing of the last commit.
    #[must_use]
    pub fn in_rows_of(self, chunk: &ChunkMapping) -> Self {
        Self { row: chunk.row_length(), ..self }
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

    /// The first address behind the block group.
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

    /// Whether new extents may be allocated from it.
    pub fn is_usable(&self) -> bool {
        !self.is_read_only && self.is_writable
    }

    /// Whether only whole rows of it are allocated from.
    pub fn has_rows(&self) -> bool {
        self.row.is_some()
    }

    /// Free ranges of the last commit that are not allocated from, for something shares their rows.
    pub fn partial(&self) -> &FreeExtents {
        &self.partial
    }

    /// Bytes that are neither used nor freed since the last commit.
    pub(super) fn unused(&self) -> u64 {
        self.length.saturating_sub(self.used).saturating_sub(self.pinned())
    }

    /// Unused bytes that are not allocated from.
    pub(super) fn readonly(&self) -> u64 {
        if self.is_usable() { self.partial.bytes() } else { self.unused() }
    }

    /// Takes what is free in the last commit.
    pub(super) fn set_free(&mut self, free: FreeExtents) {
        let (free, partial) = match self.row {
            Some(row) => free.split_rows(self.logical, row),
            None => (free, FreeExtents::default()),
        };
        (self.free, self.partial) = (Some(free), partial);
    }

    /// What was freed before the commit is free.
    pub(super) fn unpin(&mut self) -> u64 {
        let pinned = std::mem::take(&mut self.pinned);
        if let Some(mut free) = self.free.take() {
            let partial = std::mem::take(&mut self.partial);
            partial.iter().chain(pinned.iter()).for_each(|(start, length)| free.add(start, length));
            // What lay below the first superblock is not to be followed by anything.
            free.remove(Logical(0), SUPER_OFFSETS[0].0);
            self.set_free(free);
        }
        pinned.bytes()
    }
}
