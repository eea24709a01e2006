//! Free space: the free space tree and the older cache in hidden files.

use zerocopy::little_endian::{U32, U64};

use super::fields::{Flags, disk_struct};
use super::flags;
use super::key::DiskKey;

disk_struct! {
    /// Form and count of a block group's free space items.
    FreeSpaceInfo: 8 {
        extent_count: U32,
        flags: U32 => Flags(flags::free_space_info::NAMES),
    }

    /// The inode that holds the v1 cache of a block group.
    FreeSpaceHeader: 41 {
        location: DiskKey,
        generation: U64,
        num_entries: U64,
        num_bitmaps: U64,
    }

    /// One entry of a v1 cache file.
    FreeSpaceEntry: 17 {
        offset: U64,
        bytes: U64,

        r#type: u8,
    }
}

/// Type of an entry of a v1 cache file.
pub mod free_space_entry_type {
    pub const EXTENT: u8 = 1;
    pub const BITMAP: u8 = 2;
}

/// Bytes of one bitmap item in the free space tree; each bit stands for a sector.
pub const FREE_SPACE_BITMAP_SIZE: usize = 256;

/// Bytes that a whole bitmap item stands for.
pub fn free_space_bitmap_range(sectorsize: u64) -> u64 {
    FREE_SPACE_BITMAP_SIZE as u64 * 8 * sectorsize
}
