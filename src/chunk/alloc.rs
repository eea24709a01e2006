//! Allocating chunks: phase 1, which does all that the chunk tree needs under its lock, and phase 2, which inserts the
//! rest of the items when the handle ends (`btrfs_chunk_alloc`, `do_chunk_alloc`, `reserve_chunk_space` and
//! `btrfs_create_pending_block_groups` in fs/btrfs/block-group.c).
//!
//! Many handles may stand between the two phases. None of them holds system space then: the promise made at the beginning of
//! phase 1 is given back at its end, so that they cannot exhaust the system chunk array together.

use zerocopy::IntoBytes;

use crate::disk::flags::block_group;
use crate::disk::{BlockGroupFlags, Logical, Profile};
use crate::error::{Error, Result};
use crate::trans::{Chunks, Filesystem, Handle};

use super::create::{create, insert_item};
use super::item::{block_group_item, dev_extents};
use super::reservation::to_change_chunk;

/// How much a chunk is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Force {
    /// If four fifths of the space of its type are in use.
    No,
    /// If little is left for a filesystem of this size, too.
    Limited,
    Force,
}

/// What to allocate.
#[derive(Clone, Copy, Debug)]
pub struct Wish {
    /// Data, metadata or system.
    pub type_bits: u64,
    /// The profile of the other chunks of its type if nothing is said.
    pub profile: Option<Profile>,
    /// Bytes of the chunk at the most.
    pub size: Option<u64>,
    pub force: Force,
}

const SYSTEM: BlockGroupFlags = BlockGroupFlags(block_group::SYSTEM);
const MIB: u64 = 1 << 20;

/// Begins to change `items` items of trees other than the chunk tree; allocates metadata if there is not enough.
pub fn begin(fs: &Filesystem, items: u64) -> Result<Handle<'_>> {
    let metadata = Wish { type_bits: block_group::METADATA, profile: None, size: None, force: Force::Force };
    loop {
        match fs.begin(items) {
            Err(Error::NoSpace { .. }) => {}
            begun => return begun,
        }
        let mut handle = fs.begin(0)?;
        let allocated = alloc(&mut handle, &metadata);
        // Ended in any case: an attempt that found no room has changed nothing.
        finish(handle)?;
        // Others may have taken what was allocated: until there is no more, there is an end to it.
        allocated?;
    }
}

/// Items that a chunk has in other trees than the chunk tree, at the most: its block group's, its free space's, and a device
/// extent for each stripe.
pub fn items_of_chunk(fs: &Filesystem) -> u64 {
    // Two stripes on one device are those of DUP.
    3 + (fs.chunks().devices.len() as u64).max(2)
}

/// Phase 1. Nothing if no chunk is needed, or if another thread allocated one meanwhile. An error of space leaves
/// everything as it was.
pub fn alloc(handle: &mut Handle<'_>, wish: &Wish) -> Result<Option<Logical>> {
    let fs = handle.fs;
    if wish.type_bits == block_group::SYSTEM {
        let mut chunks = fs.chunks();
        return create_system(handle, &mut chunks, wish.profile, wish.size).map(Some);
    }
    let flags = BlockGroupFlags(fs.space().info(BlockGroupFlags(wish.type_bits)).flags);
    let mut force = wish.force;
    loop {
        let mut space = fs.space();
        let info = space.info_mut(flags);
        let is_wanted = is_wanted(force, info.total, info.taken(), fs.volume().superblock().total_bytes.get());
        if !is_wanted {
            return Ok(None);
        }
        if !info.chunk_alloc {
            info.chunk_alloc = true;
            break;
        }
        drop(space);
        // Another one is at it: what it allocates may be enough for this one too.
        force = Force::No;
        drop(fs.chunks());
        std::thread::yield_now();
    }
    let result = {
        let mut chunks = fs.chunks();
        let result = alloc_locked(handle, &mut chunks, flags, wish);
        handle.release_system();
        result
    };
    fs.space().info_mut(flags).chunk_alloc = false;
    result.map(Some)
}

fn is_wanted(force: Force, total: u64, taken: u64, filesystem: u64) -> bool {
    let little = (filesystem / 100).max(64 * MIB);
    match force {
        Force::Force => true,
        Force::Limited if total.saturating_sub(taken) < little => true,
        _ => taken.saturating_add(2 * MIB) >= total / 10 * 8,
    }
}

