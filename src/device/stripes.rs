//! Stripes that are given other places, each as it is: no tree but the chunk tree and the device tree knows where they lie.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use zerocopy::IntoBytes;

use crate::chunk::array;
use crate::chunk::{begin_to_free, finish, reserve_system};
use crate::disk::flags::block_group;
use crate::disk::volume::{Chunk, Stripe};
use crate::disk::{Key, KeyType, Profile};
use crate::error::{AddressProblem, Addressed, ChunkProblem, DeviceProblem, Error, Result};
use crate::relocate::{Moved, Options, damaged_files, refuse};
use crate::trans::{Chunks, DeviceState, Filesystem, Handle, Vacated};
use crate::tree::reservation::to_change_item;
use crate::volume::chunk_items::{chunk_key, structs_of};
use crate::volume::{ChunkMapping, StripeMapping};

use super::copy::{StripeMove, copy_stripes};

/// Bytes of stripes that one transaction gives other places, if it is not for a single chunk.
const TOGETHER: u64 = 16 << 30;

/// What was moved.
#[derive(Clone, Debug, Default)]
pub struct Shifted {
    /// Stripes that have another place as they are.
    pub stripes: u64,
    /// Bytes that were copied for them.
    pub bytes: u64,
    /// What was moved extent by extent. Commits, bytes that were taken from other copies and damage count here for both.
    pub moved: Moved,
}

/// What is to leave a part of a device.
#[derive(Debug, Default)]
pub struct Leaving {
    /// Stripes for which there are places, which are taken. The stripes of a chunk come one after the other.
    pub moves: Vec<StripeMove>,
    /// Chunks of which a stripe has no place.
    pub left: Vec<ChunkMapping>,
}

/// Where stripes are on a device from a byte of it on, and where they may go: below that byte first, then to the device with
/// the most room that has none of their chunk. The large ones come first.
pub fn find_places(fs: &Filesystem, devid: u64, end: u64) -> Result<Leaving> {
    let mut chunks = fs.chunks();
    let uuid = chunks.device(devid)?.item.uuid;
    let own_fsid = fs.volume().superblock().fsid;
    // Blocks have the fsid of the seed, and are written anew with that of the filesystem.
    let is_seed = fs.volume().devices().iter().any(|device| device.uuid() == uuid && device.fsid() != own_fsid);
    let reaches_behind = |chunk: &&ChunkMapping| behind(chunk, devid, end).next().is_some();
    let mut there: Vec<ChunkMapping> = chunks.map.iter().filter(reaches_behind).cloned().collect();
    there.sort_by_key(|chunk| (Reverse(chunk.stripe_size()), chunk.logical));
    let mut leaving = Leaving::default();
    let mut bytes = 0_u64;
    for chunk in there {
        let may_shift = !is_seed || chunk.flags.type_bits() == block_group::DATA;
        match may_shift.then(|| take_places(&mut chunks, &chunk, devid, end)).flatten() {
            Some(moves) => {
                bytes = bytes.saturating_add(chunk.stripe_size().saturating_mul(moves.len() as u64));
                leaving.moves.extend(moves);
            }
            None => leaving.left.push(chunk),
        }
        if bytes >= TOGETHER {
            break;
        }
    }
    Ok(leaving)
}

/// The stripes of a chunk that reach behind a byte of a device.
fn behind(chunk: &ChunkMapping, devid: u64, end: u64) -> impl Iterator<Item = usize> + use<'_> {
    let size = chunk.stripe_size();
    let is_behind = move |stripe: &StripeMapping| stripe.devid == devid && stripe.physical.0.saturating_add(size) > end;
    (0..).zip(&chunk.stripes).filter(move |(_, stripe)| is_behind(stripe)).map(|(index, _)| index)
}

