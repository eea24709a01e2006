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
        devid: U64,
        total_bytes: U64,

        bytes_used: U64,
        io_align: U32,
        io_width: U32,

        sector_size: U32,
        r#type: U64,
        generation: U64,
        start_offset: U64,
        dev_group: U32,
        seek_speed: u8,
        bandwidth: u8,
        uuid: Uuid,

        fsid: Uuid,
    }

    /// A chunk, followed by `num_stripes` stripes.
    Chunk: 48 {
        length: U64,
        owner: U64,

        stripe_len: U64,
        r#type: U64 => Flags(flags::block_group::NAMES),

        io_align: U32,
        io_width: U32,
        sector_size: U32,
        num_stripes: U16,
        sub_stripes: U16,
    }

    /// Where one stripe of a chunk lies.
    Stripe: 32 {
        devid: U64,
        offset: U64,

        dev_uuid: Uuid,
    }

    /// A range of a device that belongs to a chunk.
    DevExtent: 48 {
        chunk_tree: U64,
        chunk_objectid: U64,

        chunk_offset: U64,
        length: U64,

        chunk_tree_uuid: Uuid,
    }

    /// Use of a block group.
    BlockGroupItem: 24 {
        used: U64,
        chunk_objectid: U64,

        flags: U64 => Flags(flags::block_group::NAMES),
    }

    /// What follows [`BlockGroupItem`] where the remap tree feature is on.
    BlockGroupRemap: 12 {
        remap_bytes: U64,
        identity_remap_count: U32,
    }

    /// Where a relocated range lies now, or came from.
    RemapItem: 8 {
        address: U64,
    }

    /// Where one copy or part of a data extent lies; a raid stripe item is a row of these.
    RaidStride: 16 {
        devid: U64,
        physical: U64,
    }

    /// Errors counted on a device.
    DevStatsItem: 40 {
        write_errs: U64,
        read_errs: U64,

        flush_errs: U64,
        corruption_errs: U64,

        generation_errs: U64,
    }

    /// The state of a device replacement.
    DevReplaceItem: 72 {
        src_devid: U64,
        cursor_left: U64,

        cursor_right: U64,
        cont_reading_from_srcdev_mode: U64,

        replace_state: U64,
        time_started: U64,

        time_stopped: U64,
        num_write_errors: U64,

        num_uncorrectable_read_errors: U64,
    }

    /// Filters of a balance for one type of block group.
    DiskBalanceArgs: 136 {
        profiles: U64 => Flags(flags::block_group::NAMES),
        usage_min: U32,
        usage_max: U32,

        devid: U64,
        pstart: U64,

        pend: U64,
        vstart: U64,

        vend: U64,
        target: U64 => Flags(flags::block_group::NAMES),

        flags: U64 => Flags(flags::balance_args::NAMES),
        limit_min: U32,
        limit_max: U32,

        stripes_min: U32,
        stripes_max: U32,
        unused: [U64; 6],
    }

    /// A balance that is under way.
    BalanceItem: 448 {
        flags: U64 => Flags(flags::balance::NAMES),
        data: DiskBalanceArgs,
        meta: DiskBalanceArgs,
        sys: DiskBalanceArgs,
        unused: [U64; 4],
    }
}

impl Chunk {
    /// A chunk is shorter: the kernel counts its stripe elements in 32 bits.
    pub const MAX_LENGTH: u64 = u32::MAX as u64 * STRIPE_LEN;

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
    pub fn physical(&self) -> Physical {
        self.offset.into()
    }
}

impl DevExtent {
    pub fn chunk(&self) -> Logical {
        self.chunk_offset.into()
    }
}
