//! What a change of chunks changes together, behind one lock.

use std::collections::BTreeSet;

use crate::disk::fields::Uuid;
use crate::disk::volume::DevItem;
use crate::disk::{Key, KeyType, Logical, Physical, Superblock, objectid};
use crate::error::{DeviceProblem, Error, Result};
use crate::image::Image;
use crate::space::Holes;
use crate::volume::ChunkMap;

use super::staged::StagedTree;

/// A device as it will be after the commit.
#[derive(Debug)]
pub struct DeviceState {
    /// Its device item.
    pub item: DevItem,
    /// Ranges of it that no chunk has.
    pub holes: Holes,
    /// Whether it is there and can be written.
    pub is_writable: bool,
    /// The image of a device that is new in this transaction.
    pub image: Option<Image>,
}

/// The state that the chunk mutex guards.
#[derive(Debug)]
pub struct Chunks {
    /// The chunk tree.
    pub tree: StagedTree,
    /// As it will be written, but for what the commit fills in.
    pub superblock: Box<Superblock>,
    /// All chunks, those that are new in this transaction among them.
    pub map: ChunkMap,
    /// The devices with items, in the order of their numbers.
    pub devices: Vec<DeviceState>,
    /// Chunks that this transaction removed, which the map holds until the commit.
    pub removed: BTreeSet<Logical>,
    /// Items of devices that this transaction removed.
    pub removed_devices: Vec<DevItem>,
    /// Where stripes lay that this transaction gave other places.
    pub vacated: Vec<Vacated>,
}

/// A range of a device that a stripe has left. It is free after the commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vacated {
    /// Uuid of the device.
    pub dev_uuid: Uuid,
    /// First byte on the device.
    pub physical: Physical,
    /// Bytes of the stripe.
    pub length: u64,
}

impl Chunks {
    /// Devices that can be written.
    pub fn rw_devices(&self) -> impl Iterator<Item = &DeviceState> {
        self.devices.iter().filter(|device| device.is_writable)
    }

    /// The device with this number.
    pub fn device(&self, devid: u64) -> Result<&DeviceState> {
        let found = self.devices.iter().find(|device| device.item.devid.get() == devid);
        found.ok_or(Error::Device { devid, problem: DeviceProblem::NoItem })
    }

    /// The device with this number.
    pub fn device_mut(&mut self, devid: u64) -> Option<&mut DeviceState> {
        self.devices.iter_mut().find(|device| device.item.devid.get() == devid)
    }

    /// At the end of the transaction: the places of removed chunks, and those that stripes have left, can be used again.
    pub(super) fn forget_removed(&mut self) {
        let removed = std::mem::take(&mut self.removed);
        for logical in &removed {
            let Some(chunk) = self.map.find(*logical).cloned() else { continue };
            for stripe in &chunk.stripes {
                if let Some(device) = self.device_mut(stripe.devid) {
                    device.holes.give_back(stripe.physical, chunk.stripe_size());
                }
            }
        }
        self.map.retain(|chunk| !removed.contains(&chunk.logical));
        for Vacated { dev_uuid, physical, length } in std::mem::take(&mut self.vacated) {
            // That of a device that was replaced is gone with it.
            if let Some(device) = self.devices.iter_mut().find(|device| device.item.uuid == dev_uuid) {
                device.holes.give_back(physical, length);
            }
        }
    }
}

/// The key of a device item.
pub fn device_key(devid: u64) -> Key {
    Key::new(objectid::DEV_ITEMS, KeyType::DEV_ITEM, devid)
}
