//! Replacing a device (`btrfs_dev_replace_start` in fs/btrfs/dev-replace.c).

use std::path::Path;

use crate::chunk::{begin_to_free, finish, with_system};
use crate::disk::Physical;
use crate::disk::volume::{DEVICE_RANGE_RESERVED, DevItem};
use crate::error::{DeviceProblem, Error, Result};
use crate::image::Image;
use crate::relocate::Options;
use crate::space::Holes;
use crate::trans::{Chunks, DeviceState, Filesystem};
use crate::tree::reservation::to_change_item;
use crate::volume::{ChunkMapping, StripeMapping, wipe};

use super::add::{Occupied, open};
use super::copy::StripeMove;
use super::leave::leave;
use super::stripes::{Shifted, shift};
use super::totals::{delete_stats, update_totals};

/// Gives the place of a device, which may be missing, to the image or block device at `path`: the new one has its id and its
/// uuid, as in the kernel, which knows devices that were missing by both. Stripes lie where they lay; what lies behind the end of
/// a smaller device is moved elsewhere before, in transactions of its own. A larger one is used as far as the other was. All
/// else is one commit, which wipes the superblocks of the old device last. Also returns the bytes of the new device.
///
/// # Errors
/// As those of [`super::add`], [`leave`]; what cannot be copied; a seed, which stays.
pub fn replace(
    mut fs: Filesystem,
    devid: u64,
    path: &Path,
    occupied: Occupied,
    options: &Options<'_>,
    shifted: &mut Shifted,
) -> Result<(Filesystem, u64)> {
    let image = open(&fs, path, occupied)?;
    let old = fs.chunks().device(devid)?.item;
    if fs.volume().devices().iter().any(|device| device.uuid() == old.uuid && device.is_seed()) {
        return Err(Error::Device { devid, problem: DeviceProblem::Seed });
    }
    let sectorsize = u64::from(fs.volume().format().sectorsize);
    let has = image.size() - image.size() % sectorsize;
    if has < DEVICE_RANGE_RESERVED + sectorsize {
        return Err(Error::TooSmall { path: path.to_owned(), wanted: DEVICE_RANGE_RESERVED + sectorsize, has });
    }
    let size = old.total_bytes.get().min(has);
    fs = leave(fs, devid, size, options, shifted)?;
    let old = fs.chunks().device(devid)?.item;
    // From here on it is written to.
    wipe(&image)?;
    let moves = take_over(&fs, &old, image, size)?;
    Ok((shift(fs, &moves, options, shifted)?, size))
}

/// The new device takes the place of the old one, and its stripes.
fn take_over(fs: &Filesystem, old: &DevItem, image: Image, size: u64) -> Result<Vec<StripeMove>> {
    let devid = old.devid.get();
    let mut handle = begin_to_free(fs, 1)?;
    let taken = {
        let mut device_tree = fs.device_tree();
        let mut chunks = fs.chunks();
        find_same_places(&chunks, old, size).and_then(|(moves, holes)| {
            let item = DevItem { total_bytes: size.into(), ..*old };
            if let Some(device) = chunks.device_mut(devid) {
                *device = DeviceState { item, holes, is_writable: true, image: Some(image) };
            }
            update_totals(&mut chunks, 0, old.total_bytes.get(), size);
            let bytes = to_change_item(fs.volume().format().nodesize);
            with_system(&mut handle, &mut chunks, bytes, |chunks| chunks.update_device_item(fs, devid))?;
            drop(chunks);
            delete_stats(fs, &mut device_tree, devid)?;
            Ok(moves)
        })
    };
    finish(handle)?;
    taken
}

/// The stripes of a device at the same places of another one, and what is free of that. Where superblocks and boot loaders are
/// nothing is put.
fn find_same_places(chunks: &Chunks, old: &DevItem, size: u64) -> Result<(Vec<StripeMove>, Holes)> {
    let (devid, dev_uuid) = (old.devid.get(), old.uuid);
    let mut holes = Holes::of_device(size);
    let (mut moves, mut others) = (Vec::new(), Vec::new());
    let place = |chunk: &ChunkMapping, index, physical| StripeMove {
        logical: chunk.logical,
        index,
        to: StripeMapping { devid, dev_uuid, physical },
    };
    for chunk in chunks.map.iter() {
        let stripes = (0..).zip(&chunk.stripes).filter(|(_, stripe)| stripe.devid == devid);
        for (index, stripe) in stripes {
            if stripe.physical >= Physical(DEVICE_RANGE_RESERVED) {
                holes.take(stripe.physical, chunk.stripe_size());
                moves.push(place(chunk, index, stripe.physical));
            } else {
                others.push((chunk, index));
            }
        }
    }
    for (chunk, index) in others {
        let length = chunk.stripe_size();
        let physical = holes.find_apart(length);
        let left = || holes.find(length).map_or(0, |hole| hole.length);
        let physical = physical.ok_or_else(|| Error::NoSpace { what: "device", wanted: length, left: left() })?;
        holes.take(physical, length);
        moves.push(place(chunk, index, physical));
    }
    moves.sort_by_key(|one| (one.logical, one.index));
    Ok((moves, holes))
}
