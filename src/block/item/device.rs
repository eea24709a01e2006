//! Devices: their items, extents, statistics, and the state of replacements and balances.

use crate::block::ItemRef;
use crate::disk::volume::{BalanceItem, DevExtent, DevItem, DevReplaceItem, dev_replace_state};
use crate::disk::{Key, flags, objectid};
use crate::finding::findings;

use super::Context;

findings! {
    /// Damage to an item that says something of devices.
    DeviceDamage {
        /// A device item does not have its size.
        Size("dev-item-size", Error, "invalid device item size, have {have} expect {expect}") { have: u32, expect: u32 }
        /// The key of a device item is not that of device items.
        Key("dev-item-key", Error, "invalid objectid of device item, have {have} expect {expect}") { have: u64, expect: u64 }
        /// A device item has another device id than its key.
        Devid("dev-item-devid", Error, "devid mismatch with key, have {have} expect {expect}") { have: u64, expect: u64 }
        /// More of a device is used than there is.
        Used("dev-item-used", Error, "invalid bytes used of device, have {have} expect [0, {limit}]") { have: u64, limit: u64 }
        /// The size of a device is not aligned, as old kernels wrote it.
        Unaligned("dev-item-unaligned", Warning, "unaligned total bytes of device, have {have} should be aligned to {alignment}") {
            have: u64, alignment: u32,
        }
        /// A device extent does not have its size.
        ExtentSize("dev-extent-size", Error, "invalid device extent size, have {have} expect {expect}") {
            have: u32, expect: u32,
        }
        /// A device extent belongs to no chunk tree that there is.
        ExtentChunkTree("dev-extent-chunk-tree", Error, "invalid {field} of device extent, have {have} expect {expect}") {
            field: &'static str, have: u64, expect: u64,
        }
        /// An address or the length of a device extent is not aligned.
        ExtentUnaligned("dev-extent-unaligned", Error, "unaligned {field} of device extent, have {have} should be aligned to {alignment}") {
            field: &'static str, have: u64, alignment: u32,
        }
        /// A device extent has no length, or reaches past the end of all addresses.
        ExtentLength("dev-extent-length", Error, "invalid length of device extent, have {have}") { have: u64 }
        /// A device extent begins before the one before it ends.
        ExtentOverlap("dev-extent-overlap", Error, "device extent overlaps the previous one, which ends at {previous_end}") {
            previous_end: u64,
        }
        /// A persistent or temporary item is none that is known.
        ItemKey("state-item-key", Error, "unknown state item") { }
        /// Device statistics do not consist of whole numbers.
        StatsSize("dev-stats-size", Error, "invalid device statistics size, have {have} expect a multiple of 8") { have: u32 }
        /// The state of a device replacement does not have its size.
        ReplaceSize("dev-replace-size", Error, "invalid device replacement item size, have {have} expect {expect}") {
            have: u32, expect: u32,
        }
        /// The state of a device replacement is not known.
        ReplaceState("dev-replace-state", Error, "invalid state of device replacement, have {have} expect [0, {limit}]") {
            have: u64, limit: u64,
        }
        /// The state of a balance does not have its size.
        BalanceSize("balance-size", Error, "invalid balance item size, have {have} expect {expect}") { have: u32, expect: u32 }
        /// A balance has flags that are not known.
        BalanceFlags("balance-flags", Error, "unknown flags of {field}, have {have:#x} of which {unknown:#x} are unknown") {
            field: &'static str, have: u64, unknown: u64,
        }
    }
}

pub(super) fn check_dev_item(cx: &mut Context<'_>, item: &ItemRef<'_>) {
    if item.key.objectid != objectid::DEV_ITEMS {
        cx.found(DeviceDamage::Key { have: item.key.objectid, expect: objectid::DEV_ITEMS });
    }
    let size = |have, expect| DeviceDamage::Size { have, expect };
    let Some(device) = cx.exact::<DevItem, _>(item.data, size) else { return };
    if device.devid.get() != item.key.offset {
        cx.found(DeviceDamage::Devid { have: device.devid.get(), expect: item.key.offset });
    }
    let limit = device.total_bytes.get();
    if device.bytes_used.get() > limit {
        cx.found(DeviceDamage::Used { have: device.bytes_used.get(), limit });
    }
    if !cx.rules.is_sector_aligned(limit) {
        cx.found(DeviceDamage::Unaligned { have: limit, alignment: cx.rules.sectorsize });
    }
}

