//! Giving a device another size.

use crate::chunk::{begin, finish, reserve_system};
use crate::disk::volume::DEVICE_RANGE_RESERVED;
use crate::error::{DeviceProblem, Error, Result};
use crate::trans::{DeviceState, Filesystem, Handle};
use crate::tree::reservation::to_change_item;
use crate::volume::Device;

use super::totals::{check_total, update_totals};

/// Makes a device so many bytes long, rounded down to whole sectors. It cannot be longer than its image was when that was
/// opened, nor end before the last of its chunks, those that were removed since the last commit among them; the MiB that
/// stays free is not all of it. Copies of the superblock behind the new end are wiped by the commit.
///
/// # Errors
/// There is no such device, it cannot have the size, or the filesystem would be too large.
pub fn resize(fs: &Filesystem, devid: u64, size: u64) -> Result<()> {
    let mut handle = begin(fs, 0)?;
    let resized = resize_locked(&mut handle, devid, size);
    finish(handle)?;
    resized
}

fn resize_locked(handle: &mut Handle<'_>, devid: u64, size: u64) -> Result<()> {
    let fs = handle.fs;
    let mut chunks = fs.chunks();
    let sectorsize = u64::from(fs.volume().format().sectorsize);
    let new = size - size % sectorsize;
    let old = check(fs, chunks.device(devid)?, new, sectorsize)?;
    if old == new {
        return Ok(());
    }
    check_total(&chunks, old, new)?;
    reserve_system(handle, &mut chunks, to_change_item(fs.volume().format().nodesize))?;
    // Again: a system chunk that was made for the promise may lie behind the new end.
    let old = check(fs, chunks.device(devid)?, new, sectorsize)?;
    if let Some(device) = chunks.device_mut(devid) {
        device.item.total_bytes = new.into();
        device.holes.resize(old, new);
    }
    update_totals(&mut chunks, 0, old, new);
    let updated = chunks.update_device_item(fs, devid);
    if updated.is_err() {
        fs.poison();
    }
    updated
}

/// The present size of a device that can have the new one.
fn check(fs: &Filesystem, device: &DeviceState, size: u64, sectorsize: u64) -> Result<u64> {
    let (devid, uuid, old) = (device.item.devid.get(), device.item.uuid, device.item.total_bytes.get());
    if !device.is_writable {
        return Err(Error::Device { devid, problem: DeviceProblem::NotWritten });
    }
    let of_volume = || fs.volume().devices().iter().find(|device| device.uuid() == uuid).map(Device::image);
    let image = device.image.as_ref().or_else(of_volume).ok_or_else(|| fs.volume().missing_error(devid, uuid))?;
    let least = device.holes.end_of_taken(old).max(DEVICE_RANGE_RESERVED + sectorsize);
    let most = image.size();
    match (least..=most).contains(&size) || size == old {
        true => Ok(old),
        false => Err(Error::DeviceSize { devid, size, least, most }),
    }
}
