//! Removing empty chunks (`btrfs_remove_chunk` in fs/btrfs/volumes.c, `btrfs_remove_block_group` in
//! fs/btrfs/block-group.c).

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use crate::disk::flags::block_group;
use crate::disk::volume::DevExtent;
use crate::disk::{Key, KeyType, Logical, Profile};
use crate::error::{AddressProblem, Addressed, Error, Result};
use crate::space::{BlockGroup, Space};
use crate::sync::MutexGuard;
use crate::trans::{Chunks, Filesystem, Handle};
use crate::volume::chunk_items::chunk_key;
use crate::volume::sys_chunk_array::BadEntry;
use crate::volume::{ChunkMapping, StripeMapping};

use super::alloc::{of_chunk, reserve_system};
use super::array;

/// Why a chunk stays.
pub fn refusal(fs: &Filesystem, logical: Logical) -> Option<Error> {
    refusal_in(&fs.space(), logical)
}

fn refusal_in(space: &Space, logical: Logical) -> Option<Error> {
    let group = match space.group(logical) {
        Some(group) if !group.is_read_only => group,
        // Another thread is removing it.
        _ => return Some(Error::NoChunk { logical }),
    };
    // A new one is in use until the handle that made it has inserted its items.
    if group.used > 0 || group.pinned() > 0 || group.item_used.is_none() {
        return Some(Error::ChunkInUse { logical, used: group.used });
    }
    // Two are enough to know: most stay.
    if space.groups_of(group.flags).filter(|other| !other.is_read_only).take(2).count() < 2 {
        return Some(Error::LastChunk { logical });
    }
    // What was promised out of its space must be there without it.
    let left = space.info(group.flags).available();
    if group.is_usable() && left < group.length {
        let what = if group.flags.contains(block_group::SYSTEM) { "system" } else { "metadata" };
        return Some(Error::NoSpace { what, wanted: group.length, left });
    }
    None
}

/// The empty chunks with any of these type bits of which the filesystem has no need, in the order in which they go. Of each
/// profile of each type one chunk stays, in front if it may be any: new chunks have the profiles of those that there are
/// (`list_is_singular` in `btrfs_delete_unused_bgs` in fs/btrfs/block-group.c).
pub fn unused(fs: &Filesystem, type_bits: u64) -> Vec<Logical> {
    let space = fs.space();
    let mut alike: BTreeMap<u64, Vec<&BlockGroup>> = BTreeMap::new();
    let groups = space.groups().filter(|group| group.flags.0 & type_bits != 0 && !group.is_read_only);
    groups.for_each(|group| alike.entry(group.flags.0).or_default().push(group));
    let mut unused = Vec::new();
    for groups in alike.into_values() {
        let mut empty: Vec<Logical> =
            groups.iter().filter(|group| group.used == 0).map(|group| group.logical).collect();
        empty.sort_unstable();
        let stays = usize::from(empty.len() == groups.len());
        unused.extend(empty.drain(stays..));
    }
    unused.sort_unstable_by_key(|logical| Reverse(*logical));
    unused
}

/// Removes an empty chunk. Its place on the devices is free after the commit. What is refused, for want of system space or
/// because something disagrees, leaves everything as it was.
///
/// # Errors
/// There is no such chunk, it is in use or the last of its type, or its items disagree.
pub fn remove(handle: &mut Handle<'_>, logical: Logical) -> Result<()> {
    let fs = handle.fs;
    {
        // Both locks are held from the check to the set: no allocation, no removal of the last chunk of the type and no
        // reservation of system space can come between.
        let _chunks = fs.chunks();
        let mut space = fs.space();
        if let Some(error) = refusal_in(&space, logical) {
            return Err(error);
        }
        space.set_read_only(logical);
    }
    let begun = verify(fs, logical).and_then(|mapping| {
        let mut chunks = fs.chunks();
        let bytes = of_chunk(&chunks, fs, mapping.profile);
        reserve_system(handle, &mut chunks, bytes)?;
        Ok((mapping, chunks))
    });
    let (mapping, chunks) = begun.inspect_err(|_| fs.space().set_read_write(logical))?;
    // Whatever fails from here on leaves the removal half done.
    let removed = delete(handle, chunks, &mapping);
    if removed.is_err() {
        fs.poison();
    }
    removed
}

fn extent_key(stripe: &StripeMapping) -> Key {
    Key::new(stripe.devid, KeyType::DEV_EXTENT, stripe.physical.0)
}

/// The chunk, if it is empty and its device extents are as they should be.
fn verify(fs: &Filesystem, logical: Logical) -> Result<ChunkMapping> {
    let mapping = fs.chunks().map.find(logical).cloned().ok_or(Error::NoChunk { logical })?;
    fs.verify_empty(&mapping)?;
    let mut devices = fs.device_tree();
    for stripe in &mapping.stripes {
        let data = devices.find(fs, extent_key(stripe))?;
        let extent = data.as_deref().and_then(DevExtent::read_prefix);
        if extent.is_none_or(|(extent, _)| extent.chunk() != logical || extent.length.get() != mapping.stripe_size()) {
            return Err(Error::Block { what: Addressed::DevExtent, logical, problem: AddressProblem::Disagrees });
        }
    }
    Ok(mapping)
}

/// Deletes all items of a chunk: those that SYSTEM space was reserved for first, and the others without the lock on
/// the chunks, which is the inner one.
fn delete(handle: &mut Handle<'_>, mut chunks: MutexGuard<'_, Chunks>, mapping: &ChunkMapping) -> Result<()> {
    let (fs, logical) = (handle.fs, mapping.logical);
    for stripe in &mapping.stripes {
        if let Some(device) = chunks.device_mut(stripe.devid) {
            let used = device.item.bytes_used.get().saturating_sub(mapping.stripe_size());
            device.item.bytes_used = used.into();
        }
    }
    let devids: BTreeSet<u64> = mapping.stripes.iter().map(|stripe| stripe.devid).collect();
    for devid in devids {
        chunks.update_device_item(fs, devid)?;
    }
    chunks.tree.edit(fs, |editor| editor.delete(chunk_key(logical)))?;
    if mapping.flags.contains(block_group::SYSTEM) {
        let error = |bad: BadEntry| Error::Block { what: Addressed::SysChunk, logical, problem: bad.problem.into() };
        array::remove(&mut chunks.superblock, logical).map_err(error)?;
    }
    chunks.removed.insert(logical);
    handle.release_system();
    drop(chunks);
    {
        let mut devices = fs.device_tree();
        for stripe in &mapping.stripes {
            devices.edit(fs, |editor| editor.delete(extent_key(stripe)))?;
        }
    }
    remove_block_group(fs, logical, mapping.length)?;
    forget_feature(fs, mapping.profile);
    Ok(())
}

fn remove_block_group(fs: &Filesystem, logical: Logical, length: u64) -> Result<()> {
    // First: a thread that brings its items up to date meanwhile finds that there is no such group.
    fs.space().remove(logical);
    fs.remove_space_cache(logical)?;
    fs.remove_free_space(logical, length)?;
    let key = Key::new(logical.0, KeyType::BLOCK_GROUP_ITEM, length);
    fs.block_group_items().edit(fs, |editor| editor.delete(key))
}

/// Clears the feature bit of a profile when its last block group went.
fn forget_feature(fs: &Filesystem, profile: Profile) {
    let Some(feature) = profile.feature() else { return };
    let mut chunks = fs.chunks();
    let is_used = fs.space().groups().any(|group| group.flags.profile().and_then(Profile::feature) == Some(feature));
    if !is_used {
        chunks.superblock.incompat_flags &= !feature;
    }
}
