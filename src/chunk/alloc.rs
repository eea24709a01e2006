//! Allocating chunks: phase 1, which does all that the chunk tree needs under its lock, and phase 2, which inserts the
//! rest of the items when the handle ends (`btrfs_chunk_alloc`, `do_chunk_alloc`, `reserve_chunk_space` and
//! `btrfs_create_pending_block_groups` in fs/btrfs/block-group.c).
//!
//! Many handles may stand between the two phases. None of them holds system space then: the promise made at the beginning of
//! phase 1 is given back at its end, so that they cannot exhaust the system chunk array together.

use zerocopy::IntoBytes;

use crate::disk::flags::block_group;
use crate::disk::volume::BlockGroupItem;
use crate::disk::{BlockGroupFlags, Key, Logical, Profile, STRIPE_LEN};
use crate::error::{Error, Result};
use crate::space::BlockGroup;
use crate::trans::{Chunks, Filesystem, Handle};
use crate::tree::edit::NewItem;
use crate::tree::reservation::to_change_chunk;
use crate::volume::chunk_items::{block_group_item, dev_extents};

use super::create::{create, create_at, insert_item};
use super::placement::Placement;

/// How much a chunk is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Force {
    /// If four fifths of the space of its type are in use.
    No,
    /// If little is left for a filesystem of this size, too.
    Limited,
    /// In any case.
    Force,
}

/// What to allocate.
#[derive(Clone, Copy, Debug)]
pub struct AllocRequest {
    /// Data, metadata or system.
    pub type_bits: u64,
    /// The profile of the other chunks of its type if nothing is said.
    pub profile: Option<Profile>,
    /// Bytes of the chunk at the most.
    pub size: Option<u64>,
    /// How much it is wanted.
    pub force: Force,
}

impl AllocRequest {
    /// Fails if no chunk can be as it is asked for, however much space there is.
    ///
    /// # Errors
    /// The profile needs more devices, or the size is less than that of a stripe.
    pub fn check(&self, fs: &Filesystem) -> Result<()> {
        let chunks = fs.chunks();
        let devices = chunks.rw_devices().count();
        let profile = profile_of(fs, &chunks, BlockGroupFlags(self.type_bits), self.profile);
        let needed = profile.geometry().devs_min;
        if devices < usize::from(needed) {
            return Err(Error::FewDevices { profile: profile.name(), needed, devices });
        }
        match self.size.filter(|size| *size < STRIPE_LEN) {
            Some(size) => Err(Error::ChunkSize { size, least: STRIPE_LEN }),
            None => Ok(()),
        }
    }
}

const METADATA: BlockGroupFlags = BlockGroupFlags(block_group::METADATA);
const SYSTEM: BlockGroupFlags = BlockGroupFlags(block_group::SYSTEM);
const MIB: u64 = 1 << 20;

/// Begins to change `items` items of trees other than the chunk tree; allocates metadata if there is not enough.
///
/// # Errors
/// [`Error::NoSpace`]
pub fn begin(fs: &Filesystem, items: u64) -> Result<Handle<'_>> {
    loop {
        let begun = begin_with_chunk(fs, items, |fs| match fs.begin_to_free(items_of_chunk(fs)) {
            // Without a promise for its items the new chunk itself has the space for them.
            Err(Error::NoSpace { .. }) => fs.begin(0),
            begun => begun,
        });
        match begun {
            Err(Error::NoSpace { .. }) if !fs.is_poisoned() && fs.space().use_degraded(METADATA) => {}
            begun => return begun,
        }
    }
}

/// As [`begin`], for allocating a chunk. One for metadata makes space itself: another one before it might leave it none.
///
/// # Errors
/// [`Error::NoSpace`]
pub fn begin_to_alloc<'f>(fs: &'f Filesystem, request: &AllocRequest, items: u64) -> Result<Handle<'f>> {
    match request.type_bits & block_group::METADATA {
        0 => begin(fs, items),
        _ => fs.begin_to_free(items).or_else(|_| begin(fs, items)),
    }
}