fn take_places(chunks: &mut Chunks, chunk: &ChunkMapping, devid: u64, end: u64) -> Option<Vec<StripeMove>> {
    let has_stripe = |device: &DeviceState| chunk.stripes.iter().any(|stripe| stripe.devid == device.item.devid.get());
    let room = |device: &DeviceState| device.item.total_bytes.get().saturating_sub(device.item.bytes_used.get());
    let mut others: Vec<(u64, u64)> = chunks
        .rw_devices()
        .filter(|device| !has_stripe(device))
        .map(|device| (room(device), device.item.devid.get()))
        .collect();
    others.sort_by_key(|(room, devid)| (Reverse(*room), *devid));
    let here = behind(chunk, devid, end).collect::<Vec<_>>();
    // Copies on one device stay together.
    let all = behind(chunk, devid, 0).collect::<Vec<_>>();
    take_places_on(chunks, chunk, devid, &here)
        .or_else(|| others.into_iter().find_map(|(_, other)| take_places_on(chunks, chunk, other, &all)))
}

/// Takes places for some stripes of a chunk on a device; none if there is not room for all.
pub fn take_places_on(
    chunks: &mut Chunks,
    chunk: &ChunkMapping,
    devid: u64,
    indexes: &[usize],
) -> Option<Vec<StripeMove>> {
    let device = chunks.device_mut(devid).filter(|device| device.is_writable)?;
    let (mut holes, size) = (device.holes.clone(), chunk.stripe_size());
    let mut moves = Vec::with_capacity(indexes.len());
    for index in indexes {
        let physical = holes.find_apart(size)?;
        holes.take(physical, size);
        let to = StripeMapping { devid, dev_uuid: device.item.uuid, physical };
        moves.push(StripeMove { logical: chunk.logical, index: *index, to });
    }
    device.holes = holes;
    Some(moves)
}

/// Gives stripes their new places in one transaction, and returns the filesystem as it is then. A crash leaves all where they
/// were, or none.
///
/// # Errors
/// What cannot be read from any copy and is not known to be bad, no space, what cannot be written: nothing has changed, but for
/// [`Error::PartlyPublished`].
pub fn shift(
    mut fs: Filesystem,
    moves: &[StripeMove],
    options: &Options<'_>,
    shifted: &mut Shifted,
) -> Result<Filesystem> {
    refuse(fs.volume())?;
    // Those that lie at the same place of another disk are only copied.
    let has_moved = |one: &&StripeMove| {
        let chunks = fs.chunks();
        let from = chunks.map.find(one.logical).and_then(|chunk| chunk.stripes.get(one.index));
        from != Some(&one.to)
    };
    let moved: Vec<StripeMove> = moves.iter().filter(has_moved).copied().collect();
    for of_chunk in moved.chunk_by(|one, next| one.logical == next.logical) {
        let mut handle = begin_to_free(&fs, 2 * of_chunk.len() as u64)?;
        let edited = edit(&mut handle, of_chunk);
        if edited.is_err() {
            fs.poison();
        }
        finish(handle)?;
        edited?;
    }
    fs.flush()?;
    // Whatever lacks room has said so before the first byte is copied.
    let copied = copy_stripes(&fs, moves, options)?;
    let lost = damaged_files(fs.volume(), &copied.lost, options.threads)?;
    fs.commit()?;
    shifted.stripes += moves.len() as u64;
    shifted.bytes += copied.bytes;
    shifted.moved.transactions += 1;
    shifted.moved.healed_bytes += copied.healed;
    shifted.moved.damaged.extend(lost);
    // Which block groups can be written is another matter now.
    fs.abandon()
}

