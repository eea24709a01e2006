//! All chunks of a filesystem, by what is left where the chunk tree is lost.

use crate::disk::flags::block_group::{DATA, METADATA};
use crate::disk::flags::compat_ro;
use crate::disk::{Key, KeyType, Logical, objectid};
use crate::error::Result;
use crate::image::Image;
use crate::tree::TreeRoot;
use crate::volume::{ChunkMap, ChunkMapping, Device, RootChoice, Volume};

use super::blocks::Blocks;
use super::evidence::{Outline, StripePlace, Untold, outlines};
use super::order::{Order, numbered};

/// Finds all chunks of the filesystem of `volume` by the blocks in `found`. Else returns a phrase that names a chunk which the blocks
/// and the data do not determine.
///
/// # Errors
/// The images cannot be opened.
pub fn all_chunks(volume: &Volume, choice: &RootChoice, found: &Blocks) -> Result<Result<ChunkMap, String>> {
    let devices = volume.devices();
    let (outlines, untold) = outlines(found, devices, volume.superblock());
    let mut chunks = Chunks { devices, map: ChunkMap::default(), untold };
    let mut with_data = Vec::new();
    for outline in &outlines {
        let Some(numbered) = numbered(outline) else {
            chunks.add(outline, Ok(outline.former.as_ref().unwrap_or(&outline.places).clone()));
            continue;
        };
        let Some(mut order) = Order::new(outline, numbered, devices) else {
            chunks.add(outline, Err("it has too many stripes for their order to be found"));
            continue;
        };
        order.add_blocks(found);
        let (has_data, has_trees) = (outline.flags.contains(DATA), outline.flags.contains(METADATA));
        // The data is found by trees, which may be in the chunk, too.
        if has_trees || !has_data {
            chunks.add(outline, order.settle());
        }
        if has_data {
            with_data.push((outline, order));
        }
    }
    let images = devices.iter().map(|device| device.image().again()).collect::<Result<Vec<Image>>>()?;
    let reading = Volume::open_with_chunks(images, choice, chunks.map.clone())?;
    for (outline, mut order) in with_data {
        order.add_data(&reading);
        chunks.map.retain(|chunk| chunk.logical != outline.logical);
        chunks.untold.retain(|(logical, _)| *logical != outline.logical);
        chunks.add(outline, order.settle());
    }
    // Where the device tree or a block group item is of an earlier commit, the chunk may have been removed.
    let lacking = chunks.untold.iter().find(|(logical, _)| has_group(&reading, *logical) != Some(false));
    if let Some((logical, problem)) = lacking {
        return Ok(Err(format!("chunk {logical}: {problem}")));
    }
    if chunks.map.iter().next().is_none() {
        return Ok(Err("no device extents are found".to_owned()));
    }
    Ok(without_overlap(&chunks.map).map(|()| chunks.map))
}

/// Whether there is a block group at an address, if that can be read.
fn has_group(volume: &Volume, logical: Logical) -> Option<bool> {
    let tree = match volume.superblock().has_compat_ro(compat_ro::BLOCK_GROUP_TREE) {
        true => objectid::BLOCK_GROUP_TREE,
        false => objectid::EXTENT_TREE,
    };
    let root = TreeRoot::root_tree(volume).find_child(volume, tree).ok()??;
    let key = |length| Key::new(logical.0, KeyType::BLOCK_GROUP_ITEM, length);
    let mut is_there = false;
    root.range(volume, key(0), key(u64::MAX), |_| is_there = true).ok()?;
    Some(is_there)
}

struct Chunks<'d> {
    devices: &'d [Device],
    map: ChunkMap,
    untold: Untold,
}

impl Chunks<'_> {
    /// Takes a chunk with its stripes in an order, or why that is not told.
    fn add(&mut self, outline: &Outline, order: std::result::Result<Vec<StripePlace>, &str>) {
        let mapping = order.and_then(|order| outline.mapping(&order, self.devices).ok_or("it makes no sense"));
        let added = mapping
            .map_err(str::to_owned)
            .and_then(|mapping| self.map.insert(mapping).map_err(|(_, other)| format!("it overlaps chunk {other}")));
        self.untold.extend(added.err().map(|problem| (outline.logical, problem)));
    }
}

/// Fails if two chunks are in one place.
fn without_overlap(chunks: &ChunkMap) -> std::result::Result<(), String> {
    let of_chunk = |chunk: &ChunkMapping| {
        let (logical, size) = (chunk.logical, chunk.stripe_size());
        let places: Vec<_> =
            chunk.stripes.iter().map(|stripe| (stripe.devid, stripe.physical.0, size, logical)).collect();
        places
    };
    let mut stripes: Vec<(u64, u64, u64, Logical)> = chunks.iter().flat_map(of_chunk).collect();
    stripes.sort_unstable();
    for pair in stripes.windows(2) {
        let [(devid, start, size, one), (other, next, _, two)] = pair else { continue };
        if devid == other && start.saturating_add(*size) > *next {
            return Err(format!("chunks {one} and {two} are in one place of device {devid}"));
        }
    }
    Ok(())
}
