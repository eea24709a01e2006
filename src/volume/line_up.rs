//! Copies of the superblock that are of another state than the present one.
//!
//! A crash leaves mirrors, or whole devices, with the superblock of an older state, and one of the kernel mirrors that are
//! newer than their primary superblock. A commit may write to what is free in the present state, so that another state is
//! whole no longer; and it writes the primary superblock, which a crash may tear. Such a mirror would then be taken for the
//! state of its device.

use zerocopy::IntoBytes;

use crate::disk::superblock::SUPER_OFFSETS;
use crate::disk::{Physical, Superblock};
use crate::error::Result;

use super::device::Device;
use super::publish::has_superblock;
use super::superblock::read_copies;
use super::writable::WritableVolume;

impl WritableVolume {
    /// Writes the superblock of the present state over all intact copies that differ from it, and returns when they are on
    /// the disks. The primary superblock of a device comes first, so that the device never lacks an intact one. The state in
    /// which the filesystem is found stays the same, after an error too.
    pub(super) fn line_up(&self) -> Result<()> {
        let mut primaries = Vec::new();
        let mut mirrors = Vec::new();
        for device in self.written_devices().filter(|device| !self.joining.contains(&device.uuid())) {
            let mut is_due = Vec::new();
            let (mut is_primary_right, mut is_primary_intact) = (false, false);
            for copy in read_copies(device.image())? {
                if !has_superblock(device, &device.superblock().dev_item, copy.offset) {
                    continue;
                }
                let is_right = copy.superblock.as_bytes() == self.present_superblock(device, copy.offset).as_bytes();
                let is_intact = copy.superblock.is_intact();
                if copy.offset == SUPER_OFFSETS[0] {
                    (is_primary_right, is_primary_intact) = (is_right, is_intact);
                } else if is_intact && !is_right {
                    is_due.push((device, copy.offset));
                }
            }
            // A primary superblock that is not intact is left to the commit if its mirrors are right.
            if !is_primary_right && (is_primary_intact || !is_due.is_empty()) {
                primaries.push((device, SUPER_OFFSETS[0]));
            }
            mirrors.append(&mut is_due);
        }
        for copies in [primaries, mirrors].iter().filter(|copies| !copies.is_empty()) {
            for (device, offset) in copies {
                device.image().write(*offset, self.present_superblock(device, *offset).as_bytes())?;
            }
            self.barrier()?;
        }
        Ok(())
    }

    /// A copy of the superblock as the present state has it.
    fn present_superblock(&self, device: &Device, offset: Physical) -> Box<Superblock> {
        let mut superblock = Box::new(*self.volume.stored_superblock());
        superblock.dev_item = device.superblock().dev_item;
        superblock.bytenr = offset.0.into();
        self.volume.format().csum_type.stamp(superblock.as_mut_bytes());
        superblock
    }
}
