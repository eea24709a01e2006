//! Free space: the free space tree and the older cache in hidden files.

use zerocopy::little_endian::{U32, U64};

use super::fields::{Flags, disk_struct};
use super::flags;
use super::key::DiskKey;

disk_struct! {
    /// Form and count of a block group's free space items.
    FreeSpaceInfo: 8 {
        /// Number of free extents, whichever form they are in.
        extent_count: U32,
        /// [`flags::free_space_info`].
        flags: U32 => Flags(flags::free_space_info::NAMES),
    }

    /// The inode that holds the v1 cache of a block group.
    FreeSpaceHeader: 41 {
        /// Key of the inode of the cache file.
        location: DiskKey,
        /// Generation of the commit that wrote the file.
        generation: U64,
        /// Number of entries, bitmaps among them.
        num_entries: U64,
        /// Number of bitmaps.
        num_bitmaps: U64,
    }

    /// One entry of a v1 cache file.
    FreeSpaceEntry: 17 {
        /// Logical address of the range.
        offset: U64,
        /// Free bytes: of the extent, or in the bitmap.
        bytes: U64,

        /// [`free_space_entry_type`].
        r#type: u8,
    }
}

/// Type of an entry of a v1 cache file.
pub mod free_space_entry_type {
    /// A free extent.
    pub const EXTENT: u8 = 1;
    /// A bitmap, which stands in a page behind the entries.
    pub const BITMAP: u8 = 2;
}

/// Bytes of one bitmap item in the free space tree; each bit stands for a sector.
pub const FREE_SPACE_BITMAP_SIZE: usize = 256;

/// Bytes that a whole bitmap item stands for.
pub fn free_space_bitmap_range(sectorsize: u64) -> u64 {
    FREE_SPACE_BITMAP_SIZE as u64 * 8 * sectorsize
}
