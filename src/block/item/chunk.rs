//! Chunks (`btrfs_check_chunk_valid` in fs/btrfs/tree-checker.c).

use crate::block::ItemRef;
use crate::disk::flags::{block_group, incompat};
use crate::disk::volume::{Chunk, Stripe};
use crate::disk::{BlockGroupFlags, Logical, Profile, STRIPE_LEN, flags, objectid};
use crate::finding::findings;

use super::{Context, Rules};

findings! {
    /// Damage to a chunk.
    ChunkDamage {
        /// The key of a chunk item is not that of chunk items.
        Key("chunk-key", Fatal, "invalid objectid of chunk item, have {have} expect {expect}") { have: u64, expect: u64 }
        /// A chunk item has another size than its stripes make it.
        Size("chunk-size", Fatal, "invalid chunk item size, have {have} expect {expect}") { have: u32, expect: u32 }
        /// A chunk has no stripes.
        NoStripes("chunk-no-stripes", Fatal, "invalid chunk num_stripes, have 0") { }
        /// The number of a chunk's stripes does not go with its profile.
        Stripes("chunk-stripes", Fatal, "invalid chunk num_stripes for {profile}, have {have}") {
            profile: &'static str, have: u16,
        }
        /// A RAID10 chunk does not have two sub-stripes.
        SubStripes("chunk-sub-stripes", Fatal, "invalid chunk sub_stripes for RAID10, have {have} expect {expect}") {
            have: u16, expect: u16,
        }
        /// The address of a chunk is not aligned.
        Logical("chunk-logical", Fatal, "invalid chunk logical, have {have} should be aligned to {alignment}") {
            have: u64, alignment: u32,
        }
        /// A chunk has another sector size than the filesystem.
        SectorSize("chunk-sector-size", Fatal, "invalid chunk sectorsize, have {have} expect {expect}") {
            have: u32, expect: u32,
        }
        /// The length of a chunk is 0 or not aligned.
        Length("chunk-item-length", Fatal, "invalid chunk length, have {have} expect to be aligned to {alignment}") {
            have: u64, alignment: u32,
        }
        /// A chunk is longer than the kernel's stripe numbers reach, or reaches past the end of all addresses.
        TooLong("chunk-too-long", Fatal, "invalid chunk length, have {have} expect less than {limit}") { have: u64, limit: u64 }
        /// The length of a chunk cannot be divided among its data stripes.
        Indivisible("chunk-indivisible", Fatal, "chunk length {have} is no multiple of {data_stripes} data stripes") {
            have: u64, data_stripes: u16,
        }
        /// The stripe length of a chunk is not the one that there is.
        StripeLen("chunk-stripe-len", Fatal, "invalid chunk stripe length, have {have} expect {expect}") {
            have: u64, expect: u64,
        }
        /// A chunk has flags that are not known.
        Flags("chunk-flags", Fatal, "unrecognized chunk type, have {have:#x} of which {unknown:#x} are unknown") {
            have: u64, unknown: u64,
        }
        /// A chunk has more than one profile.
        Profile("chunk-profile", Fatal, "invalid chunk profile flags, have {have:#x} expect no more than one bit") { have: u64 }
        /// A chunk has no type.
        NoType("chunk-no-type", Fatal, "missing chunk type flag, have {have:#x}") { have: u64 }
        /// The types of a chunk do not go together.
        MixedType("chunk-mixed-type", Fatal, "conflicting chunk type, have {have:#x}") { have: u64 }
        /// A chunk is for the remap tree, which the filesystem does not have.
        Remap("chunk-remap", Fatal, "chunk flags {have:#x} without the remap tree feature") { have: u64 }
        /// A stripe does not begin at a sector.
        StripeOffset("chunk-stripe-offset", Fatal, "unaligned offset of stripe {index}, have {have} should be aligned to {alignment}") {
            index: u32, have: u64, alignment: u32,
        }
        /// A chunk begins before the one before it ends.
        Overlap("chunk-item-overlap", Fatal, "chunk overlaps the previous one, which ends at {previous_end}") { previous_end: u64 }
    }
}