/// As [`begin`], for a change that only deletes items and makes space. Where there is no room for more metadata, it may have
/// what the commit keeps for itself; and where that is less than any trees might need, what these trees need.
///
/// # Errors
/// [`Error::NoSpace`]
pub fn begin_to_free(fs: &Filesystem, items: u64) -> Result<Handle<'_>> {
    // What is kept pays for a new metadata chunk, too. Where it cannot, there is none: to run out of space while its items
    // are inserted would be the end of the transaction.
    let is_space = |error: &Error| is_lack_of_space(error) && !fs.is_poisoned();
    let begun = begin_with_chunk(fs, items, |fs| fs.begin_to_free(items_of_chunk(fs)))
        .or_else(|error| if is_space(&error) { fs.begin_to_free(items) } else { Err(error) })
        .or_else(|error| if is_space(&error) { fs.begin_to_delete(items) } else { Err(error) });
    match begun {
        Err(error) if is_space(&error) => {
            begin(fs, items).map_err(|other| if is_space(&other) { error } else { other })
        }
        begun => begun,
    }
}

/// Whether an error says that there is too little space for a chunk, or for its entry in the system chunk array.
pub fn is_lack_of_space(error: &Error) -> bool {
    matches!(error, Error::NoSpace { .. } | Error::SysChunkArrayFull { .. })
}

/// Begins with a reservation, after a METADATA chunk was allocated if there was not enough; `begin_chunk` begins that.
fn begin_with_chunk<'f>(
    fs: &'f Filesystem,
    items: u64,
    begin_chunk: impl Fn(&'f Filesystem) -> Result<Handle<'f>>,
) -> Result<Handle<'f>> {
    let metadata = AllocRequest { type_bits: block_group::METADATA, profile: None, size: None, force: Force::Force };
    loop {
        let lack = match fs.begin(items) {
            Err(lack @ Error::NoSpace { .. }) => lack,
            begun => return begun,
        };
        let mut handle = begin_chunk(fs)?;
        let allocated = alloc(&mut handle, &metadata);
        // Ended in any case: an attempt that found no room has changed nothing.
        finish(handle)?;
        match allocated {
            // Others may have taken what was allocated: until there is no more, there is an end to it.
            Ok(_) => {}
            Err(Error::NoSpace { .. }) => return Err(lack),
            Err(error) => return Err(error),
        }
    }
}

/// Items that a chunk has in other trees than the chunk tree, at the most: its block group's, its free space's in a tree and
/// in a file, and a device extent for each stripe.
pub fn items_of_chunk(fs: &Filesystem) -> u64 {
    // Two stripes on one device are those of DUP.
    4 + (fs.chunks().devices.len() as u64).max(2)
}

/// Items that go with a chunk: those that [`items_of_chunk`] names, by the stripes that it has.
pub fn items_to_remove(fs: &Filesystem, logical: Logical) -> u64 {
    4 + fs.chunks().map.find(logical).map_or(0, |chunk| chunk.stripes.len() as u64)
}

/// Phase 1. Nothing if no chunk is needed, or if another thread allocated one meanwhile. An error of space leaves
/// everything as it was, but for a SYSTEM chunk that may have been allocated for the reservation.
///
/// # Errors
/// [`Error::NoSpace`] or [`Error::SysChunkArrayFull`]. After any other error the transaction cannot be committed.
pub fn alloc(handle: &mut Handle<'_>, request: &AllocRequest) -> Result<Option<Logical>> {
    let fs = handle.fs;
    if request.type_bits == block_group::SYSTEM {
        let mut chunks = fs.chunks();
        return create_system(handle, &mut chunks, request.profile, request.size).map(Some);
    }
    let flags = BlockGroupFlags(fs.space().info(BlockGroupFlags(request.type_bits)).flags);
    let mut force = request.force;
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
        // What the other handle allocates may be enough for this one too.
        force = Force::No;
        drop(fs.wait_for_chunk_alloc(space, flags));
    }
    let _allocating = Allocating { fs, flags };
    let mut chunks = fs.chunks();
    let result = alloc_locked(handle, &mut chunks, flags, request);
    handle.release_system();
    result.map(Some)
}

