//! The devices of a filesystem: how large they are, what of them is allocated, and the errors that were counted on them.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::disk::fields::Uuid;
use crate::disk::volume::{DevItem, DevReplaceItem, DevStatsItem, dev_replace_state};
use crate::disk::{Key, KeyType, objectid};
use crate::error::Result;
use crate::tree::TreeRoot;
use crate::volume::{Device, Volume};

/// What there is to say of the devices; serializes as a JSON document.
#[derive(Debug, Serialize)]
#[non_exhaustive]
pub struct DeviceList {
    schema: &'static str,
    /// Of the filesystem.
    pub fsid: Uuid,
    /// By number.
    pub devices: Vec<DeviceEntry>,
    /// The number of the device that the kernel is replacing.
    pub replacing: Option<u64>,
}

/// A device.
#[derive(Debug, Serialize)]
#[non_exhaustive]
pub struct DeviceEntry {
    /// Its number.
    pub devid: u64,
    /// Its uuid.
    pub uuid: Uuid,
    /// Nothing for a missing device.
    pub path: Option<String>,
    /// Whether it was not given.
    pub missing: bool,
    /// Whether it is a seed.
    pub seed: bool,
    /// Its bytes.
    pub total_bytes: u64,
    /// Bytes that chunks have of it.
    pub used: u64,
    /// The same by type and profile.
    pub profiles: Vec<ProfileBytes>,
    /// Nothing where none were ever counted.
    pub errors: Option<Errors>,
}

/// What chunks of one type and profile have of a device.
#[derive(Debug, Serialize)]
#[non_exhaustive]
pub struct ProfileBytes {
    /// Such as `data`.
    pub r#type: &'static str,
    /// As btrfs-progs names it, such as `RAID1`.
    pub profile: &'static str,
    /// Bytes of the device.
    pub bytes: u64,
}

/// Errors that were counted on a device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Errors {
    /// Writes that failed.
    pub write: u64,
    /// Reads that failed.
    pub read: u64,
    /// Flushes that failed.
    pub flush: u64,
    /// Blocks whose checksum or contents were wrong.
    pub corruption: u64,
    /// Blocks that were of another generation than expected.
    pub generation: u64,
}

impl From<&DevStatsItem> for Errors {
    fn from(item: &DevStatsItem) -> Self {
        Self {
            write: item.write_errs.get(),
            read: item.read_errs.get(),
            flush: item.flush_errs.get(),
            corruption: item.corruption_errs.get(),
            generation: item.generation_errs.get(),
        }
    }
}

impl Errors {
    /// Each with the name that btrfs-device(8) gives it.
    pub fn named(&self) -> [(&'static str, u64); 5] {
        [
            ("write_io_errs", self.write),
            ("read_io_errs", self.read),
            ("flush_io_errs", self.flush),
            ("corruption_errs", self.corruption),
            ("generation_errs", self.generation),
        ]
    }
}

impl DeviceList {
    /// Reads what the chunk tree and the device tree say.
    ///
    /// # Errors
    /// A block of one of them cannot be read.
    pub fn new(volume: &Volume) -> Result<Self> {
        let (mut errors, mut replacing) = (BTreeMap::new(), None);
        let device_tree = TreeRoot::root_tree(volume).find_child(volume, objectid::DEV_TREE)?;
        let mut visit = |key: Key, data: &[u8]| match key.key_type {
            KeyType::PERSISTENT_ITEM if key.objectid == objectid::DEV_STATS => {
                errors.extend(DevStatsItem::read_prefix(data).map(|(item, _)| (key.offset, Errors::from(item))));
            }
            KeyType::DEV_REPLACE => {
                let item = DevReplaceItem::read_prefix(data).map(|(item, _)| *item);
                let is_under_way = |item: &DevReplaceItem| {
                    [dev_replace_state::STARTED, dev_replace_state::SUSPENDED].contains(&item.replace_state.get())
                };
                replacing = item.filter(is_under_way).map(|item| item.src_devid.get());
            }
            _ => {}
        };
        if let Some(tree) = device_tree {
            // Both have small object ids: device extents come behind them.
            let last = Key::new(objectid::DEV_STATS, KeyType(u8::MAX), u64::MAX);
            tree.range(volume, Key::MIN, last, |item| visit(item.key, item.data))?;
        }
        let mut items = TreeRoot::chunk_tree(volume).dev_items(volume)?;
        items.sort_by_key(|item| item.devid.get());
        let device = |item: &DevItem| DeviceEntry::new(volume, item, errors.get(&item.devid.get()).copied());
        let devices = items.iter().map(device).collect();
        Ok(Self { schema: "rbtrfs.device-list/1", fsid: volume.superblock().fsid, devices, replacing })
    }
}

impl DeviceEntry {
    fn new(volume: &Volume, item: &DevItem, errors: Option<Errors>) -> Self {
        let devid = item.devid.get();
        let device = volume.devices().iter().find(|device| device.uuid() == item.uuid);
        let mut profiles: BTreeMap<(&str, &str), u64> = BTreeMap::new();
        for chunk in volume.chunks().iter() {
            let stripes = chunk.stripes.iter().filter(|stripe| stripe.devid == devid).count() as u64;
            let bytes = stripes.saturating_mul(chunk.stripe_size());
            if bytes > 0 {
                let sum = profiles.entry((chunk.flags.type_name(), chunk.profile.name())).or_default();
                *sum = sum.saturating_add(bytes);
            }
        }
        let profile = |((r#type, profile), bytes)| ProfileBytes { r#type, profile, bytes };
        Self {
            devid,
            uuid: item.uuid,
            path: device.map(|device| device.image().path().display().to_string()),
            missing: device.is_none(),
            seed: device.is_some_and(Device::is_seed),
            total_bytes: item.total_bytes.get(),
            used: item.bytes_used.get(),
            profiles: profiles.into_iter().map(profile).collect(),
            errors,
        }
    }
}