pub(super) fn check(cx: &mut Context<'_>, item: &ItemRef<'_>) {
    if item.key.objectid != objectid::FIRST_CHUNK_TREE {
        cx.found(ChunkDamage::Key { have: item.key.objectid, expect: objectid::FIRST_CHUNK_TREE });
    }
    let least = (size_of::<Chunk>() + size_of::<Stripe>()) as u32;
    let have = item.data.len() as u32;
    let Some((chunk, _)) = Chunk::read_prefix(item.data) else {
        return cx.found(ChunkDamage::Size { have, expect: least });
    };
    let Some((chunk, stripes, [])) = Chunk::read_with_stripes(item.data) else {
        let stripes = u32::from(chunk.num_stripes.get()) * size_of::<Stripe>() as u32;
        return cx.found(ChunkDamage::Size { have, expect: size_of::<Chunk>() as u32 + stripes });
    };
    let rules = cx.rules;
    check_chunk(Logical(item.key.offset), chunk, stripes, rules, &mut |damage| cx.found(damage));
    if let Some(previous) = cx.previous_alike(item).filter(|previous| previous.key < item.key)
        && let Some((chunk, _)) = Chunk::read_prefix(previous.data)
    {
        let previous_end = previous.key.offset.saturating_add(chunk.length.get());
        if previous_end > item.key.offset {
            cx.found(ChunkDamage::Overlap { previous_end });
        }
    }
}

/// Verifies a chunk of the chunk tree or of the system chunk array.
pub fn check_chunk(
    logical: Logical,
    chunk: &Chunk,
    stripes: &[Stripe],
    rules: &Rules,
    report: &mut dyn FnMut(ChunkDamage),
) {
    let alignment = rules.sectorsize;
    if !logical.is_aligned(alignment) {
        report(ChunkDamage::Logical { have: logical.0, alignment });
    }
    if chunk.sector_size.get() != alignment {
        report(ChunkDamage::SectorSize { have: chunk.sector_size.get(), expect: alignment });
    }
    let length = chunk.length.get();
    if length == 0 || !rules.is_sector_aligned(length) {
        report(ChunkDamage::Length { have: length, alignment });
    }
    if length >= Chunk::MAX_LENGTH || logical.checked_add(length).is_none() {
        report(ChunkDamage::TooLong { have: length, limit: Chunk::MAX_LENGTH.min(u64::MAX - logical.0) });
    }
    if chunk.stripe_len.get() != STRIPE_LEN {
        report(ChunkDamage::StripeLen { have: chunk.stripe_len.get(), expect: STRIPE_LEN });
    }
    for (index, stripe) in stripes.iter().enumerate() {
        let have = stripe.offset.get();
        if !rules.is_sector_aligned(have) {
            report(ChunkDamage::StripeOffset { index: index as u32, have, alignment });
        }
    }
    check_type(chunk.block_group_flags(), rules, report);
    check_profile(chunk, rules, report);
}

fn check_type(chunk_flags: BlockGroupFlags, rules: &Rules, report: &mut dyn FnMut(ChunkDamage)) {
    const KNOWN: u64 = flags::all(block_group::NAMES);
    const REMAP: u64 = block_group::REMAPPED | block_group::METADATA_REMAP;
    const MIXED: u64 = block_group::DATA | block_group::METADATA;
    let BlockGroupFlags(have) = chunk_flags;
    if have & !KNOWN != 0 {
        report(ChunkDamage::Flags { have, unknown: have & !KNOWN });
    }
    if have & REMAP != 0 && !rules.has(incompat::REMAP_TREE) {
        report(ChunkDamage::Remap { have });
    }
    match have & (BlockGroupFlags::TYPE_MASK | block_group::METADATA_REMAP) {
        0 => report(ChunkDamage::NoType { have }),
        block_group::DATA | block_group::METADATA | block_group::SYSTEM | block_group::METADATA_REMAP => {}
        MIXED if rules.has(incompat::MIXED_GROUPS) => {}
        _ => report(ChunkDamage::MixedType { have }),
    }
}

fn check_profile(chunk: &Chunk, rules: &Rules, report: &mut dyn FnMut(ChunkDamage)) {
    let chunk_flags = chunk.block_group_flags();
    let (num_stripes, sub_stripes) = (chunk.num_stripes.get(), chunk.sub_stripes.get());
    let Some(profile) = chunk_flags.profile() else {
        return report(ChunkDamage::Profile { have: chunk_flags.profile_bits() });
    };
    if num_stripes == 0 {
        // What was moved elsewhere has no stripes of its own any more.
        if !(rules.has(incompat::REMAP_TREE) && chunk_flags.contains(block_group::REMAPPED)) {
            report(ChunkDamage::NoStripes {});
        }
        return;
    }
    if profile == Profile::Raid10 && sub_stripes != profile.geometry().sub_stripes {
        return report(ChunkDamage::SubStripes { have: sub_stripes, expect: profile.geometry().sub_stripes });
    }
    if !profile.allows_stripes(num_stripes, sub_stripes) {
        return report(ChunkDamage::Stripes { profile: profile.name(), have: num_stripes });
    }
    let data_stripes = profile.data_stripes(num_stripes);
    if !chunk.length.get().is_multiple_of(data_stripes.into()) {
        report(ChunkDamage::Indivisible { have: chunk.length.get(), data_stripes });
    }
}