pub(super) fn check_dev_extent(cx: &mut Context<'_>, item: &ItemRef<'_>) {
    let size = |have, expect| DeviceDamage::ExtentSize { have, expect };
    let Some(extent) = cx.exact::<DevExtent, _>(item.data, size) else { return };
    let owners = [
        ("chunk tree", extent.chunk_tree.get(), objectid::CHUNK_TREE),
        ("chunk objectid", extent.chunk_objectid.get(), objectid::FIRST_CHUNK_TREE),
    ];
    for (field, have, expect) in owners {
        if have != expect {
            cx.found(DeviceDamage::ExtentChunkTree { field, have, expect });
        }
    }
    let (start, length) = (item.key.offset, extent.length.get());
    for (field, have) in [("start", start), ("chunk offset", extent.chunk_offset.get()), ("length", length)] {
        if !cx.rules.is_sector_aligned(have) {
            cx.found(DeviceDamage::ExtentUnaligned { field, have, alignment: cx.rules.sectorsize });
        }
    }
    if length == 0 || start.checked_add(length).is_none() {
        cx.found(DeviceDamage::ExtentLength { have: length });
    }
    if let Some(previous) = cx.previous_alike(item).filter(|previous| previous.key < item.key)
        && let Some((extent, _)) = DevExtent::read_prefix(previous.data)
    {
        let previous_end = previous.key.offset.saturating_add(extent.length.get());
        if previous_end > start {
            cx.found(DeviceDamage::ExtentOverlap { previous_end });
        }
    }
}

/// Statistics of a device are the only persistent state.
pub(super) fn check_persistent(cx: &mut Context<'_>, item: &ItemRef<'_>) {
    if item.key.objectid != objectid::DEV_STATS {
        return cx.found(DeviceDamage::ItemKey {});
    }
    // A kernel that counts more or fewer kinds of errors takes what is there.
    if item.data.is_empty() || !item.data.len().is_multiple_of(size_of::<u64>()) {
        cx.found(DeviceDamage::StatsSize { have: item.data.len() as u32 });
    }
}

/// A balance, or the change of the checksum type that only btrfs-progs knows.
pub(super) fn check_temporary(cx: &mut Context<'_>, item: &ItemRef<'_>) {
    match item.key.objectid {
        objectid::BALANCE => {}
        objectid::CSUM_CHANGE => return,
        _ => return cx.found(DeviceDamage::ItemKey {}),
    }
    let size = |have, expect| DeviceDamage::BalanceSize { have, expect };
    let Some(balance) = cx.exact::<BalanceItem, _>(item.data, size) else { return };
    const BALANCE: u64 = flags::all(flags::balance::NAMES);
    const FILTERS: u64 = flags::all(flags::balance_args::NAMES);
    let fields = [
        ("balance", balance.flags.get(), BALANCE),
        ("data filter", balance.data.flags.get(), FILTERS),
        ("metadata filter", balance.meta.flags.get(), FILTERS),
        ("system filter", balance.sys.flags.get(), FILTERS),
    ];
    for (field, have, known) in fields {
        if have & !known != 0 {
            cx.found(DeviceDamage::BalanceFlags { field, have, unknown: have & !known });
        }
    }
}

pub(super) fn check_replace(cx: &mut Context<'_>, item: &ItemRef<'_>) {
    if item.key != Key::new(0, item.key.key_type, 0) {
        return cx.found(DeviceDamage::ItemKey {});
    }
    let size = |have, expect| DeviceDamage::ReplaceSize { have, expect };
    if let Some(replace) = cx.exact::<DevReplaceItem, _>(item.data, size)
        && replace.replace_state.get() > dev_replace_state::SUSPENDED
    {
        cx.found(DeviceDamage::ReplaceState { have: replace.replace_state.get(), limit: dev_replace_state::SUSPENDED });
    }
}
