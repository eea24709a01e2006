//! New chunks, and their items. All of it needs the lock on [`Chunks`], and no other tree than the chunk tree.

use zerocopy::IntoBytes;

use crate::disk::fields::Uuid;
use crate::disk::flags::{block_group, incompat};
use crate::disk::volume::{Chunk, Stripe};
use crate::disk::{BlockGroupFlags, Key, KeyType, Logical, Physical, Profile, STRIPE_LEN, objectid};
use crate::error::{Error, Result};
use crate::space::{BlockGroup, without_superblocks};
use crate::trans::{Chunks, DeviceState, Filesystem, Handle};
use crate::volume::{ChunkMapping, StripeMapping};

use super::array;
use super::placement::{Limits, Offer, place};

/// Makes a chunk of this type and profile, and its block group, which can be used at once; the handle is to insert the
/// items. Without room on the devices, or for a system chunk in the array, nothing is changed.
pub fn create(
    handle: &mut Handle<'_>,
    chunks: &mut Chunks,
    type_bits: u64,
    profile: Profile,
    chunk_size: Option<u64>,
) -> Result<Logical> {
    let flags = BlockGroupFlags(type_bits | profile.geometry().bit);
    let sizes = chunks.rw_devices().map(|device| device.item.total_bytes.get());
    let total_rw_bytes = sizes.fold(0, u64::saturating_add);
    let nodesize = handle.fs.volume().format().nodesize;
    let limits = Limits { total_rw_bytes, nodesize, chunk_size };
    let wanted = limits.wanted(flags, profile);
    let offer = |device: &DeviceState| {
        let item = &device.item;
        let available = item.total_bytes.get().saturating_sub(item.bytes_used.get());
        Some(Offer { devid: item.devid.get(), available, hole: device.holes.find(wanted)? })
    };
    let offers: Vec<Offer> = chunks.rw_devices().filter_map(offer).collect();
    let left = offers.iter().map(|offer| offer.hole.length).max().unwrap_or_default();
    let least = super::placement::least(profile);
    let no_space = Error::NoSpace { what: "device", wanted: least, left };
    let placement = place(flags, profile, &limits, &offers).ok_or(no_space)?;
    if flags.contains(block_group::SYSTEM) && !array::has_room(&chunks.superblock, placement.stripes.len()) {
        return Err(Error::SystemArrayFull { stripes: placement.stripes.len() });
    }
    let logical = chunks.map.iter().last().map_or(Logical(1 << 20), ChunkMapping::end);
    let stripe = |(devid, physical): &(u64, Physical)| {
        let device = chunks.devices.iter().find(|device| device.item.devid.get() == *devid);
        stripe_struct(*devid, *physical, device.map(|device| device.item.uuid).unwrap_or_default())
    };
    let stripes: Vec<Stripe> = placement.stripes.iter().map(stripe).collect();
    let chunk = chunk_struct(handle.fs, placement.length, flags, profile, stripes.len());
    let error = |problem: String| Error::Block { what: "chunk", logical, problem };
    let mapping = ChunkMapping::new(logical, &chunk, &stripes).map_err(error)?;
    let free = without_superblocks(&mapping);
    let inserted = chunks.map.insert(mapping);
    inserted.map_err(|(_, other)| error(format!("would overlap chunk {other}")))?;
    for (devid, physical) in &placement.stripes {
        if let Some(device) = chunks.device_mut(*devid) {
            device.holes.take(*physical, placement.stripe_size);
            device.item.bytes_used += placement.stripe_size;
        }
    }
    if let Some(feature) = feature_of(profile) {
        chunks.superblock.incompat_flags |= feature;
    }
    handle.fs.space().add(BlockGroup::new(logical, placement.length, flags, free));
    handle.new_groups.push(logical);
    Ok(logical)
}

/// The feature without which no chunk may have this profile.
pub fn feature_of(profile: Profile) -> Option<u64> {
    match profile {
        Profile::Raid5 | Profile::Raid6 => Some(incompat::RAID56),
        Profile::Raid1c3 | Profile::Raid1c4 => Some(incompat::RAID1C34),
        _ => None,
    }
}

fn chunk_struct(fs: &Filesystem, length: u64, flags: BlockGroupFlags, profile: Profile, stripes: usize) -> Chunk {
    let mut chunk = Chunk::zeroed();
    chunk.length = length.into();
    chunk.owner = objectid::EXTENT_TREE.into();
    chunk.stripe_len = STRIPE_LEN.into();
    chunk.r#type = flags.0.into();
    chunk.io_align = (STRIPE_LEN as u32).into();
    chunk.io_width = (STRIPE_LEN as u32).into();
    chunk.sector_size = fs.volume().format().sectorsize.into();
    chunk.num_stripes = (stripes as u16).into();
    chunk.sub_stripes = profile.geometry().sub_stripes.into();
    chunk
}

fn stripe_struct(devid: u64, physical: Physical, dev_uuid: Uuid) -> Stripe {
    let mut stripe = Stripe::zeroed();
    (stripe.devid, stripe.offset, stripe.dev_uuid) = (devid.into(), physical.0.into(), dev_uuid);
    stripe
}

pub fn chunk_key(logical: Logical) -> Key {
    Key::new(objectid::FIRST_CHUNK_TREE, KeyType::CHUNK_ITEM, logical.0)
}

/// Inserts the item of a new chunk, brings those of its devices up to date, and adds a system chunk to the array.
///
/// The chunk exists by then: after an error the transaction cannot be committed.
pub fn insert_item(fs: &Filesystem, chunks: &mut Chunks, logical: Logical) -> Result<()> {
    let inserted = try_insert_item(fs, chunks, logical);
    if inserted.is_err() {
        fs.poison();
    }
    inserted
}

fn try_insert_item(fs: &Filesystem, chunks: &mut Chunks, logical: Logical) -> Result<()> {
    let Some(mapping) = chunks.map.find(logical).cloned() else { return Ok(()) };
    let devids: std::collections::BTreeSet<u64> = mapping.stripes.iter().map(|stripe| stripe.devid).collect();
    for devid in devids {
        chunks.update_device_item(fs, devid)?;
    }
    let chunk = chunk_struct(fs, mapping.length, mapping.flags, mapping.profile, mapping.stripes.len());
    let stripe = |stripe: &StripeMapping| stripe_struct(stripe.devid, stripe.physical, stripe.dev_uuid);
    let stripes: Vec<Stripe> = mapping.stripes.iter().map(stripe).collect();
    let data = [chunk.as_bytes(), stripes.as_bytes()].concat();
    chunks.tree.edit(fs, |editor| editor.insert(chunk_key(logical), &data))?;
    // There was room when the chunk was made, and nobody else has added to it since: the lock was held.
    if mapping.flags.contains(block_group::SYSTEM) && !array::append(&mut chunks.superblock, logical, &chunk, &stripes)
    {
        return Err(Error::SystemArrayFull { stripes: stripes.len() });
    }
    fs.space().set_has_chunk_item(logical);
    Ok(())
}
