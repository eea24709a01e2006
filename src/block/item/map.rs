//! Where data lies: the stripes of the raid stripe tree, and what the remap tree moved.

use crate::block::ItemRef;
use crate::disk::flags::incompat;
use crate::disk::volume::{RaidStride, RemapItem};
use crate::disk::{Key, KeyType};
use crate::finding::findings;

use super::Context;

findings! {
    /// Damage to an item of the raid stripe tree or the remap tree.
    MapDamage {
        /// An item of a tree stands in a filesystem that does not have that tree.
        Feature("map-feature", Error, "item of a tree that the filesystem does not have") { }
        /// The range of such an item is empty, not aligned, or reaches past the end of all addresses.
        Range("map-range", Error, "invalid range, start {start} length {length} expect to be aligned to {alignment}") {
            start: u64, length: u64, alignment: u32,
        }
        /// A raid stripe item does not consist of whole entries.
        StripeSize("raid-stripe-size", Error, "invalid raid stripe item size, have {have} expect a multiple of {entry}") {
            have: u32, entry: u32,
        }
        /// An entry of a raid stripe item leads to an address that is not aligned.
        StripePhysical("raid-stripe-physical", Error, "unaligned physical address of stripe, have {have} should be aligned to {alignment}") {
            have: u64, alignment: u32,
        }
        /// An item of the remap tree does not have its size.
        RemapSize("remap-size", Error, "invalid remap item size, have {have} expect {expect}") { have: u32, expect: u32 }
        /// An item of the remap tree leads to an address that is not aligned.
        RemapAddress("remap-address", Error, "unaligned remap address, have {have} should be aligned to {alignment}") {
            have: u64, alignment: u32,
        }
    }
}

fn check_range(cx: &mut Context<'_>, key: Key, feature: u64) {
    if !cx.rules.has(feature) {
        cx.found(MapDamage::Feature {});
    }
    let Key { objectid: start, offset: length, .. } = key;
    let is_aligned = cx.rules.is_sector_aligned(start) && cx.rules.is_sector_aligned(length);
    if length == 0 || !is_aligned || start.checked_add(length).is_none() {
        cx.found(MapDamage::Range { start, length, alignment: cx.rules.sectorsize });
    }
}

pub(super) fn check_raid_stripe(cx: &mut Context<'_>, item: &ItemRef<'_>) {
    check_range(cx, item.key, incompat::RAID_STRIPE_TREE);
    let strides: Option<&[RaidStride]> = zerocopy::FromBytes::ref_from_bytes(item.data).ok();
    let Some(strides) = strides.filter(|strides| !strides.is_empty()) else {
        let (have, entry) = (item.data.len() as u32, size_of::<RaidStride>() as u32);
        return cx.found(MapDamage::StripeSize { have, entry });
    };
    for stride in strides {
        let have = stride.physical.get();
        if !cx.rules.is_sector_aligned(have) {
            cx.found(MapDamage::StripePhysical { have, alignment: cx.rules.sectorsize });
        }
    }
}

pub(super) fn check_remap(cx: &mut Context<'_>, item: &ItemRef<'_>) {
    check_range(cx, item.key, incompat::REMAP_TREE);
    let size = |have, expect| MapDamage::RemapSize { have, expect };
    if item.key.key_type == KeyType::IDENTITY_REMAP {
        cx.exact::<[u8; 0], _>(item.data, size);
    } else if let Some(remap) = cx.exact::<RemapItem, _>(item.data, size)
        && !cx.rules.is_sector_aligned(remap.address.get())
    {
        cx.found(MapDamage::RemapAddress { have: remap.address.get(), alignment: cx.rules.sectorsize });
    }
}
