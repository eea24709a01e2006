//! A device that is judged.

use crate::disk::Transid;
use crate::disk::fields::Uuid;
use crate::volume::{Device, Missed, StripeMapping, Volume};

/// A device whose superblock is behind, and what it was found to lack.
pub struct Suspect<'v> {
    volume: &'v Volume,
    device: &'v Device,
    missed: Option<Missed>,
}

impl<'v> Suspect<'v> {
    pub fn all(volume: &'v Volume) -> Vec<Self> {
        volume.devices_behind().map(|device| Self { volume, device, missed: None }).collect()
    }

    pub fn device(&self) -> &'v Device {
        self.device
    }

    pub fn uuid(&self) -> Uuid {
        self.device.uuid()
    }

    /// That of its superblock: all that is not newer was on the device when the superblock was written.
    pub fn generation(&self) -> Transid {
        self.device.superblock().generation()
    }

    /// Whether the stripe is on this device.
    pub fn holds(&self, stripe: &StripeMapping) -> bool {
        self.volume.device(stripe).is_some_and(|device| device.uuid() == self.uuid())
    }

    /// Whether nothing was found yet that it lacks.
    pub fn is_open(&self) -> bool {
        self.missed.is_none()
    }

    /// Takes the first thing that the device lacks.
    pub fn judge(&mut self, found: Result<(), Missed>) {
        if self.is_open() {
            self.missed = found.err();
        }
    }

    pub fn into_missed(self) -> Option<Missed> {
        self.missed
    }
}
