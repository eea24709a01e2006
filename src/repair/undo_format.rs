//! The undo file: what stands on the images where a repair writes.
//!
//! All numbers are little-endian, all checksums XXH64 with the seed 0. The file begins with an [`UndoHeader`], behind which stands
//! an [`UndoDevice`] for each device. Then come the ranges that are written: an [`UndoRange`], the old bytes of the range, and a
//! checksum of the new bytes for each [`SECTOR`] of it, of which the last may be shorter. They are sorted by device and offset and do
//! not overlap, and a superblock is a range of its own. An [`UndoEnd`] is the last of the file.

use zerocopy::little_endian::{U32, U64};

use crate::disk::fields::{Bytes, Uuid, disk_struct};

/// Bytes that a disk writes whole or not at all.
pub const SECTOR: usize = 512;
/// Bytes of a range at the most.
pub const LONGEST: u64 = 1 << 20;

/// What an undo file begins with.
pub const MAGIC: [u8; 8] = *b"rbtrundo";
/// The version of the format.
pub const VERSION: u32 = 1;
/// The superblocks that the file holds lead to blocks that it holds, too: they are put back after those.
pub const SUPERBLOCKS_LAST: u32 = 1;
/// The old bytes of a range could not be read.
pub const UNREADABLE: u32 = 1;
/// The kind of a range.
pub const RANGE: u32 = 1;
/// The kind of the end.
pub const END: u32 = 2;

disk_struct! {
    /// The beginning of an undo file.
    UndoHeader: 32 {
        /// `rbtrundo`.
        magic: [u8; 8] => Bytes,
        /// 1.
        version: U32,
        /// Bit 0: superblocks are put back after all other ranges instead of before them.
        flags: U32,
        /// Number of devices.
        devices: U32,
        /// Zero.
        reserved: U32,
        /// Checksum of the other fields.
        csum: U64,
    }

    /// A device of the filesystem.
    UndoDevice: 56 {
        /// Uuid of its filesystem.
        fsid: Uuid,
        /// Uuid of the device.
        uuid: Uuid,
        /// Number of the device.
        devid: U64,
        /// Bytes of its image.
        size: U64,
        /// Checksum of the other fields.
        csum: U64,
    }

    /// A range of a device, before its bytes.
    UndoRange: 32 {
        /// 1.
        kind: U32,
        /// Index of the device in the file.
        device: U32,
        /// First byte on the device.
        offset: U64,
        /// Bytes of the range: 1 to 1 MiB.
        length: U32,
        /// Bit 0: the old bytes could not be read. Zeroes stand for them, and the range is not put back.
        flags: U32,
        /// Checksum of the other fields, the old bytes, and the checksums behind them.
        csum: U64,
    }

    /// The end of an undo file.
    UndoEnd: 32 {
        /// 2.
        kind: U32,
        /// Zero.
        reserved: U32,
        /// Number of ranges.
        ranges: U64,
        /// Zero.
        unused: U64,
        /// Checksum of all of the file before this field.
        csum: U64,
    }
}
