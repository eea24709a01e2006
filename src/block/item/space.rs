//! Block groups and free space.

use crate::block::ItemRef;
use crate::disk::flags::{block_group, free_space_info, incompat};
use crate::disk::space::{FreeSpaceHeader, FreeSpaceInfo, free_space_bitmap_range};
use crate::disk::volume::{BlockGroupItem, BlockGroupRemap};
use crate::disk::{BlockGroupFlags, Key, KeyType, flags, objectid};
use crate::finding::findings;

use super::Context;
use super::inode::is_inode_location;

findings! {
    /// Damage to a block group item or an item of the free space tree or cache.
    SpaceDamage {
        /// A block group item does not have its size.
        GroupSize("block-group-size", Error, "invalid block group item size, have {have} expect {expect}") {
            have: u32, expect: u32,
        }
        /// A block group has no length, or reaches past the end of all addresses.
        GroupLength("block-group-item-length", Error, "invalid block group length, have {have}") { have: u64 }
        /// A block group belongs to no chunk tree that there is.
        GroupChunkObjectid("block-group-chunk-objectid", Error, "invalid block group chunk objectid, have {have} expect {expect}") {
            have: u64, expect: u64,
        }
        /// More of a block group is used than there is.
        GroupUsed("block-group-item-used", Error, "invalid block group used, have {have} expect [0, {limit}]") {
            have: u64, limit: u64,
        }
        /// A block group has more than one profile.
        GroupProfile("block-group-profile", Error, "invalid profile flags, have {have:#x} expect no more than one bit") {
            have: u64,
        }
        /// A block group has no type, or types that do not go together.
        GroupType("block-group-type", Error, "invalid block group type, have {have:#x}") { have: u64 }
        /// A block group has flags that are not known.
        GroupFlags("block-group-item-flags", Error, "unknown block group flags, have {have:#x} of which {unknown:#x} are unknown") {
            have: u64, unknown: u64,
        }
        /// A block group begins before the one before it ends.
        GroupOverlap("block-group-overlap", Error, "block group overlaps the previous one, which ends at {previous_end}") {
            previous_end: u64,
        }
        /// An item of the free space tree does not have its size.
        FreeSize("free-space-size", Error, "invalid free space item size, have {have} expect {expect}") {
            have: u32, expect: u32,
        }
        /// The range of a free space item is empty, not aligned, or reaches past the end of all addresses.
        FreeRange("free-space-range", Error, "invalid free space range, start {start} length {length} expect to be aligned to {alignment}") {
            start: u64, length: u64, alignment: u32,
        }
        /// A bitmap of the free space tree stands for more than a bitmap can.
        BitmapTooLong("free-space-bitmap-too-long", Error, "free space bitmap too long, have {have} expect no more than {limit}") {
            have: u64, limit: u64,
        }
        /// A free space info item has flags that are not known.
        InfoFlags("free-space-info-flags", Error, "unknown free space info flags, have {have:#x}") { have: u32 }
        /// Free space begins before that before it ends.
        FreeOverlap("free-space-item-overlap", Error, "free space overlaps the previous one, which ends at {previous_end}") {
            previous_end: u64,
        }
        /// The header of a free space cache does not have its size.
        HeaderSize("free-space-header-size", Error, "invalid free space header size, have {have} expect {expect}") {
            have: u32, expect: u32,
        }
        /// The header of a free space cache leads to no inode.
        HeaderLocation("free-space-header-location", Error, "invalid location key of free space header {have}") { have: Key }
        /// A free space cache was written in a generation that the superblock does not know.
        HeaderGeneration("free-space-header-generation", Error, "invalid free space header generation, have {have} expect [0, {limit}]") {
            have: u64, limit: u64,
        }
    }
}

