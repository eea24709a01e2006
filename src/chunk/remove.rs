//! Removing empty chunks (`btrfs_remove_chunk` in fs/btrfs/volumes.c, `btrfs_remove_block_group` in
//! fs/btrfs/block-group.c).

use std::collections::BTreeSet;

use crate::disk::flags::block_group;
use crate::disk::volume::DevExtent;
use crate::disk::{Key, KeyType, Logical, Profile};
use crate::error::{Error, Result};
use crate::space::Space;
use crate::trans::{Filesystem, Handle};
use crate::volume::ChunkMapping;
use crate::volume::sys_array::BadEntry;

use super::alloc::reserve_system;
use super::array;
use super::item::{chunk_key, feature_of};

/// Why a chunk stays.
pub fn refusal(fs: &Filesystem, logical: Logical) -> Option<Error> {
    refusal_in(&fs.space(), logical)
}

fn refusal_in(space: &Space, logical: Logical) -> Option<Error> {
    let group = match space.group(logical) {
        Some(group) if !group.is_read_only => group,
        // Somebody else is removing it.
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
    let left = space.info(group.flags).left();
    if group.is_usable() && left < group.length {
        let what = if group.flags.contains(block_group::SYSTEM) { "system" } else { "metadata" };
        return Some(Error::NoSpace { what, wanted: group.length, left });
    }
    None
}

/// Removes an empty chunk. Its place on the devices is free after the commit.
pub fn remove(handle: &mut Handle<'_>, logical: Logical) -> Result<()> {
    let fs = handle.fs;
    if fs.has_space_cache(logical)? {
        return Err(Error::CachedChunk { logical });
    }
    {
        // In one step: between the two it could be taken into use, or another could go and leave this one the last.
        let mut space = fs.space();
        if let Some(error) = refusal_in(&space, logical) {
            return Err(error);
        }
        space.set_read_only(logical);
    }
    let mapping = fs.chunks().map.find(logical).cloned().ok_or(Error::NoChunk { logical })?;
    fs.verify_empty(&mapping)?;
    // Whatever fails from here on leaves the removal half done.
    let removed = delete(handle, logical, &mapping);
    if removed.is_err() {
        fs.poison();
    }
    removed
}

fn delete(handle: &mut Handle<'_>, logical: Logical, mapping: &ChunkMapping) -> Result<()> {
    let fs = handle.fs;
    // Without the lock on the chunks, which is the inner one.
    let mut devices = fs.device_tree();
    for stripe in &mapping.stripes {
        let key = Key::new(stripe.devid, KeyType::DEV_EXTENT, stripe.physical.0);
        let data = devices.find(fs, key)?;
        let extent = data.as_deref().and_then(DevExtent::read_prefix);
        if extent.is_none_or(|(extent, _)| extent.chunk() != logical || extent.length.get() != mapping.stripe_size()) {
            let problem = "disagrees with its chunk".to_owned();
            return Err(Error::Block { what: "device extent of chunk", logical, problem });
        }
        devices.edit(fs, |editor| editor.delete(key))?;
    }
    drop(devices);
    {
        let mut chunks = fs.chunks();
        reserve_system(handle, &mut chunks, mapping.profile)?;
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
            let error = |bad: BadEntry| Error::Block {
                what: "system chunk array entry",
                logical,
                problem: bad.problem.to_string(),
            };
            array::remove(&mut chunks.superblock, logical).map_err(error)?;
        }
        chunks.removed.insert(logical);
        handle.release_system();
    }
    remove_block_group(fs, logical, mapping.length)?;
    forget_feature(fs, mapping.profile);
    Ok(())
}

fn remove_block_group(fs: &Filesystem, logical: Logical, length: u64) -> Result<()> {
    fs.remove_free_space(logical, length)?;
    let key = Key::new(logical.0, KeyType::BLOCK_GROUP_ITEM, length);
    fs.block_group_items().edit(fs, |editor| editor.delete(key))?;
    fs.space().remove(logical);
    Ok(())
}

/// Clears the feature bit of a profile when its last block group went.
fn forget_feature(fs: &Filesystem, profile: Profile) {
    let Some(feature) = feature_of(profile) else { return };
    let mut chunks = fs.chunks();
    let is_used = fs.space().groups().any(|group| group.flags.profile().and_then(feature_of) == Some(feature));
    if !is_used {
        chunks.superblock.incompat_flags &= !feature;
    }
}
