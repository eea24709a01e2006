//! New chunks, and their items. All of it needs the lock on [`Chunks`], and no other tree than the chunk tree.

use crate::disk::flags::block_group;
use crate::disk::{BlockGroupFlags, Logical, Profile};
use crate::error::{Addressed, ChunkProblem, Error, Result};
use crate::space::{BlockGroup, without_excluded};
use crate::trans::{Chunks, DeviceState, Filesystem, Handle};
use crate::volume::chunk_items::{chunk_item, chunk_key, new_chunk, structs_of};
use crate::volume::{ChunkMapping, sys_chunk_array};

use super::array;
use super::placement::{Limits, Placement, STRIPE_ALIGNMENT, place_on};

/// What bounds the size of a new chunk of the filesystem as it is now.
pub fn limits(fs: &Filesystem, chunks: &Chunks) -> Limits {
    let sizes = chunks.rw_devices().map(|device| device.item.total_bytes.get());
    Limits {
        total_rw_bytes: sizes.fold(0, u64::saturating_add),
        nodesize: fs.volume().format().nodesize,
        array_room: sys_chunk_array::room(&chunks.superblock),
        chunk_size: None,
        alignment: STRIPE_ALIGNMENT,
    }
}

/// Makes a chunk of this type and profile, and its block group, which can be used at once; the handle is to insert the
/// items. Without room on the devices, or for a system chunk in the array, nothing is changed.
///
/// # Errors
/// [`Error::NoSpace`] or [`Error::SysChunkArrayFull`].
pub fn create(
    handle: &mut Handle<'_>,
    chunks: &mut Chunks,
    type_bits: u64,
    profile: Profile,
    chunk_size: Option<u64>,
) -> Result<Logical> {
    let flags = BlockGroupFlags(type_bits | profile.geometry().bit);
    let limits = Limits { chunk_size, ..limits(handle.fs, chunks) };
    let devices = chunks.rw_devices().map(|DeviceState { item, holes, .. }| {
        (item.devid.get(), item.total_bytes.get().saturating_sub(item.bytes_used.get()), holes)
    });
    let geometry = profile.geometry();
    let narrowest = usize::from(geometry.devs_min * geometry.dev_stripes);
    if flags.contains(block_group::SYSTEM) && narrowest > sys_chunk_array::max_stripes(limits.array_room) {
        return Err(Error::SysChunkArrayFull { stripes: narrowest });
    }
    let placement = place_on(flags, profile, &limits, devices)?;
    create_at(handle, chunks, flags, profile, &placement)
}

/// As [`create`], at a place that is free.
///
/// # Errors
/// The chunk would make no sense.
pub fn create_at(
    handle: &mut Handle<'_>,
    chunks: &mut Chunks,
    flags: BlockGroupFlags,
    profile: Profile,
    placement: &Placement,
) -> Result<Logical> {
    let logical = chunks.map.iter().last().map_or(Logical(1 << 20), ChunkMapping::end);
    let uuid_of = |devid: u64| {
        let device = chunks.devices.iter().find(|device| device.item.devid.get() == devid);
        device.map(|device| device.item.uuid).unwrap_or_default()
    };
    let sectorsize = handle.fs.volume().format().sectorsize;
    let mapping = new_chunk(logical, placement.length, &placement.stripes, flags, profile, sectorsize, uuid_of)?;
    let free = without_excluded(&mapping);
    let group = BlockGroup::new(logical, placement.length, flags, free).in_rows_of(&mapping);
    let inserted = chunks.map.insert(mapping);
    inserted.map_err(|(_, other)| Error::Block {
        what: Addressed::Chunk,
        logical,
        problem: ChunkProblem::Overlaps { other }.into(),
    })?;
    for (devid, physical) in &placement.stripes {
        if let Some(device) = chunks.device_mut(*devid) {
            device.holes.take(*physical, placement.stripe_size);
            device.item.bytes_used += placement.stripe_size;
        }
    }
    if let Some(feature) = profile.feature() {
        chunks.superblock.incompat_flags |= feature;
    }
    handle.fs.space().add(group);
    handle.new_groups.push(logical);
    Ok(logical)
}

/// Inserts the item of a new chunk, brings those of its devices up to date, and adds a system chunk to the array.
///
/// The chunk exists by then: after an error the transaction cannot be committed.
///
/// # Errors
/// The chunk tree cannot be changed, or the array is full.
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
    let sectorsize = fs.volume().format().sectorsize;
    let (chunk, stripes) = structs_of(&mapping, sectorsize);
    let data = chunk_item(&mapping, sectorsize);
    chunks.tree.edit(fs, |editor| editor.insert(chunk_key(logical), &data))?;
    // There was room when the chunk was made, and no other thread has added to it since: the lock was held.
    if mapping.flags.contains(block_group::SYSTEM) && !array::append(&mut chunks.superblock, logical, &chunk, &stripes)
    {
        return Err(Error::SysChunkArrayFull { stripes: stripes.len() });
    }
    fs.space().set_has_chunk_item(logical);
    Ok(())
}
