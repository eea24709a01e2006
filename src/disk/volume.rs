//! Devices and chunks: what stands in the chunk tree, the device tree and the system chunk array.

use zerocopy::little_endian::{U16, U32, U64};

use super::block_group::BlockGroupFlags;
use super::fields::{Flags, Uuid, disk_struct};
use super::flags;
use super::{Logical, Physical, STRIPE_LEN};

/// The first bytes of a device, which chunks leave to boot loaders.
pub const DEVICE_RANGE_RESERVED: u64 = 1 << 20;

disk_struct! {
    /// A device of the filesystem: in the chunk tree, and its own one in each superblock.
    DevItem: 98 {
        /// Number of the device in the filesystem, from 1 on.
        devid: U64,
        /// Bytes of the device that the filesystem may use.
        total_bytes: U64,

        /// Bytes of its device extents.
        bytes_used: U64,
        /// Alignment of accesses in bytes: the sectorsize.
        io_align: U32,
        /// Width of accesses in bytes: the sectorsize.
        io_width: U32,

        /// Bytes of a sector.
        sector_size: U32,
        /// Zero: no type of a device is defined.
        r#type: U64,
        /// Zero: the kernel does not use it.
        generation: U64,
        /// Zero: where allocations may begin, which the kernel does not read.
        start_offset: U64,
        /// Zero: a group of devices, which the kernel does not use.
        dev_group: U32,
        /// Zero: 0 to 100 for slow to fast seeks, which the kernel does not use.
        seek_speed: u8,
        /// Zero: 0 to 100 for slow to fast transfers, which the kernel does not use.
        bandwidth: u8,
        /// Uuid of the device.
        uuid: Uuid,

        /// Uuid of the filesystem, as in headers of tree blocks.
        fsid: Uuid,
    }

    /// A chunk, followed by `num_stripes` stripes.
    Chunk: 48 {
        /// Bytes of the chunk in logical addresses.
        length: U64,
        /// Id of the extent tree: 2.
        owner: U64,

        /// Bytes that lie on one device before the next device follows: 64 KiB.
        stripe_len: U64,
        /// Type and profile: [`flags::block_group`].
        r#type: U64 => Flags(flags::block_group::NAMES),

        /// Alignment of accesses in bytes: 64 KiB, or the sectorsize from mkfs.
        io_align: U32,
        /// Width of accesses in bytes: 64 KiB, or the sectorsize from mkfs.
        io_width: U32,
        /// Bytes of a sector.
        sector_size: U32,
        /// Number of stripes that follow.
        num_stripes: U16,
        /// Stripes with the same data within a striped chunk: 2 for RAID10.
        sub_stripes: U16,
    }

    /// Where one stripe of a chunk lies.
    Stripe: 32 {
        /// Number of the device.
        devid: U64,
        /// First byte of the stripe on the device.
        offset: U64,

        /// Uuid of the device.
        dev_uuid: Uuid,
    }

    /// A range of a device that belongs to a chunk.
    DevExtent: 48 {
        /// Id of the chunk tree: 3.
        chunk_tree: U64,
        /// Object id of the chunk item: 256.
        chunk_objectid: U64,

        /// Logical address of the chunk.
        chunk_offset: U64,
        /// Bytes of the range, which begins at the key's offset.
        length: U64,

        /// Uuid of the chunk tree, from mkfs; the kernel does not set it.
        chunk_tree_uuid: Uuid,
    }

    /// Use of a block group.
    BlockGroupItem: 24 {
        /// Bytes of its extents.
        used: U64,
        /// Object id of the chunk item: 256; with extent tree v2 the number of the extent tree.
        chunk_objectid: U64,

        /// Type and profile: [`flags::block_group`].
        flags: U64 => Flags(flags::block_group::NAMES),
    }

    /// What follows [`BlockGroupItem`] where the remap tree feature is on.
    BlockGroupRemap: 12 {
        /// Bytes of the block group that are remapped into it.
        remap_bytes: U64,
        /// Number of its identity remap items.
        identity_remap_count: U32,
    }

    /// Where a relocated range lies now, or came from.
    RemapItem: 8 {
        /// The other logical address.
        address: U64,
    }

    /// Where one copy or part of a data extent lies; a raid stripe item is a row of these.
    RaidStride: 16 {
        /// Number of the device.
        devid: U64,
        /// First byte on the device.
        physical: U64,
    }

    /// Errors counted on a device.
    DevStatsItem: 40 {
        /// Writes that failed.
        write_errs: U64,
        /// Reads that failed.
        read_errs: U64,

        /// Flushes that failed.
        flush_errs: U64,
        /// Blocks whose checksum or contents were wrong.
        corruption_errs: U64,

        /// Blocks that were of another generation than expected.
        generation_errs: U64,
    }

    /// The state of a device replacement.
    DevReplaceItem: 72 {
        /// Number of the device that is replaced.
        src_devid: U64,
        /// Bytes of the source device up to here are copied.
        cursor_left: U64,

        /// End of the range that is being copied.
        cursor_right: U64,
        /// Whether the source is read only where no other mirror is good.
        cont_reading_from_srcdev_mode: U64,

        /// State, see [`dev_replace_state`].
        replace_state: U64,
        /// Seconds since 1970.
        time_started: U64,

        /// Seconds since 1970.
        time_stopped: U64,
        /// Writes to the target that failed.
        num_write_errors: U64,

        /// Reads for which no mirror was good.
        num_uncorrectable_read_errors: U64,
    }

    /// Filters of a balance for one type of block group.
    DiskBalanceArgs: 136 {
        /// Profiles of the block groups that are balanced.
        profiles: U64 => Flags(flags::block_group::NAMES),
        /// Least use in percent; with `USAGE` the low half of a 64-bit limit.
        usage_min: U32,
        /// Greatest use in percent.
        usage_max: U32,

        /// Device that a block group has a stripe on.
        devid: U64,
        /// Start of a range on that device in bytes.
        pstart: U64,

        /// End of that range.
        pend: U64,
        /// Start of a range of logical addresses.
        vstart: U64,

        /// End of that range.
        vend: U64,
        /// Profile that block groups are converted to.
        target: U64 => Flags(flags::block_group::NAMES),

        /// Which filters are set: [`flags::balance_args`].
        flags: U64 => Flags(flags::balance_args::NAMES),
        /// Least number of block groups; with `LIMIT` the low half of a 64-bit limit.
        limit_min: U32,
        /// Greatest number of block groups.
        limit_max: U32,

        /// Least number of stripes.
        stripes_min: U32,
        /// Greatest number of stripes.
        stripes_max: U32,
        /// Zero.
        unused: [U64; 6],
    }

    /// A balance that is under way.
    BalanceItem: 448 {
        /// Types that are balanced: [`flags::balance`].
        flags: U64 => Flags(flags::balance::NAMES),
        /// Filters of DATA block groups.
        data: DiskBalanceArgs,
        /// Filters of METADATA block groups.
        meta: DiskBalanceArgs,
        /// Filters of SYSTEM block groups.
        sys: DiskBalanceArgs,
        /// Zero.
        unused: [U64; 4],
    }
}