fn edit(handle: &mut Handle<'_>, moves: &[StripeMove]) -> Result<()> {
    let fs = handle.fs;
    let Some(logical) = moves.first().map(|first| first.logical) else { return Ok(()) };
    let format = fs.volume().format();
    let mut device_tree = fs.device_tree();
    let mut chunks = fs.chunks();
    let old = chunks.map.find(logical).cloned().ok_or(Error::NoChunk { logical })?;
    let new = moves.iter().fold(old.clone(), |chunk, StripeMove { index, to, .. }| chunk.with_stripe(*index, *to));
    let devids: BTreeSet<u64> = old.stripes.iter().chain(&new.stripes).map(|stripe| stripe.devid).collect();
    let bytes = to_change_item(format.nodesize).saturating_mul(1 + devids.len() as u64);
    reserve_system(handle, &mut chunks, bytes)?;

    let key = |stripe: &StripeMapping| Key::new(stripe.devid, KeyType::DEV_EXTENT, stripe.physical.0);
    let error = |problem| Error::Block { what: Addressed::Chunk, logical, problem };
    let mut extents = Vec::with_capacity(moves.len());
    for StripeMove { index, to, .. } in moves {
        let from = old.stripes.get(*index).copied().ok_or(Error::NoChunk { logical })?;
        let extent = device_tree.find(fs, key(&from))?;
        extents.push((*to, extent.ok_or_else(|| error(AddressProblem::NoDevExtent))?));
        device_tree.edit(fs, |editor| editor.delete(key(&from)))?;
        take_from(&mut chunks, &from, old.stripe_size());
    }
    for (to, extent) in extents {
        device_tree.edit(fs, |editor| editor.insert(key(&to), &extent))?;
        if let Some(device) = chunks.device_mut(to.devid) {
            device.item.bytes_used += old.stripe_size();
        }
    }
    let (_, stripes) = structs_of(&new, format.sectorsize);
    chunks.tree.edit(fs, |editor| {
        let data = editor.data_mut(chunk_key(logical))?;
        let start = size_of::<Chunk>();
        let stripes_of_item = data.get_mut(start..start + size_of::<Stripe>() * stripes.len());
        stripes_of_item.ok_or_else(|| error(ChunkProblem::TooShort.into()))?.copy_from_slice(stripes.as_bytes());
        Ok(())
    })?;
    devids.into_iter().try_for_each(|devid| chunks.update_device_item(fs, devid))?;
    if new.flags.contains(block_group::SYSTEM) {
        array::set_stripes(&mut chunks.superblock, logical, &stripes).map_err(|bad| Error::Block {
            what: Addressed::SysChunk,
            logical,
            problem: bad.problem.into(),
        })?;
    }
    chunks.map.retain(|chunk| chunk.logical != logical);
    chunks.map.insert(new).map_err(|(_, logical)| Error::NoChunk { logical })?;
    drop(chunks);
    handle.release_system();
    Ok(())
}

/// A stripe leaves its place, which is free after the commit.
fn take_from(chunks: &mut Chunks, from: &StripeMapping, length: u64) {
    let Some(device) = chunks.device_mut(from.devid) else { return };
    device.item.bytes_used = device.item.bytes_used.get().saturating_sub(length).into();
    // Another disk that takes the place of the device never had it there.
    if device.image.is_none() {
        chunks.vacated.push(Vacated { dev_uuid: from.dev_uuid, physical: from.physical, length });
    }
}

/// Moves towards the beginning of a device: its last stripes to the lowest places that they fit into, until one fits nowhere.
/// The places are taken.
pub fn find_lower_places(fs: &Filesystem, devid: u64) -> Result<Vec<StripeMove>> {
    let mut chunks = fs.chunks();
    let of_chunk = |chunk: &ChunkMapping| {
        let (logical, size) = (chunk.logical, chunk.stripe_size());
        let stripes = (0..).zip(chunk.stripes.clone()).filter(|(_, stripe)| stripe.devid == devid);
        stripes.map(move |(index, stripe)| (stripe.physical, size, logical, index)).collect::<Vec<_>>()
    };
    let mut stripes: Vec<_> = chunks.map.iter().flat_map(of_chunk).collect();
    stripes.sort_by_key(|(physical, ..)| Reverse(*physical));
    let device = chunks.device_mut(devid).filter(|device| device.is_writable);
    let device = device.ok_or(Error::Device { devid, problem: DeviceProblem::NotWritten })?;
    let mut moves = Vec::new();
    for (from, size, logical, index) in stripes {
        let Some(physical) = device.holes.find_apart(size).filter(|to| *to < from) else { break };
        device.holes.take(physical, size);
        moves.push(StripeMove { logical, index, to: StripeMapping { devid, dev_uuid: device.item.uuid, physical } });
    }
    moves.sort_by_key(|one| (one.logical, one.index));
    Ok(moves)
}

/// Whether all of a chunk lies on one device, so that it has the same profile wherever it goes.
pub fn is_on_one_device(chunk: &ChunkMapping) -> bool {
    matches!(chunk.profile, Profile::Single | Profile::Dup)
        && chunk.stripes.windows(2).all(|pair| pair[0].devid == pair[1].devid)
}
