//! A chunk tree made anew, where it is lost and no former one is there.

use std::collections::BTreeMap;

use zerocopy::IntoBytes;

use crate::chunk::array;
use crate::disk::flags::block_group::SYSTEM;
use crate::disk::{Logical, Superblock, Transid, objectid};
use crate::error::{Error, Result};
use crate::image::Image;
use crate::rebuild::{OutlineStore, PlacedStore, chunk_tree_items};
use crate::space::without_excluded;
use crate::table::MemoryBudget;
use crate::tree::build::{Builder, BuiltBlock, BuiltTree, NewTree, Store};
use crate::volume::{ChunkMap, RootChoice, Staged, Volume, WritableVolume};

use super::super::fix::Fix;
use super::super::options::Options;
use super::blocks::{Blocks, Form};
use super::chunks::all_chunks;
use super::evidence::root_of;

/// Stages a chunk tree with all chunks that device extents, block groups and what is on the devices tell of, and superblocks that
/// lead to it where they do not. Returns what was done, or as a phrase why nothing was.
///
/// # Errors
/// The images cannot be read or staged, or the work was stopped.
pub fn stage(images: &[Image], choice: &RootChoice, options: &Options<'_>) -> Result<Result<Fix, String>> {
    let again = || images.iter().map(Image::again).collect::<Result<Vec<_>>>();
    let volume = Volume::open_without_chunk_tree(again()?, choice)?;
    let (superblock, format) = (volume.superblock(), volume.format());
    let devices = volume.devices();
    if (devices.len() as u64) < superblock.num_devices.get() {
        return Ok(Err("devices are missing".to_owned()));
    }
    if devices.iter().any(|device| device.fsid() != superblock.fsid) {
        return Ok(Err("the filesystem has grown from a seed".to_owned()));
    }
    let form =
        Form { fsid: superblock.metadata_fsid(), csum_type: format.csum_type, nodesize: format.nodesize as usize };
    let of_devices: Vec<&Image> = devices.iter().map(|device| device.image()).collect();
    let found = Blocks::scan(&of_devices, Some(form), &MemoryBudget::new(options.memory), options.progress)?;
    let chunks = match all_chunks(&volume, choice, &found)? {
        Ok(chunks) => chunks,
        Err(problem) => return Ok(Err(problem)),
    };
    if let Some(failure) = found.places.failure() {
        return Err(Error::Temporary(failure));
    }
    let Some(chunk_tree_uuid) =
        root_of(&found, superblock).or_else(|| found.list.first().copied()).map(|block| block.chunk_tree_uuid)
    else {
        return Ok(Err("no block of a tree is left".to_owned()));
    };
    let tree = NewTree {
        owner: objectid::CHUNK_TREE,
        generation: Transid::from(superblock.chunk_root_generation),
        fsid: form.fsid,
        chunk_tree_uuid,
        nodesize: format.nodesize,
        csum_type: form.csum_type,
    };
    let writable = match WritableVolume::with_chunks(again()?, choice, chunks.clone(), options.missing) {
        Ok(writable) => writable,
        Err(error) => return Ok(Err(error.to_string())),
    };
    let mut outline = OutlineStore::default();
    build(tree, &volume, &chunks, &mut outline)?;
    let Some(addresses) = addresses(&found, &chunks, superblock, outline.blocks.len()) else {
        return Ok(Err("there is no space for it".to_owned()));
    };
    let mut blocks = BTreeMap::new();
    let write = |block: &BuiltBlock, bytes: &[u8]| {
        blocks.insert(block.logical, bytes.to_vec());
        Ok(())
    };
    let built = build(tree, &volume, &chunks, &mut PlacedStore { places: addresses.iter(), write })?;
    let staged: Vec<Staged<'_>> = blocks.iter().map(|(logical, bytes)| Staged { logical: *logical, bytes }).collect();
    writable.write(&chunks, &staged)?;
    write_superblocks(&volume, &chunks, &built)?;
    Ok(Ok(Fix::ChunkTreeMade { count: chunks.iter().count() as u64 }))
}