fn alloc_locked(handle: &mut Handle<'_>, chunks: &mut Chunks, flags: BlockGroupFlags, wish: &Wish) -> Result<Logical> {
    let profile = profile_of(handle.fs, chunks, flags, wish.profile);
    reserve_system(handle, chunks, profile)?;
    let logical = create(handle, chunks, flags.0, profile, wish.size)?;
    insert_item(handle.fs, chunks, logical)?;
    Ok(logical)
}

fn profile_of(fs: &Filesystem, chunks: &Chunks, flags: BlockGroupFlags, wanted: Option<Profile>) -> Profile {
    let rw_devices = chunks.rw_devices().count() as u64;
    wanted.unwrap_or_else(|| fs.space().info(flags).profile(rw_devices))
}

/// Promises the handle what changing a chunk of this profile may take of the system space, and makes a system chunk if that
/// is not there or if a second copy of all of the chunk tree would not fit. Nothing is begun that has no promise: an
/// edit that runs out of space in the middle cannot be taken back.
pub fn reserve_system(handle: &mut Handle<'_>, chunks: &mut Chunks, profile: Profile) -> Result<()> {
    let fs = handle.fs;
    let bytes = to_change_chunk(fs.volume().format().nodesize, profile, chunks.rw_devices().count() as u64);
    let (needs_new, wants_new) = {
        let space = fs.space();
        let info = space.info(SYSTEM);
        (info.left() < bytes, info.total < info.taken_or_promised().saturating_add(info.used))
    };
    if needs_new || wants_new {
        match create_system(handle, chunks, None, None) {
            // What is merely wanted may be missing; any other error has a cause that does not go away.
            Err(Error::NoSpace { .. } | Error::SystemArrayFull { .. }) if !needs_new && !fs.is_poisoned() => {}
            created => drop(created?),
        }
    }
    let mut space = fs.space();
    let info = space.info_mut(SYSTEM);
    if !info.reserve(bytes) {
        return Err(Error::NoSpace { what: "system", wanted: bytes, left: info.left() });
    }
    handle.system_promised += bytes;
    Ok(())
}

/// A system chunk, with its item and its entry in the array.
fn create_system(
    handle: &mut Handle<'_>,
    chunks: &mut Chunks,
    profile: Option<Profile>,
    size: Option<u64>,
) -> Result<Logical> {
    let profile = profile_of(handle.fs, chunks, SYSTEM, profile);
    let logical = create(handle, chunks, block_group::SYSTEM, profile, size)?;
    insert_item(handle.fs, chunks, logical)?;
    Ok(logical)
}

/// Phase 2 and the end of the handle: inserts the block group items and device extents of its new chunks.
pub fn finish(mut handle: Handle<'_>) -> Result<()> {
    let fs = handle.fs;
    for logical in std::mem::take(&mut handle.new_groups) {
        if let Err(error) = insert_pending(fs, logical) {
            fs.poison();
            return Err(error);
        }
    }
    handle.end();
    Ok(())
}

fn insert_pending(fs: &Filesystem, logical: Logical) -> Result<()> {
    let mut items = fs.block_group_items();
    let Some((length, flags, used, has_chunk_item)) =
        fs.space().group(logical).map(|group| (group.length, group.flags, group.used, group.has_chunk_item))
    else {
        return Ok(());
    };
    let (key, item) = block_group_item(logical, length, flags, used);
    items.edit(fs, |editor| editor.insert(key, item.as_bytes()))?;
    drop(items);
    let mapping = {
        let mut chunks = fs.chunks();
        if !has_chunk_item {
            insert_item(fs, &mut chunks, logical)?;
        }
        chunks.map.find(logical).cloned()
    };
    let Some(mapping) = mapping else { return Ok(()) };
    let mut devices = fs.device_tree();
    for (key, extent) in dev_extents(&mapping, fs.chunk_tree_uuid()) {
        devices.edit(fs, |editor| editor.insert(key, extent.as_bytes()))?;
    }
    // Last: from here on it may be removed.
    fs.space().set_item_used(logical, used);
    Ok(())
}
