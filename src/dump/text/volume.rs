//! Chunks, devices, block groups, and the items of operations on them.

use zerocopy::FromBytes;
use zerocopy::little_endian::U64;

use crate::block::ItemRef;
use crate::disk::flags::block_group;
use crate::disk::volume::{
    BalanceItem, BlockGroupItem, Chunk, DevExtent, DevItem, DevReplaceItem, DevStatsItem, DiskBalanceArgs, RaidStride,
    RemapItem, Stripe,
};
use crate::disk::{BlockGroupFlags, CsumType, KeyType, objectid};

use super::super::put::{HexNumber, Joined, Put, put};
use super::clock::Clock;
use super::key::ObjectId;

impl Put for BlockGroupFlags {
    fn put(&self, out: &mut Vec<u8>) {
        let types = [
            (block_group::DATA, "DATA"),
            (block_group::METADATA, "METADATA"),
            (block_group::SYSTEM, "SYSTEM"),
            (block_group::REMAPPED, "REMAPPED"),
            (block_group::METADATA_REMAP, "METADATA_REMAP"),
        ];
        put!(out, Joined(types.iter().filter(|(bit, _)| self.contains(*bit)).map(|(_, name)| *name), ""), "|");
        match self.profile() {
            Some(profile) => put!(out, profile.name()),
            None => put!(out, "UNKNOWN.0x", HexNumber(self.profile_bits())),
        }
    }
}

pub fn chunk_item(data: &[u8], out: &mut Vec<u8>) -> Option<()> {
    match Chunk::read_with_stripes(data) {
        Some((chunk, stripes, _)) => put_chunk(chunk, stripes, out),
        None => put!(out, "\t\tchunk item invalid\n"),
    }
    Some(())
}

pub fn put_chunk(chunk: &Chunk, stripes: &[Stripe], out: &mut Vec<u8>) {
    put!(out, "\t\tlength ", chunk.length, " owner ", chunk.owner, " stripe_len ", chunk.stripe_len);
    put!(out, " type ", chunk.block_group_flags(), "\n");
    put!(out, "\t\tio_align ", chunk.io_align, " io_width ", chunk.io_width, " sector_size ", chunk.sector_size);
    put!(out, "\n\t\tnum_stripes ", chunk.num_stripes, " sub_stripes ", chunk.sub_stripes, "\n");
    for (index, stripe) in stripes.iter().enumerate() {
        put!(out, "\t\t\tstripe ", index, " devid ", stripe.devid, " offset ", stripe.offset, "\n");
        put!(out, "\t\t\tdev_uuid ", stripe.dev_uuid, "\n");
    }
}

pub fn block_group_item(data: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let (group, _) = BlockGroupItem::read_prefix(data)?;
    put!(out, "\t\tblock group used ", group.used, " chunk_objectid ", group.chunk_objectid);
    put!(out, " flags ", BlockGroupFlags::from(group.flags), "\n");
    Some(())
}