/// Builds the tree. What devices use is counted by the check.
fn build(tree: NewTree, volume: &Volume, chunks: &ChunkMap, store: &mut impl Store) -> Result<BuiltTree> {
    let mut builder = Builder::new(tree)?;
    let devices = volume.devices().iter().map(|device| device.superblock().dev_item);
    let sectorsize = volume.format().sectorsize;
    chunk_tree_items(devices, chunks.iter(), sectorsize, |key, data| builder.push(store, key, data))?;
    builder.finish(store)
}

/// Addresses for so many blocks of the chunk tree: where no block stands, and then where former ones of the chunk tree do, the oldest
/// first. The last one is for the root, which stands where it stood, if it is lost.
fn addresses(found: &Blocks, chunks: &ChunkMap, superblock: &Superblock, count: usize) -> Option<Vec<Logical>> {
    let nodesize = superblock.nodesize.get();
    let lost = superblock.chunk_root();
    let mut former: BTreeMap<Logical, Transid> = BTreeMap::new();
    for block in found.list.iter().filter(|block| block.owner == objectid::CHUNK_TREE) {
        let newest = former.entry(block.logical).or_default();
        *newest = block.generation.max(*newest);
    }
    let (mut unused, mut used, mut is_root_lost) = (Vec::new(), Vec::new(), false);
    for chunk in chunks.iter().filter(|chunk| chunk.flags.contains(SYSTEM)) {
        let mut free = without_excluded(chunk);
        let mut taken: Vec<Logical> = former.range(chunk.logical..chunk.end()).map(|(logical, _)| *logical).collect();
        taken.extend((chunk.logical <= lost && lost < chunk.end()).then_some(lost));
        for logical in &taken {
            free.remove(*logical, nodesize.into());
        }
        for place in found.places.iter_from(chunk.logical.0).take_while(|place| place.logical() < chunk.end()) {
            free.remove(place.logical(), nodesize.into());
        }
        while unused.len() < count {
            let Some(logical) = free.take_block(nodesize) else { break };
            unused.push(logical);
        }
        for logical in taken.into_iter().filter(|logical| logical.is_aligned(nodesize)) {
            let generation = former.get(&logical).copied();
            is_root_lost |= logical == lost
                && generation.is_none_or(|newest| newest < Transid::from(superblock.chunk_root_generation));
            used.extend((logical != lost).then_some((generation, logical)));
        }
    }
    used.sort_unstable();
    let blocks = count.checked_sub(usize::from(is_root_lost))?;
    unused.extend(used.into_iter().map(|(_, logical)| logical));
    unused.truncate(blocks);
    unused.extend(is_root_lost.then_some(lost));
    (unused.len() == count).then_some(unused)
}

/// Has the superblocks lead to the tree, and hold the system chunks, where they do not.
fn write_superblocks(volume: &Volume, chunks: &ChunkMap, built: &BuiltTree) -> Result<()> {
    let system = || chunks.iter().filter(|chunk| chunk.flags.contains(SYSTEM));
    let is_array_right = system().all(|chunk| volume.chunks().find(chunk.logical) == Some(chunk));
    for device in volume.devices() {
        let old = device.superblock();
        let mut new = Box::new(*old);
        (new.chunk_root, new.chunk_root_level) = (built.root.0.into(), built.level);
        if !is_array_right {
            new.sys_chunk_array.fill(0);
            new.sys_chunk_array_size = 0.into();
            // A chunk that has no room there is left out, as are those behind it.
            let _ = array::append_all(&mut new, system());
        }
        if new.as_bytes() != old.as_bytes() {
            volume.format().csum_type.stamp(new.as_mut_bytes());
            device.image().write(device.superblock_offset(), new.as_bytes())?;
        }
    }
    Ok(())
}
