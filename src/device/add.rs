//! Adding a device.

use std::path::Path;

use zerocopy::IntoBytes;

use crate::chunk::{begin, finish, items_of_chunk, with_system};
use crate::disk::fields::Uuid;
use crate::disk::volume::{DEVICE_RANGE_RESERVED, DevItem};
use crate::error::{DeviceProblem, Error, Result};
use crate::image::Image;
use crate::space::Holes;
use crate::trans::{Chunks, DeviceState, Filesystem, Handle, device_key};
use crate::tree::reservation::to_insert_item;
use crate::volume::chunk_items::dev_item;
use crate::volume::{identify, read_copies};

use super::totals::{check_total, delete_stats, update_totals};

/// What is to be done where something stands on a new device already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Occupied {
    /// Refuse an image with a filesystem or a partition table.
    Refuse,
    /// Overwrite it.
    Overwrite,
}

/// Adds the image or block device at `path`, all of it but for a part of a sector at its end, and returns its device id.
/// It is held for this filesystem from now on, and written by the commit at the earliest. Refused are what is in use, what
/// is a device of this filesystem already, what has no more than the MiB that stays free, and unless it is to be
/// overwritten what something else stands on.
///
/// # Errors
/// The image cannot be opened or is in use, holds something, is too small, or would make the filesystem too large.
pub fn add(fs: &Filesystem, path: &Path, occupied: Occupied) -> Result<u64> {
    let image = open(fs, path, occupied)?;
    // One more than a chunk: the errors that were counted on another device.
    let mut handle = begin(fs, items_of_chunk(fs) + 1)?;
    let added = add_image(&mut handle, image);
    finish(handle)?;
    added
}

fn add_image(handle: &mut Handle<'_>, image: Image) -> Result<u64> {
    let fs = handle.fs;
    let mut device_tree = fs.device_tree();
    let mut chunks = fs.chunks();
    let item = new_item(fs, &chunks, &image)?;
    let devid = item.devid.get();
    insert_item(handle, &mut chunks, &item)?;
    join(&mut chunks, image, item);
    drop(chunks);
    // The removal of the last device with this id may have left some.
    delete_stats(fs, &mut device_tree, devid)?;
    Ok(devid)
}

/// Opens an image that is to become a device.
pub(super) fn open(fs: &Filesystem, path: &Path, occupied: Occupied) -> Result<Image> {
    let image = Image::open_for_writing(path)?;
    let image = if fs.is_rehearsal() { image.staged() } else { image };
    let copies = read_copies(&image)?;
    let chunks = fs.chunks();
    let is_own = |device: &&DeviceState| {
        let mut intact = copies.iter().filter(|copy| copy.superblock.is_intact());
        intact.any(|copy| copy.superblock.dev_item.uuid == device.item.uuid)
    };
    if let Some(device) = chunks.devices.iter().find(is_own) {
        let holder = format!("device {} of this filesystem", device.item.devid.get());
        return Err(Error::InUse { path: path.to_owned(), holder });
    }
    if occupied == Occupied::Refuse
        && let Some(found) = identify(&image)?
    {
        return Err(Error::Occupied { path: path.to_owned(), found });
    }
    Ok(image)
}

/// The item of a new device, as the kernel makes it: with the id after the highest that is in use, or was before this
/// transaction.
pub(super) fn new_item(fs: &Filesystem, chunks: &Chunks, image: &Image) -> Result<DevItem> {
    let sectorsize = fs.volume().format().sectorsize;
    let size = image.size() - image.size() % u64::from(sectorsize);
    if size <= DEVICE_RANGE_RESERVED {
        let path = image.path().to_owned();
        return Err(Error::TooSmall { path, wanted: DEVICE_RANGE_RESERVED + u64::from(sectorsize), has: size });
    }
    check_total(chunks, 0, size)?;
    let items = chunks.devices.iter().map(|device| &device.item).chain(&chunks.removed_devices);
    let highest = items.map(|item| item.devid.get()).max().unwrap_or_default();
    let devid = highest.checked_add(1).ok_or(Error::Device { devid: highest, problem: DeviceProblem::LastId })?;
    Ok(dev_item(devid, Uuid::random(), size, sectorsize, chunks.superblock.metadata_fsid()))
}

pub(super) fn insert_item(handle: &mut Handle<'_>, chunks: &mut Chunks, item: &DevItem) -> Result<()> {
    let fs = handle.fs;
    let bytes = to_insert_item(fs.volume().format().nodesize);
    with_system(handle, chunks, bytes, |chunks| {
        chunks.tree.edit(fs, |editor| editor.insert(device_key(item.devid.get()), item.as_bytes()))
    })
}

/// Chunks can be allocated on the device from here on.
pub(super) fn join(chunks: &mut Chunks, image: Image, item: DevItem) {
    let size = item.total_bytes.get();
    update_totals(chunks, 1, 0, size);
    chunks.devices.push(DeviceState { item, holes: Holes::of_device(size), is_writable: true, image: Some(image) });
}