/// Phase 1 of a chunk at a place that is free; no other thread allocates.
///
/// # Errors
/// As those of [`alloc`].
pub fn alloc_at(
    handle: &mut Handle<'_>,
    flags: BlockGroupFlags,
    profile: Profile,
    placement: &Placement,
) -> Result<Logical> {
    let mut chunks = handle.fs.chunks();
    let bytes = of_chunk(&chunks, handle.fs, profile);
    reserve_system(handle, &mut chunks, bytes)?;
    let logical = create_at(handle, &mut chunks, flags, profile, placement)?;
    insert_item(handle.fs, &mut chunks, logical)?;
    drop(chunks);
    handle.release_system();
    Ok(logical)
}

/// A thread is allocating a chunk of this type. Others wait for its end, which a panic is, too.
struct Allocating<'f> {
    fs: &'f Filesystem,
    flags: BlockGroupFlags,
}

impl Drop for Allocating<'_> {
    fn drop(&mut self) {
        self.fs.end_chunk_alloc(self.flags);
    }
}

fn is_wanted(force: Force, total: u64, taken: u64, filesystem: u64) -> bool {
    let little = (filesystem / 100).max(64 * MIB);
    match force {
        Force::Force => true,
        Force::Limited if total.saturating_sub(taken) < little => true,
        _ => taken.saturating_add(2 * MIB) >= total / 10 * 8,
    }
}

fn alloc_locked(
    handle: &mut Handle<'_>,
    chunks: &mut Chunks,
    flags: BlockGroupFlags,
    request: &AllocRequest,
) -> Result<Logical> {
    let profile = profile_of(handle.fs, chunks, flags, request.profile);
    reserve_system(handle, chunks, of_chunk(chunks, handle.fs, profile))?;
    let logical = create(handle, chunks, flags.0, profile, request.size)?;
    insert_item(handle.fs, chunks, logical)?;
    Ok(logical)
}

/// The profile of a new chunk.
pub fn profile_of(fs: &Filesystem, chunks: &Chunks, flags: BlockGroupFlags, wanted: Option<Profile>) -> Profile {
    let rw_devices = chunks.rw_devices().count() as u64;
    wanted.unwrap_or_else(|| fs.space().info(flags).profile(rw_devices))
}

/// Bytes of system space that adding or removing a chunk of this profile may take.
pub fn of_chunk(chunks: &Chunks, fs: &Filesystem, profile: Profile) -> u64 {
    to_change_chunk(fs.volume().format().nodesize, profile, chunks.rw_devices().count() as u64)
}

/// Changes the chunk tree with `bytes` of SYSTEM space reserved, which are released at once. If they cannot be reserved
/// nothing is changed; an edit that fails leaves the transaction unable to be committed.
///
/// # Errors
/// As those of [`reserve_system`], and those of `edit`.
pub fn with_system<T>(
    handle: &mut Handle<'_>,
    chunks: &mut Chunks,
    bytes: u64,
    edit: impl FnOnce(&mut Chunks) -> Result<T>,
) -> Result<T> {
    reserve_system(handle, chunks, bytes)?;
    let edited = edit(chunks);
    handle.release_system();
    if edited.is_err() {
        handle.fs.poison();
    }
    edited
}