pub fn dev_item(data: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let (device, _) = DevItem::read_prefix(data)?;
    put!(out, "\t\tdevid ", device.devid, " total_bytes ", device.total_bytes);
    put!(out, " bytes_used ", device.bytes_used, "\n");
    put!(out, "\t\tio_align ", device.io_align, " io_width ", device.io_width);
    put!(out, " sector_size ", device.sector_size, " type ", device.r#type, "\n");
    put!(out, "\t\tgeneration ", device.generation, " start_offset ", device.start_offset);
    put!(out, " dev_group ", device.dev_group, "\n");
    put!(out, "\t\tseek_speed ", device.seek_speed, " bandwidth ", device.bandwidth, "\n");
    put!(out, "\t\tuuid ", device.uuid, "\n\t\tfsid ", device.fsid, "\n");
    Some(())
}

pub fn dev_extent(data: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let (extent, _) = DevExtent::read_prefix(data)?;
    put!(out, "\t\tdev extent chunk_tree ", extent.chunk_tree, "\n");
    put!(out, "\t\tchunk_objectid ", extent.chunk_objectid, " chunk_offset ", extent.chunk_offset);
    put!(out, " length ", extent.length, "\n\t\tchunk_tree_uuid ", extent.chunk_tree_uuid, "\n");
    Some(())
}

pub fn raid_stripe(data: &[u8], out: &mut Vec<u8>) -> Option<()> {
    for (index, stride) in data.chunks_exact(size_of::<RaidStride>()).enumerate() {
        let (stride, _) = RaidStride::read_prefix(stride)?;
        put!(out, "\t\t\tstripe ", index, " devid ", stride.devid, " physical ", stride.physical, "\n");
    }
    Some(())
}

pub fn remap_item(data: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let (remap, _) = RemapItem::read_prefix(data)?;
    put!(out, "\t\taddress ", remap.address, "\n");
    Some(())
}

pub fn persistent_item(item: &ItemRef<'_>, out: &mut Vec<u8>) -> Option<()> {
    let id = item.key.objectid;
    put!(out, "\t\tpersistent item objectid ", ObjectId(id, KeyType::PERSISTENT_ITEM));
    put!(out, " offset ", item.key.offset, "\n");
    if id != objectid::DEV_STATS {
        put!(out, "\t\tunknown persistent item objectid ", id, "\n");
        return Some(());
    }
    let (stats, rest) = DevStatsItem::read_prefix(item.data)?;
    put!(out, "\t\tdevice stats\n\t\twrite_errs ", stats.write_errs, " read_errs ", stats.read_errs);
    put!(out, " flush_errs ", stats.flush_errs, " corruption_errs ", stats.corruption_errs);
    put!(out, " generation ", stats.generation_errs, "\n");
    if !rest.is_empty() {
        put!(out, "\t\tunknown stats item bytes ", rest.len());
        let known = size_of::<DevStatsItem>() / size_of::<U64>();
        for (index, value) in rest.chunks_exact(size_of::<U64>()).enumerate() {
            let value = U64::read_from_bytes(value).ok()?;
            let number = known + index;
            put!(out, "\t\tunknown item ", number, " offset ", number * size_of::<U64>(), " value ", value, "\n");
        }
    }
    Some(())
}

pub fn temporary_item(item: &ItemRef<'_>, out: &mut Vec<u8>) -> Option<()> {
    let id = item.key.objectid;
    put!(out, "\t\ttemporary item objectid ", ObjectId(id, KeyType::TEMPORARY_ITEM));
    put!(out, " offset ", item.key.offset, "\n");
    match id {
        objectid::BALANCE => {
            let (balance, _) = BalanceItem::read_prefix(item.data)?;
            put!(out, "\t\tbalance status flags ", balance.flags, "\n");
            for (name, args) in [("DATA", &balance.data), ("METADATA", &balance.meta), ("SYSTEM", &balance.sys)] {
                put!(out, "\t\t", name, "\n");
                put_balance_args(args, out);
            }
        }
        objectid::CSUM_CHANGE => match u16::try_from(item.key.offset).ok().and_then(CsumType::from_raw) {
            Some(csum_type) => put!(out, "\t\ttarget csum type ", csum_type.name(), " (", item.key.offset, ")\n"),
            None => put!(out, "\t\tunknown csum type ", item.key.offset, "\n"),
        },
        _ => put!(out, "\t\tunknown temporary item objectid ", id, "\n"),
    }
    Some(())
}

fn put_balance_args(args: &DiskBalanceArgs, out: &mut Vec<u8>) {
    put!(out, "\t\tprofiles ", args.profiles, " devid ", args.devid);
    put!(out, " target ", args.target, " flags ", args.flags, "\n");
    put!(out, "\t\tusage_min ", args.usage_min, " usage_max ", args.usage_max);
    put!(out, " pstart ", args.pstart, " pend ", args.pend, "\n");
    put!(out, "\t\tvstart ", args.vstart, " vend ", args.vend);
    put!(out, " limit_min ", args.limit_min, " limit_max ", args.limit_max, "\n");
    put!(out, "\t\tstripes_min ", args.stripes_min, " stripes_max ", args.stripes_max, "\n");
}

pub fn dev_replace(data: &[u8], clock: &mut Clock, out: &mut Vec<u8>) -> Option<()> {
    let (replace, _) = DevReplaceItem::read_prefix(data)?;
    let named = |value: U64, names: &'static [&'static str], out: &mut Vec<u8>| match usize::try_from(value.get())
        .ok()
        .and_then(|index| names.get(index))
    {
        Some(name) => put!(out, *name),
        None => put!(out, "unknown(", value, ")"),
    };
    put!(out, "\t\tsrc devid ", replace.src_devid.get() as i64, " cursor left ", replace.cursor_left);
    put!(out, " cursor right ", replace.cursor_right, " mode ");
    named(replace.cont_reading_from_srcdev_mode, &["ALWAYS", "AVOID"], out);
    put!(out, "\n\t\tstate ");
    named(replace.replace_state, &["NEVER_STARTED", "STARTED", "FINISHED", "CANCELED", "SUSPENDED"], out);
    put!(out, " write errors ", replace.num_write_errors);
    put!(out, " uncorrectable read errors ", replace.num_uncorrectable_read_errors, "\n");
    // The time of the start stands for that of the stop as well: so it does in btrfs-progs 6.19.
    for name in ["start", "stop"] {
        put!(out, "\t\t", name, " time ", replace.time_started, " (");
        clock.put_seconds(replace.time_started.get(), out);
        put!(out, ")\n");
    }
    Some(())
}
