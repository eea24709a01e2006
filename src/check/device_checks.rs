//! Device items against the devices and what they hold.

use std::collections::BTreeMap;

use crate::disk::fields::Uuid;
use crate::disk::flags::superblock::{CHANGING_FSID, SEEDING};
use crate::disk::volume::{DevReplaceItem, dev_replace_state};
use crate::disk::{Key, KeyType, Transid, objectid};
use crate::problem::DeviceProblem;
use crate::volume::{Device, Volume};

use super::chunks::Chunks;
use super::device_extents::DeviceExtents;
use super::devices::{Devices, Record, device};
use super::findings::Findings;

pub fn check(
    volume: &Volume,
    devices: &Devices<'_>,
    chunks: &Chunks<'_>,
    extents: &DeviceExtents<'_>,
    findings: &Findings,
) {
    let mut of_stripes: BTreeMap<u64, u64> = BTreeMap::new();
    for chunk in chunks.mappings() {
        for stripe in &chunk.stripes {
            let sum = of_stripes.entry(stripe.devid).or_default();
            *sum = sum.saturating_add(chunk.stripe_size());
        }
    }
    for record in devices.records() {
        check_identity(volume, record, findings);
        let of_stripes = of_stripes.get(&record.devid).copied().unwrap_or_default();
        check_numbers(volume, record, chunks.are_complete().then_some(of_stripes), extents, findings);
    }
    for device in volume.devices() {
        let (devid, uuid) = (device.devid(), device.uuid());
        let has_item = devices.records().iter().any(|record| record.devid == devid || record.item.uuid == uuid);
        // A replacement that is under way has the id 0 and no item yet.
        if !has_item && devid != 0 && devices.are_complete() {
            findings.report(DeviceProblem::Unknown { devid, uuid });
        }
    }
    check_replacement(volume, extents, findings);
    let stats = extents.tree().of_type(KeyType::PERSISTENT_ITEM);
    for devid in stats.filter(|item| item.key.objectid == objectid::DEV_STATS).map(|item| item.key.offset) {
        if devid != 0 && devices.lack(devid) {
            findings.report(DeviceProblem::Stats { devid });
        }
    }
}

/// A replacement that is under way, and its target, which has no device item yet.
fn check_replacement(volume: &Volume, extents: &DeviceExtents<'_>, findings: &Findings) {
    let item = extents.tree().get(Key::new(0, KeyType::DEV_REPLACE, 0));
    let Some((item, _)) = item.and_then(|data| DevReplaceItem::read_prefix(data)) else { return };
    let state = match item.replace_state.get() {
        dev_replace_state::STARTED => "and was under way",
        dev_replace_state::SUSPENDED => "and is suspended",
        _ => return,
    };
    let target = volume.devices().iter().find(|device| device.devid() == 0).map(Device::uuid);
    let devid = item.src_devid.get();
    findings.report(DeviceProblem::Replacing { devid, state, target: target.unwrap_or_default() });
    if target.is_none() {
        findings.report(DeviceProblem::Missing { devid: 0, uuid: Uuid::default() });
    }
}

fn check_identity(volume: &Volume, record: &Record, findings: &Findings) {
    let (devid, item) = (record.devid, &record.item);
    let Some(device) = device(volume, devid, item) else {
        findings.report(DeviceProblem::Missing { devid, uuid: item.uuid });
        return;
    };
    if item.uuid == device.uuid() && device.devid() != devid && device.devid() != 0 {
        findings.report(DeviceProblem::Devid { devid, have: device.devid() });
    }
    if item.uuid != device.uuid() {
        findings.report(DeviceProblem::Uuid { devid, have: item.uuid, expect: device.uuid() });
    }
    let superblock = device.superblock();
    // A device item of the superblock that is wrong is reported with the superblock.
    let is_changing = superblock.has_flag(CHANGING_FSID);
    if !is_changing && ![superblock.metadata_fsid(), superblock.dev_item.fsid].contains(&item.fsid) {
        findings.report(DeviceProblem::Fsid { devid, have: item.fsid, expect: superblock.metadata_fsid() });
    }
    if device.fsid() != volume.superblock().fsid && superblock.flags.get() & SEEDING != 0 {
        let (have, expect) = (superblock.generation(), Transid(item.generation.get()));
        if have != expect {
            findings.report(DeviceProblem::SeedGeneration { devid, have, expect });
        }
    }
}

fn check_numbers(
    volume: &Volume,
    record: &Record,
    of_stripes: Option<u64>,
    extents: &DeviceExtents<'_>,
    findings: &Findings,
) {
    let (devid, item) = (record.devid, &record.item);
    let sectorsize = volume.superblock().sectorsize.get();
    let device = device(volume, devid, item);
    let end = extents.end(devid);
    let (total_bytes, bytes_used) = (item.total_bytes.get(), item.bytes_used.get());
    if !total_bytes.is_multiple_of(sectorsize.into()) {
        findings.report(DeviceProblem::Unaligned { devid, have: total_bytes, sectorsize });
    }
    let image_size = device.map(|device| device.image().size());
    if let Some(have) = image_size.filter(|size| *size < total_bytes) {
        findings.report(DeviceProblem::Truncated { devid, have, expect: total_bytes });
    }
    if total_bytes < end {
        findings.report(DeviceProblem::Short { devid, have: total_bytes, expect: end });
    }
    // After damage elsewhere the extents and the stripes differ: either may be what the item was made from.
    let of_extents = extents.bytes(devid);
    let sums = [of_stripes, of_extents];
    let is_sum = |value: u64| sums.contains(&Some(value));
    match of_stripes.or(of_extents) {
        // While some stripes are not known, a sum that is too small says nothing.
        Some(expect) if of_extents.is_some() && !is_sum(bytes_used) => {
            findings.report(DeviceProblem::BytesUsed { devid, have: bytes_used, expect });
        }
        _ if bytes_used > total_bytes && total_bytes >= end => {
            findings.report(DeviceProblem::Overfull { devid, have: bytes_used, expect: total_bytes });
        }
        _ => {}
    }

    // The superblock of a seed stays as it was.
    let Some(device) = device.filter(|device| device.fsid() == volume.superblock().fsid) else { return };
    if device.superblock().generation() != volume.superblock().generation() {
        return;
    }
    let copy = &device.superblock().dev_item;
    let is_size = |size: u64| {
        size.is_multiple_of(sectorsize.into()) && size >= end && image_size.is_none_or(|image| size <= image)
    };
    // What the kernel copies from its device (`write_all_supers`), and what of it counts for nothing here.
    let others = [
        ("type", copy.r#type.get(), item.r#type.get(), true),
        ("io_align", copy.io_align.get().into(), item.io_align.get().into(), true),
        ("io_width", copy.io_width.get().into(), item.io_width.get().into(), true),
        ("sector_size", copy.sector_size.get().into(), item.sector_size.get().into(), true),
    ];
    let fields = [
        ("total_bytes", copy.total_bytes.get(), total_bytes, is_size(total_bytes) || !is_size(copy.total_bytes.get())),
        ("bytes_used", copy.bytes_used.get(), bytes_used, is_sum(bytes_used) || !is_sum(copy.bytes_used.get())),
    ];
    for (field, have, expect, _) in
        fields.into_iter().chain(others).filter(|(_, have, expect, trusted)| have != expect && *trusted)
    {
        findings.report(DeviceProblem::SuperItem { devid, field, have, expect });
    }
}