impl Chunk {
    /// A chunk is shorter: the kernel counts its stripe elements in 32 bits.
    pub const MAX_LENGTH: u64 = u32::MAX as u64 * STRIPE_LEN;

    /// Type and profile.
    pub fn block_group_flags(&self) -> BlockGroupFlags {
        self.r#type.into()
    }

    /// A chunk and its stripes; nothing if `bytes` ends before the last stripe. What follows is returned too.
    pub fn read_with_stripes(bytes: &[u8]) -> Option<(&Chunk, &[Stripe], &[u8])> {
        let (chunk, rest) = Chunk::read_prefix(bytes)?;
        let count = usize::from(chunk.num_stripes.get());
        let (stripes, rest) = zerocopy::FromBytes::ref_from_prefix_with_elems(rest, count).ok()?;
        Some((chunk, stripes, rest))
    }
}

impl Stripe {
    /// First byte on the device.
    pub fn physical(&self) -> Physical {
        self.offset.into()
    }
}

impl DevExtent {
    /// Logical address of the chunk.
    pub fn chunk(&self) -> Logical {
        self.chunk_offset.into()
    }
}

/// States of a device replacement (`BTRFS_IOCTL_DEV_REPLACE_STATE_*`); finished is 2.
pub mod dev_replace_state {
    /// Under way.
    pub const STARTED: u64 = 1;
    /// Given up.
    pub const CANCELED: u64 = 3;
    /// Goes on with the next mount. The last of the states.
    pub const SUSPENDED: u64 = 4;
}
