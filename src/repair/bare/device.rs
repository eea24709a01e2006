//! A superblock for a device of several that has lost all of its own: the others know what the device was.

use zerocopy::IntoBytes;
use zerocopy::little_endian::U64;

use crate::block::Block;
use crate::block::verify::Expected;
use crate::disk::flags::block_group::{DATA, METADATA, SYSTEM};
use crate::disk::superblock::{SUPER_INFO_SIZE, SUPER_OFFSETS};
use crate::disk::volume::DevItem;
use crate::disk::{Logical, Physical, Transid};
use crate::error::{Error, Result};
use crate::image::Image;
use crate::tree::TreeRoot;
use crate::tree::csums::CsumRoot;
use crate::volume::{ChunkMapping, Content, Device, RootChoice, Volume, identify_other};

use super::super::fix::Fix;

/// Bytes of an image that can have a superblock.
const LEAST: u64 = SUPER_OFFSETS[0].0 + SUPER_INFO_SIZE as u64;
/// Places that are looked at for all images together, and of one stripe.
const MOST_READS: usize = 1 << 18;
const MOST_OF_STRIPE: usize = 1 << 12;
/// Blocks that are enough to tell how new a device is, and sectors that are enough to tell whether it is that device.
const ENOUGH_BLOCKS: usize = 64;
const ENOUGH_SECTORS: usize = 256;

/// Stages a superblock on each image that has none, holds no other filesystem, and has the blocks or the data of a device that the
/// filesystem of the other images lacks. Returns the fixes.
///
/// # Errors
/// An image cannot be read or staged.
pub fn stage(images: &[Image]) -> Result<Vec<Fix>> {
    let (mut lost, mut others) = (Vec::new(), Vec::new());
    for image in images {
        match Device::open(image.again()?, None) {
            Ok(_) => others.push(image.again()?),
            Err(Error::NotBtrfs { .. } | Error::Superblock { .. }) if image.size() >= LEAST => lost.push(image),
            Err(_) => return Ok(Vec::new()),
        }
    }
    if lost.is_empty() || others.is_empty() {
        return Ok(Vec::new());
    }
    // The repair itself reports a filesystem that cannot be opened.
    let Ok((volume, mut missing)) = known(&others) else { return Ok(Vec::new()) };
    let own = volume.stored_superblock();
    missing.retain(|item| {
        let is_own = item.fsid == own.fsid || item.fsid == own.metadata_fsid();
        is_own && volume.devices().iter().all(|device| device.uuid() != item.uuid)
    });
    let (mut fixes, mut budget) = (Vec::new(), MOST_READS);
    for image in lost {
        if identify_other(image)?.is_some() {
            continue;
        }
        let mut fitting = Vec::new();
        for (index, item) in missing.iter().enumerate().filter(|(_, item)| item.total_bytes.get() <= image.size()) {
            fitting.extend(newest_of(&volume, image, item, &mut budget).map(|newest| (index, newest)));
        }
        // Mirrors can lie at the same places of two devices.
        let [(index, newest)] = fitting[..] else { continue };
        let item = missing.remove(index);
        let item = DevItem { total_bytes: total_bytes(&item, image), ..item };
        write(&volume, image, &item, newest)?;
        fixes.push(Fix::DeviceSuperblock { devid: item.devid.get() });
    }
    Ok(fixes)
}

/// The filesystem of the devices that are known, and the items of all its devices. Where the chunk tree cannot be read without the lost
/// devices, the items have what the system chunk array says of the devices; the check after it finds what else is wrong with them.
fn known(others: &[Image]) -> Result<(Volume, Vec<DevItem>)> {
    let choice = RootChoice::default();
    let again = || others.iter().map(Image::again).collect::<Result<Vec<_>>>();
    if let Ok(volume) = Volume::open_at(again()?, &choice)
        && let Ok(items) = TreeRoot::chunk_tree(&volume).dev_items(&volume)
    {
        return Ok((volume, items));
    }
    let volume = Volume::open_without_chunk_tree(again()?, &choice)?;
    let superblock = volume.stored_superblock();
    let mut items: Vec<DevItem> = Vec::new();
    for stripe in volume.chunks().iter().flat_map(|chunk| &chunk.stripes) {
        if items.iter().all(|item| item.uuid != stripe.dev_uuid) {
            let own = DevItem { devid: stripe.devid.into(), uuid: stripe.dev_uuid, ..superblock.dev_item };
            items.push(DevItem { total_bytes: 0.into(), bytes_used: 0.into(), ..own });
        }
    }
    Ok((volume, items))
}

