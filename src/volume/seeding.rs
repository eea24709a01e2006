//! Whether other filesystems may grow from one.

use std::path::Path;

use crate::disk::flags::incompat;
use crate::disk::flags::superblock::SEEDING;
use crate::error::{Error, Failure, PartlyPublished, Result};
use crate::image::Image;

use super::device::Device;
use super::opened::{Volume, main_device};
use super::writable::{MissingDevices, WritableVolume, unwritable_features};

/// Whether a filesystem is a seed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seeding {
    /// Others grow from it, and nothing is written to it.
    On,
    /// It is like others. What has grown from it cannot be mounted any more once it is written to.
    Off,
}

impl WritableVolume {
    /// Opens a filesystem, seed or not, for its superblocks to say which it is.
    ///
    /// # Errors
    /// As those of [`WritableVolume::open`]; devices that are behind.
    pub fn open_to_seed(paths: &[impl AsRef<Path>]) -> Result<Self> {
        let peek = |path: &_| Device::open(Image::open_unmapped(AsRef::as_ref(path))?, None);
        let devices = paths.iter().map(peek).collect::<Result<Vec<_>>>()?;
        let fsid = devices.get(main_device(&devices)?).map(Device::fsid);
        let reopen = |device: &Device| match Some(device.fsid()) == fsid {
            true => Image::open_for_writing(device.image().path()),
            // What it has grown from itself.
            false => Image::open_unmapped(device.image().path()),
        };
        let images = devices.iter().map(reopen).collect::<Result<_>>()?;
        let volume = Volume::open(images)?;
        let own = volume.devices().iter().filter(|device| Some(device.fsid()) == fsid);
        if own.map(Device::superblock).any(|superblock| superblock.log_root.get() != 0) {
            return Err(Error::PendingLog);
        }
        let opened = Self::of(volume, MissingDevices::Refuse, not_to_seed)?;
        if let Some(device) = opened.volume().devices_behind().next() {
            return Err(device.superblock_error("is behind that of another device".to_owned()));
        }
        Ok(opened)
    }

    /// Whether it is a seed.
    pub fn seeding(&self) -> Seeding {
        match self.volume().stored_superblock().flags.get() & SEEDING {
            0 => Seeding::Off,
            _ => Seeding::On,
        }
    }

    /// Says so in all superblocks, those at the beginning of the devices first. Blocks and generation stay as they are, so that
    /// each copy is whole before and after.
    ///
    /// # Errors
    /// [`Error::PartlyPublished`]
    pub fn set_seeding(&mut self, seeding: Seeding) -> Result<()> {
        self.volume.set_seeding(seeding == Seeding::On);
        let devices = self.written_devices().count();
        self.line_up().map_err(|error| {
            let failures = vec![Failure { what: "superblocks", error }];
            Error::PartlyPublished(Box::new(PartlyPublished { reached: Vec::new(), devices, failures }))
        })
    }
}

/// Why the superblocks of a device are not changed.
fn not_to_seed(volume: &Volume, device: &Device) -> Option<String> {
    let superblock = device.superblock();
    if device.fsid() != volume.stored_superblock().fsid {
        return None;
    }
    if superblock.has_incompat(incompat::METADATA_UUID) {
        return Some("the fsid was changed, what grew from it could not be mounted".to_owned());
    }
    if device.devid() == 0 {
        return Some("the device is the target of a replacement that is not finished".to_owned());
    }
    unwritable_features(superblock)
}