pub(super) fn check_block_group(cx: &mut Context<'_>, item: &ItemRef<'_>) {
    let Key { objectid: start, offset: length, .. } = item.key;
    if length == 0 || start.checked_add(length).is_none() {
        cx.found(SpaceDamage::GroupLength { have: length });
    }
    if let Some(previous_end) = cx.block_groups.push(start, length) {
        cx.found(SpaceDamage::GroupOverlap { previous_end });
    }
    let more = if cx.rules.has(incompat::REMAP_TREE) { size_of::<BlockGroupRemap>() } else { 0 };
    let (have, expect) = (item.data.len(), size_of::<BlockGroupItem>() + more);
    let Some((group, _)) = BlockGroupItem::read_prefix(item.data).filter(|_| have == expect) else {
        return cx.found(SpaceDamage::GroupSize { have: have as u32, expect: expect as u32 });
    };
    let (have, expect) = (group.chunk_objectid.get(), objectid::FIRST_CHUNK_TREE);
    // The extent tree's number stands here where there are several.
    let is_valid = match cx.rules.has(incompat::EXTENT_TREE_V2) {
        true => have < cx.rules.nr_global_roots,
        false => have == expect,
    };
    if !is_valid {
        cx.found(SpaceDamage::GroupChunkObjectid { have, expect });
    }
    if group.used.get() > length {
        cx.found(SpaceDamage::GroupUsed { have: group.used.get(), limit: length });
    }
    check_group_flags(cx, group.flags.into());
}

fn check_group_flags(cx: &mut Context<'_>, group_flags: BlockGroupFlags) {
    let BlockGroupFlags(have) = group_flags;
    if group_flags.profile().is_none() {
        cx.found(SpaceDamage::GroupProfile { have: group_flags.profile_bits() });
    }
    const KNOWN: u64 = flags::all(block_group::NAMES);
    const MIXED: u64 = block_group::DATA | block_group::METADATA;
    if have & !KNOWN != 0 {
        cx.found(SpaceDamage::GroupFlags { have, unknown: have & !KNOWN });
    }
    let types = have & (BlockGroupFlags::TYPE_MASK | block_group::METADATA_REMAP);
    let is_valid = match types {
        block_group::DATA | block_group::METADATA | block_group::SYSTEM => true,
        MIXED => cx.rules.has(incompat::MIXED_GROUPS),
        block_group::METADATA_REMAP => cx.rules.has(incompat::REMAP_TREE),
        _ => false,
    };
    if !is_valid {
        cx.found(SpaceDamage::GroupType { have: types });
    }
}

pub(super) fn check_free_space(cx: &mut Context<'_>, item: &ItemRef<'_>) {
    let Key { objectid: start, key_type, offset: length } = item.key;
    let rules = cx.rules;
    let is_valid = length != 0
        && rules.is_sector_aligned(start)
        && rules.is_sector_aligned(length)
        && start.checked_add(length).is_some();
    if !is_valid {
        cx.found(SpaceDamage::FreeRange { start, length, alignment: rules.sectorsize });
    }
    let size = |have, expect| SpaceDamage::FreeSize { have, expect };
    if key_type == KeyType::FREE_SPACE_INFO {
        const KNOWN: u64 = flags::all(free_space_info::NAMES);
        if let Some(info) = cx.exact::<FreeSpaceInfo, _>(item.data, size)
            && u64::from(info.flags.get()) & !KNOWN != 0
        {
            cx.found(SpaceDamage::InfoFlags { have: info.flags.get() });
        }
        if let Some(previous_end) = cx.block_groups.push(start, length) {
            cx.found(SpaceDamage::GroupOverlap { previous_end });
        }
        return;
    }
    if let Some(previous_end) = cx.free_space.push(start, length) {
        cx.found(SpaceDamage::FreeOverlap { previous_end });
    }
    if key_type == KeyType::FREE_SPACE_EXTENT {
        cx.exact::<[u8; 0], _>(item.data, size);
    } else {
        let sector = u64::from(rules.sectorsize.max(1));
        let limit = free_space_bitmap_range(sector);
        let (have, expect) = (item.data.len() as u32, length.div_ceil(sector).div_ceil(8) as u32);
        if length > limit {
            cx.found(SpaceDamage::BitmapTooLong { have: length, limit });
        } else if have != expect {
            cx.found(size(have, expect));
        }
    }
}

/// The header of a v1 cache.
pub(super) fn check_cache_header(cx: &mut Context<'_>, item: &ItemRef<'_>) {
    let size = |have, expect| SpaceDamage::HeaderSize { have, expect };
    let Some(header) = cx.exact::<FreeSpaceHeader, _>(item.data, size) else { return };
    let have = Key::from(&header.location);
    if !is_inode_location(have) {
        cx.found(SpaceDamage::HeaderLocation { have });
    }
    let (have, limit) = (header.generation.get(), cx.rules.newest());
    if have > limit {
        cx.found(SpaceDamage::HeaderGeneration { have, limit });
    }
}