/// The size of the device in bytes. The size of the image stands for it where the device item is not known.
fn total_bytes(item: &DevItem, image: &Image) -> U64 {
    let sectorsize = u64::from(item.sector_size.get()).max(1);
    match item.total_bytes.get() {
        0 => (image.size() - image.size() % sectorsize).into(),
        _ => item.total_bytes,
    }
}

/// Writes the superblock of the others, with the item of the device and the generation of what was found on the device. A change
/// of the filesystem then judges the device as it judges any device whose superblock is behind.
fn write(volume: &Volume, image: &Image, item: &DevItem, newest: Transid) -> Result<()> {
    let mut superblock = Box::new(*volume.stored_superblock());
    superblock.bytenr = SUPER_OFFSETS[0].0.into();
    superblock.dev_item = *item;
    superblock.generation = newest.0.min(superblock.generation.get()).into();
    volume.format().csum_type.stamp(superblock.as_mut_bytes());
    image.write(SUPER_OFFSETS[0], superblock.as_bytes())
}

/// The newest generation of the blocks that an image has where the device has them, or the first one if it has data; nothing if it
/// has neither, or other data.
fn newest_of(volume: &Volume, image: &Image, item: &DevItem, budget: &mut usize) -> Option<Transid> {
    let mut buffer = vec![0; volume.format().nodesize as usize];
    let (mut newest, mut count) = (None, 0);
    for (logical, physical) in places(volume, item, METADATA | SYSTEM, buffer.len()) {
        if count == ENOUGH_BLOCKS || *budget == 0 {
            break;
        }
        *budget -= 1;
        let is_read = image.read(physical, &mut buffer).is_ok();
        if is_read && volume.format().verify(&buffer, &Expected::at(logical)).is_ok() {
            newest = newest.max(Block::new(&buffer).map(|block| block.generation()));
            count += 1;
        }
    }
    match has_data(volume, image, item, budget) {
        Some(false) => None,
        Some(true) => newest.or(Some(Transid(1))),
        None => newest,
    }
}

/// Whether most of some sectors have the data that their checksums are of; nothing where there are none with checksums.
fn has_data(volume: &Volume, image: &Image, item: &DevItem, budget: &mut usize) -> Option<bool> {
    let format = volume.format();
    let csums = CsumRoot::of(volume, &TreeRoot::root_tree(volume)).ok()?;
    let sectorsize = format.sectorsize as usize;
    let mut sector = vec![0; sectorsize];
    let (mut right, mut tried) = (0, 0);
    for (logical, physical) in places(volume, item, DATA, sectorsize) {
        if tried == ENOUGH_SECTORS || *budget == 0 {
            break;
        }
        *budget -= 1;
        let mut sum = None;
        let range = [(logical.0, logical.0.saturating_add(sectorsize as u64))];
        let _ = csums.for_each(volume, &range, |run| {
            sum = run.csums.get(..format.csum_type.size()).map(<[u8]>::to_vec);
        });
        let Some(sum) = sum else { continue };
        tried += 1;
        let is_read = image.read(physical, &mut sector).is_ok();
        right += usize::from(is_read && format.csum_type.compute(&sector).starts_with(&sum));
    }
    (tried > 0).then_some(right > tried / 2)
}

/// What lies on a device, in pieces of `size` bytes, of chunks of these types.
fn places<'v>(
    volume: &'v Volume,
    item: &DevItem,
    types: u64,
    size: usize,
) -> impl Iterator<Item = (Logical, Physical)> + use<'v> {
    let uuid = item.uuid;
    let of_types = volume.chunks().iter().filter(move |chunk| chunk.flags.0 & types != 0);
    of_types.flat_map(move |chunk| {
        let stripes = (0..).zip(&chunk.stripes).filter(move |(_, stripe)| stripe.dev_uuid == uuid);
        stripes.flat_map(move |(index, stripe)| of_stripe(chunk, index, stripe.physical, size).take(MOST_OF_STRIPE))
    })
}

fn of_stripe(
    chunk: &ChunkMapping,
    index: usize,
    start: Physical,
    size: usize,
) -> impl Iterator<Item = (Logical, Physical)> + use<'_> {
    (0..chunk.stripe_size()).step_by(size).filter_map(move |offset| match chunk.content(index, offset)? {
        Content::Data(logical) => Some((logical, start.checked_add(offset)?)),
        Content::Parity { .. } => None,
    })
}
