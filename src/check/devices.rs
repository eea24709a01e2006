//! Device items against the devices and what they hold.

use std::collections::BTreeMap;

use crate::disk::fields::Uuid;
use crate::disk::flags::superblock::SEEDING;
use crate::disk::volume::DevItem;
use crate::disk::{KeyType, Transid, objectid};
use crate::finding::findings;
use crate::volume::{Device, Volume};

use super::chunks::Chunks;
use super::device_extents::DeviceExtents;
use super::findings::Findings;
use super::items::{Items, keys_of_type};

findings! {
    /// Device items, devices, and errors counted on them.
    DeviceProblem {
        /// A device is missing.
        Missing("device-missing", Note, "device {devid} ({uuid}) is missing") { devid: u64, uuid: Uuid }
        /// A device that was given does not belong to the filesystem.
        Unknown("device-unknown", Error, "device {devid} ({uuid}) has no device item") { devid: u64, uuid: Uuid }
        /// A device item has a value that is impossible.
        Item("device-item", Error, "device {devid}: invalid {field} in the device item, have {have} expect {expect}") {
            devid: u64, field: &'static str, have: u64, expect: u64,
        }
        /// A device item names another uuid than its device has.
        Uuid("device-uuid", Error, "device {devid}: invalid uuid in the device item, have {have} expect {expect}") {
            devid: u64, have: Uuid, expect: Uuid,
        }
        /// A device item names another fsid than its device has.
        Fsid("device-fsid", Error, "device {devid}: invalid fsid in the device item, have {have} expect {expect}") {
            devid: u64, have: Uuid, expect: Uuid,
        }
        /// A device is smaller than its device item says.
        Truncated("device-truncated", Error, "device {devid}: has {have} bytes, the device item says {expect}") {
            devid: u64, have: u64, expect: u64,
        }
        /// A device's size is not a number of sectors.
        Unaligned("device-size-unaligned", Error, "device {devid}: total_bytes {have} is not aligned to {sectorsize}") {
            devid: u64, have: u64, sectorsize: u32,
        }
        /// A chunk reaches past the end of a device.
        Short("device-size-short", Error, "device {devid}: total_bytes is {have}, chunks reach {expect}") {
            devid: u64, have: u64, expect: u64,
        }
        /// The used bytes of a device are not those of its chunks.
        BytesUsed("device-bytes-used", Error, "device {devid}: invalid bytes_used, have {have} expect {expect}") {
            devid: u64, have: u64, expect: u64,
        }
        /// More bytes of a device are in use than it has.
        Overfull("device-overfull", Error, "device {devid}: bytes_used {have} is above total_bytes {expect}") {
            devid: u64, have: u64, expect: u64,
        }
        /// The superblock's copy of a device item differs from the chunk tree's.
        SuperItem("super-dev-item", Warning, "device {devid}: {field} in the superblock is {have}, in the tree {expect}") {
            devid: u64, field: &'static str, have: u64, expect: u64,
        }
        /// A seed was written after other devices were added to it.
        SeedGeneration("seed-generation", Error, "seed device {devid}: generation is {have}, expect {expect}") {
            devid: u64, have: Transid, expect: Transid,
        }
        /// Errors are counted for a device that was removed.
        Stats("device-stats-orphan", Note, "errors are counted for device {devid}, which does not exist") { devid: u64 }
    }
}

/// The device items of the chunk tree.
pub struct Devices<'t> {
    tree: &'t Items,
    records: Vec<Record>,
}

/// A device item, and the device if it is there.
struct Record {
    devid: u64,
    item: DevItem,
    uuid: Option<Uuid>,
}

impl<'t> Devices<'t> {
    /// Takes the device items; what is wrong with one by itself is reported.
    pub fn read(volume: &Volume, tree: &'t Items, findings: &Findings) -> Self {
        let mut records = Vec::new();
        for found in tree.of_type(KeyType::DEV_ITEM) {
            let devid = found.key.offset;
            let report = |field, have, expect| findings.report(DeviceProblem::Item { devid, field, have, expect });
            if found.key.objectid != objectid::DEV_ITEMS {
                report("objectid", found.key.objectid, objectid::DEV_ITEMS);
            }
            if found.data.len() != size_of::<DevItem>() {
                report("item size", found.data.len() as u64, size_of::<DevItem>() as u64);
            }
            let Some((item, _)) = DevItem::read_prefix(&found.data) else { continue };
            if item.devid.get() != devid {
                report("devid", item.devid.get(), devid);
            }
            let uuid = device(volume, devid, item).map(Device::uuid);
            records.push(Record { devid, item: *item, uuid });
        }
        records.sort_by_key(|record| record.devid);
        Self { tree, records }
    }

