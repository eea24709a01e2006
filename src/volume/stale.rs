//! Devices whose superblock is behind the newest, and those of them that are left out of the volume.

use std::path::Path;

use crate::error::Error;

use super::device::Device;
use super::notice::{Missed, Notice, StaleDevice};
use super::opened::Volume;

impl Volume {
    /// The devices whose superblock is older than the newest. Seeds are not among them: their superblocks stay as they are.
    pub fn devices_behind(&self) -> impl Iterator<Item = &Device> {
        let newest = self.stored_superblock();
        let is_own = |device: &&Device| device.fsid() == newest.fsid && !device.is_seed();
        let is_behind = |device: &&Device| device.superblock().generation() < newest.generation();
        self.devices().iter().filter(is_own).filter(is_behind)
    }

    /// Every device that is behind counts as stale: for callers that do not look at its blocks.
    pub(super) fn unjudged_devices(&self) -> Vec<StaleDevice> {
        let stale = |device: &Device| {
            let (what, problem) = ("tree root", "it was not verified that the device has it".to_owned());
            StaleDevice {
                uuid: device.uuid(),
                missed: Missed { what, logical: self.stored_superblock().root(), problem },
            }
        };
        self.devices_behind().map(stale).collect()
    }

    /// The error that refuses a stale device.
    pub(super) fn stale_error(&self, stale: &StaleDevice) -> Option<Error> {
        let device = self.devices().iter().find(|device| device.uuid() == stale.uuid)?;
        Some(Error::StaleDevice {
            path: device.image().path().to_owned(),
            devid: device.devid(),
            generation: device.superblock().generation(),
            newest: self.stored_superblock().generation(),
            missed: stale.missed.to_string(),
        })
    }

    /// Closes the images of these devices: from here on they are missing.
    pub(super) fn leave_out(&mut self, stale: &[StaleDevice]) {
        for stale in stale {
            let Some(index) = self.devices.iter().position(|device| device.uuid() == stale.uuid) else { continue };
            let device = self.devices.remove(index);
            self.notices.retain(|notice| !is_about(notice, device.image().path()));
            self.notices.push(Notice::StaleDevice {
                devid: device.devid(),
                uuid: device.uuid(),
                generation: device.superblock().generation(),
                missed: stale.missed.clone(),
            });
        }
    }
}

/// Whether a notice tells of the image of one device and of nothing else.
fn is_about(notice: &Notice, image: &Path) -> bool {
    match notice {
        Notice::MirrorSuperblock { path, .. } | Notice::Truncated { path, .. } => *path == image.display().to_string(),
        _ => false,
    }
}