/// Reserves `bytes` of SYSTEM space for the handle, and allocates a SYSTEM chunk if they are not available or if a second
/// copy of all of the chunk tree would not fit. Call before the edit: an edit cannot be rolled back. Whole blocks are reserved, of groups that can be written
/// and are not read-only; a group with reserved blocks does not become read-only.
///
/// # Errors
/// [`Error::NoSpace`] or [`Error::SysChunkArrayFull`].
pub fn reserve_system(handle: &mut Handle<'_>, chunks: &mut Chunks, bytes: u64) -> Result<()> {
    let fs = handle.fs;
    let has_blocks = fs.has_system_blocks(bytes)?;
    let (needs_new, wants_new) = {
        let space = fs.space();
        let info = space.info(SYSTEM);
        (!has_blocks || info.available() < bytes, info.total < info.taken_or_reserved().saturating_add(info.used))
    };
    if needs_new || wants_new {
        match create_system(handle, chunks, None, None) {
            // What is merely wanted may be missing; any other error has a cause that does not go away.
            Err(Error::NoSpace { .. } | Error::SysChunkArrayFull { .. }) if !needs_new && !fs.is_poisoned() => {}
            Err(error) if is_lack_of_space(&error) && !fs.is_poisoned() && fs.space().use_degraded(SYSTEM) => {
                if !fs.has_system_blocks(bytes)? {
                    return Err(error);
                }
            }
            created => drop(created?),
        }
    }
    let mut space = fs.space();
    let info = space.info_mut(SYSTEM);
    if !info.reserve(bytes) {
        return Err(Error::NoSpace { what: "system", wanted: bytes, left: info.available() });
    }
    handle.system_reserved += bytes;
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
///
/// # Errors
/// The block group or device tree cannot be changed: the transaction cannot be committed then.
pub fn finish(mut handle: Handle<'_>) -> Result<()> {
    let fs = handle.fs;
    // The item of a chunk may need a system chunk, which is one more.
    while !handle.new_groups.is_empty() {
        let mut groups = std::mem::take(&mut handle.new_groups);
        groups.sort_unstable();
        if let Err(error) = insert_pending(&mut handle, &groups) {
            fs.poison();
            return Err(error);
        }
    }
    handle.end();
    Ok(())
}

/// Each tree is locked once, however many groups there are.
fn insert_pending(handle: &mut Handle<'_>, groups: &[Logical]) -> Result<()> {
    let fs = handle.fs;
    let mut tree = fs.block_group_items();
    let pending: Vec<(Logical, Key, BlockGroupItem)> = {
        let space = fs.space();
        let item = |group: &BlockGroup| {
            let (key, item) = block_group_item(group.logical, group.length, group.flags, group.used);
            (group.logical, key, item)
        };
        groups.iter().filter_map(|logical| space.group(*logical)).map(item).collect()
    };
    let items: Vec<NewItem<'_>> =
        pending.iter().map(|(_, key, item)| NewItem { key: *key, data: item.as_bytes() }).collect();
    tree.edit(fs, |editor| editor.insert_sorted(&items))?;
    drop(tree);
    let mut extents = Vec::new();
    {
        let mut chunks = fs.chunks();
        for logical in groups {
            let Some(mapping) = chunks.map.find(*logical).cloned() else { continue };
            if fs.space().group(*logical).is_some_and(|group| !group.has_chunk_item) {
                let bytes = of_chunk(&chunks, fs, mapping.profile);
                with_system(handle, &mut chunks, bytes, |chunks| insert_item(fs, chunks, *logical))?;
            }
            extents.extend(dev_extents(&mapping, fs.chunk_tree_uuid()));
        }
    }
    extents.sort_unstable_by_key(|(key, _)| *key);
    let items: Vec<NewItem<'_>> =
        extents.iter().map(|(key, extent)| NewItem { key: *key, data: extent.as_bytes() }).collect();
    fs.device_tree().edit(fs, |editor| editor.insert_sorted(&items))?;
    // Last: from here on they may be removed.
    let mut space = fs.space();
    pending.iter().for_each(|(logical, _, item)| space.set_item_used(*logical, item.used.get()));
    Ok(())
}