    fn find(&self, devid: u64) -> Option<&Record> {
        let index = self.records.binary_search_by_key(&devid, |record| record.devid).ok()?;
        self.records.get(index)
    }

    /// The uuid of a device, as it says itself or as its item says.
    pub fn uuid(&self, devid: u64) -> Option<Uuid> {
        self.find(devid).map(|record| record.uuid.unwrap_or(record.item.uuid))
    }

    /// Whether the device or its item says that this is its uuid.
    pub fn is_uuid_of(&self, devid: u64, uuid: Uuid) -> bool {
        self.find(devid).is_some_and(|record| record.uuid == Some(uuid) || record.item.uuid == uuid)
    }

    /// Whether all device items are known.
    pub fn are_complete(&self) -> bool {
        let (from, to) = keys_of_type(objectid::DEV_ITEMS, KeyType::DEV_ITEM);
        self.tree.covers(from, to)
    }

    /// Whether it is known that there is no such device.
    pub fn lack(&self, devid: u64) -> bool {
        self.find(devid).is_none() && self.are_complete()
    }

    pub fn count(&self) -> u64 {
        self.records.len() as u64
    }

    /// The sizes of all devices: those of the items, and those that hold where an item is wrong and its copy in the
    /// superblock is right.
    pub fn total_bytes(&self, volume: &Volume) -> [u64; 2] {
        let sum = |sizes: Vec<u64>| sizes.into_iter().fold(0, u64::saturating_add);
        let of_item = |record: &Record| record.item.total_bytes.get();
        let of_device = |record: &Record| {
            device(volume, record.devid, &record.item).map_or(of_item(record), |device| device.total_bytes())
        };
        [sum(self.records.iter().map(of_item).collect()), sum(self.records.iter().map(of_device).collect())]
    }
}

/// The device that an item describes.
fn device<'v>(volume: &'v Volume, devid: u64, item: &DevItem) -> Option<&'v Device> {
    let of_uuid = volume.devices().iter().find(|device| device.uuid() == item.uuid);
    of_uuid.or_else(|| volume.devices().iter().find(|device| device.devid() == devid))
}

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
    for record in &devices.records {
        check_identity(volume, record, findings);
        let of_stripes = of_stripes.get(&record.devid).copied().unwrap_or_default();
        check_numbers(volume, record, chunks.are_complete().then_some(of_stripes), extents, findings);
    }
    for device in volume.devices() {
        let (devid, uuid) = (device.devid(), device.uuid());
        let has_item = devices.records.iter().any(|record| record.devid == devid || record.item.uuid == uuid);
        // A replacement that is under way has the id 0 and no item yet.
        if !has_item && devid != 0 && devices.are_complete() {
            findings.report(DeviceProblem::Unknown { devid, uuid });
        }
    }
    let stats = extents.tree().of_type(KeyType::PERSISTENT_ITEM);
    for devid in stats.filter(|item| item.key.objectid == objectid::DEV_STATS).map(|item| item.key.offset) {
        if devid != 0 && devices.lack(devid) {
            findings.report(DeviceProblem::Stats { devid });
        }
    }
}

fn check_identity(volume: &Volume, record: &Record, findings: &Findings) {
    let (devid, item) = (record.devid, &record.item);
    let Some(device) = device(volume, devid, item) else {
        findings.report(DeviceProblem::Missing { devid, uuid: item.uuid });
        return;
    };
    if item.uuid != device.uuid() {
        findings.report(DeviceProblem::Uuid { devid, have: item.uuid, expect: device.uuid() });
    }
    let superblock = device.superblock();
    // A device item of the superblock that is wrong is reported with the superblock.
    if ![superblock.metadata_fsid(), superblock.dev_item.fsid].contains(&item.fsid) {
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
    let fields = [
        ("total_bytes", copy.total_bytes.get(), total_bytes, is_size(total_bytes) || !is_size(copy.total_bytes.get())),
        ("bytes_used", copy.bytes_used.get(), bytes_used, is_sum(bytes_used) || !is_sum(copy.bytes_used.get())),
    ];
    for (field, have, expect, _) in fields.into_iter().filter(|(_, have, expect, trusted)| have != expect && *trusted) {
        findings.report(DeviceProblem::SuperItem { devid, field, have, expect });
    }
}
