//! Giving a device another size, with its file.

use crate::disk::volume::DEVICE_RANGE_RESERVED;
use crate::error::{Error, Result};
use crate::image::Image;
use crate::relocate::Options;
use crate::trans::Filesystem;
use crate::volume::Device;

use super::least::pack;
use super::leave::leave;
use super::resize::resize;
use super::stripes::Shifted;

/// The size that a device is to have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// Bytes.
    Bytes(u64),
    /// So many bytes more.
    More(u64),
    /// So many bytes less.
    Less(u64),
    /// All of its image.
    Most,
    /// As few as there can be, and so many that are left unallocated.
    Least {
        /// Bytes behind the last chunk.
        slack: u64,
    },
}

/// Gives a device another size. A file is made longer before, if it is too short, and cut to the size after the commit unless it
/// is to be kept. What lies behind the new end moves elsewhere. Returns the bytes that it has now.
///
/// # Errors
/// As those of [`resize`] and [`leave`]; the file cannot be made longer.
pub fn set_size(
    mut fs: Filesystem,
    devid: u64,
    size: Size,
    keeps_file: bool,
    options: &Options<'_>,
    shifted: &mut Shifted,
) -> Result<(Filesystem, u64)> {
    let old = fs.chunks().device(devid)?.item.total_bytes.get();
    let (before, is_file) = image_of(&fs, devid).map(|image| (image.size(), !image.is_device()))?;
    let sectorsize = u64::from(fs.volume().format().sectorsize);
    let least = DEVICE_RANGE_RESERVED + sectorsize;
    let new = match size {
        Size::Bytes(bytes) => bytes,
        Size::More(bytes) => old.checked_add(bytes).ok_or(Error::TooMuch)?,
        Size::Less(bytes) => old.saturating_sub(bytes),
        Size::Most => before,
        Size::Least { slack } => {
            fs = pack(fs, devid, options, shifted)?;
            let end = fs.chunks().device(devid)?.holes.end_of_taken(old);
            end.max(least).saturating_add(slack).min(old)
        }
    };
    let new = new - new % sectorsize;
    if new < least {
        return Err(Error::DeviceSize { devid, size: new, least, most: before });
    }
    if new < old {
        fs = leave(fs, devid, new, options, shifted)?;
    } else if new > before && is_file {
        image_of(&fs, devid)?.set_size(new)?;
    }
    let resized = resize(&fs, devid, new).and_then(|()| fs.commit());
    if let Err(error) = resized {
        if new > before && !matches!(error, Error::PartlyPublished(_)) {
            // Of two errors the first tells more.
            let _ = image_of(&fs, devid)?.set_size(before);
        }
        return Err(error);
    }
    shifted.moved.transactions += u64::from(new != old);
    if is_file && !keeps_file && new < image_of(&fs, devid)?.size() {
        image_of(&fs, devid)?.set_size(new)?;
    }
    Ok((fs, new))
}

fn image_of(fs: &Filesystem, devid: u64) -> Result<&Image> {
    let uuid = fs.chunks().device(devid)?.item.uuid;
    let device = fs.volume().devices().iter().find(|device| device.uuid() == uuid);
    device.map(Device::image).ok_or_else(|| fs.volume().missing_error(devid, uuid))
}
