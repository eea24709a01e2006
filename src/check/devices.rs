//! Device items against the devices and what they hold.

use crate::disk::fields::Uuid;
use crate::disk::volume::DevItem;
use crate::disk::{KeyType, objectid};
use crate::problem::DeviceProblem;
use crate::survey::{Items, keys_of_type};
use crate::volume::{Device, Volume};

use super::findings::Findings;

/// The device items of the chunk tree.
pub struct Devices<'t> {
    tree: &'t Items,
    records: Vec<Record>,
}

/// A device item, and the device if it is there.
pub struct Record {
    pub devid: u64,
    pub item: DevItem,
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

    pub fn records(&self) -> &[Record] {
        &self.records
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
            device(volume, record.devid, &record.item)
                .map_or(of_item(record), |device| device.superblock().dev_item.total_bytes.get())
        };
        [sum(self.records.iter().map(of_item).collect()), sum(self.records.iter().map(of_device).collect())]
    }
}

/// The device that an item describes.
pub fn device<'v>(volume: &'v Volume, devid: u64, item: &DevItem) -> Option<&'v Device> {
    let of_uuid = volume.devices().iter().find(|device| device.uuid() == item.uuid);
    of_uuid.or_else(|| volume.devices().iter().find(|device| device.devid() == devid))
}
