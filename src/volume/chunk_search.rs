//! Blocks of the chunk tree that the known chunks do not lead to, searched for on the devices themselves.
//!
//! A block is accepted only if it is what its parent's pointer, or the superblock, says of it: checksum, address, level,
//! generation and first key. It is found where it lies whole on a device, or is read through a SYSTEM chunk that any block of
//! the chunk tree tells of, an older one too: so it is rebuilt from parity, or joined where it lies across stripes.

use std::collections::BTreeMap;

use crate::block::verify::Expected;
use crate::block::{Block, BlockKind, Leaf};
use crate::disk::flags::block_group;
use crate::disk::node::{HEADER_SIZE, Header};
use crate::disk::volume::Chunk;
use crate::disk::{KeyType, Logical, Physical, objectid};

use super::chunk_map::{ChunkMap, ChunkMapping};
use super::device::Device;
use super::opened::Volume;

/// Bytes of a device that are read at once.
const WINDOW: u64 = 4 << 20;
/// Different chunks that are tried. Of a filesystem there are a few; more are only made to keep a reader busy.
const MOST_CHUNKS: usize = 64;
/// Bytes on each side of a block within which another block shows that the chunk is mapped right.
const NEIGHBOURHOOD: u64 = 1 << 20;

/// Calls `visit` with each block that is found and what to call its place, and returns those that are not. The devices are
/// read side by side, data only, from their beginnings to where the last block is found.
pub(super) fn search(
    volume: &Volume,
    wanted: impl IntoIterator<Item = Expected>,
    visit: impl FnMut(Block<'_>, String),
) -> Vec<Expected> {
    let wanted: BTreeMap<_, _> = wanted.into_iter().map(|expected| (expected.logical, expected)).collect();
    let mut search = Search { volume, wanted, visit, chunks: Vec::new() };
    let mut unread: Vec<(&Device, u64)> = volume.devices().iter().map(|device| (device, 0)).collect();
    let mut window = Vec::new();
    while !search.wanted.is_empty() && !unread.is_empty() {
        unread.retain_mut(|(device, position)| match search.read_window(device, *position, &mut window) {
            Some(end) => {
                *position = end;
                true
            }
            None => false,
        });
    }
    search.wanted.into_values().collect()
}

/// Whether a search can find this block, of which no copy is good: no chunk holds it, or its chunk is mapped wrong. It
/// cannot where the block is damaged in its place, or lies on devices that are missing.
pub(super) fn is_misplaced(volume: &Volume, logical: Logical) -> bool {
    let Some(chunk) = volume.chunks().find(logical) else { return true };
    let places: Vec<_> =
        (1..=chunk.mirrors()).filter_map(|mirror| Some((mirror, chunk.place(logical, mirror)?))).collect();
    let mut header = [0; HEADER_SIZE];
    let mut is_any_readable = false;
    for (mirror, (stripe, physical)) in &places {
        let Some(device) = volume.device(stripe) else { continue };
        if device.image().read(*physical, &mut header).is_err() {
            continue;
        }
        is_any_readable = true;
        let is_in_place = Header::read_prefix(&header).is_some_and(|(header, _)| header.bytenr.get() == logical.0);
        if is_in_place || has_neighbour(volume, chunk, logical, *mirror) {
            return false;
        }
    }
    let is_missing = places.iter().all(|(_, (stripe, _))| volume.device(stripe).is_none());
    let are_all_there = volume.devices().len() as u64 >= volume.superblock().num_devices.get();
    is_any_readable || (is_missing && are_all_there)
}

/// Whether another block stands at its own address in the same copy, on the same stripe, near `logical`.
fn has_neighbour(volume: &Volume, chunk: &ChunkMapping, logical: Logical, mirror: u16) -> bool {
    let nodesize = u64::from(volume.format().nodesize);
    let own = chunk.place(logical, mirror).map(|(stripe, _)| stripe);
    let first = logical.0.saturating_sub(NEIGHBOURHOOD / nodesize * nodesize).max(chunk.logical.0);
    let end = logical.0.saturating_add(NEIGHBOURHOOD).min(chunk.end().0);
    let first = first + (logical.0 - first) % nodesize;
    let mut buffer = Vec::new();
    (first..end).step_by(nodesize as usize).map(Logical).any(|other| {
        other != logical
            && chunk.place(other, mirror).map(|(stripe, _)| stripe) == own
            && volume.read_copy(&Expected::at(other), mirror, &mut buffer).is_ok()
    })
}

struct Search<'v, F> {
    volume: &'v Volume,
    wanted: BTreeMap<Logical, Expected>,
    visit: F,
    /// SYSTEM chunks that were told of and hold what is wanted, each tried once.
    chunks: Vec<ChunkMapping>,
}

impl<F: FnMut(Block<'_>, String)> Search<'_, F> {
    /// Searches the first data behind `position`; returns where to go on, or nothing at the end of the device.
    fn read_window(&mut self, device: &Device, position: u64, window: &mut Vec<u8>) -> Option<u64> {
        let format = self.volume.format();
        let (sector, nodesize) = (u64::from(format.sectorsize), format.nodesize as usize);
        let data = device.image().next_data(Physical(position))?;
        let start = (data.start - data.start % sector).max(position);
        let end = data.end.min(start.saturating_add(WINDOW)).next_multiple_of(sector);
        // A block may begin in data and end in a hole.
        let length = end.saturating_add(nodesize as u64).min(device.image().size()).saturating_sub(start);
        window.clear();
        window.resize(length as usize, 0);
        if device.image().read(Physical(start), window).is_err() {
            let mut offset = start;
            for bytes in window.chunks_mut(sector as usize) {
                if device.image().read(Physical(offset), bytes).is_err() {
                    bytes.fill(0);
                }
                offset += sector;
            }
        }
        for offset in (0..(end - start) as usize).step_by(sector as usize) {
            let Some(bytes) = window.get(offset..offset + nodesize) else { break };
            self.look_at(bytes, device, start + offset as u64);
            if self.wanted.is_empty() {
                break;
            }
        }
        Some(end)
    }

    fn look_at(&mut self, bytes: &[u8], device: &Device, physical: u64) {
        let format = self.volume.format();
        let Some(block) = Block::new(bytes) else { return };
        let header = block.header();
        if header.owner.get() != objectid::CHUNK_TREE || !format.fsids.contains(&header.fsid) {
            return;
        }
        let logical = block.logical();
        if format.verify(bytes, &Expected::at(logical)).is_err() {
            return;
        }
        if let Some(expected) = self.wanted.get(&logical)
            && format.verify(bytes, expected).is_ok()
        {
            self.wanted.remove(&logical);
            (self.visit)(block, format!("{physical} of device {}", device.devid()));
        }
        if let BlockKind::Leaf(leaf) = block.kind() {
            self.try_chunks(leaf);
        }
    }

    /// Reads what is wanted through the SYSTEM chunks of a leaf.
    fn try_chunks(&mut self, leaf: Leaf<'_>) {
        for item in leaf.items().flatten().filter(|item| item.key.key_type == KeyType::CHUNK_ITEM) {
            let Some((chunk, stripes, _)) = Chunk::read_with_stripes(item.data) else { continue };
            if !chunk.block_group_flags().contains(block_group::SYSTEM) || self.chunks.len() == MOST_CHUNKS {
                continue;
            }
            let Ok(chunk) = ChunkMapping::new(Logical(item.key.offset), chunk, stripes) else { continue };
            let inside: Vec<_> = self.wanted.range(chunk.logical..chunk.end()).map(|(_, expected)| *expected).collect();
            if inside.is_empty() || self.chunks.contains(&chunk) {
                continue;
            }
            self.chunks.push(chunk.clone());
            let mirrors = chunk.mirrors();
            let mut chunks = ChunkMap::default();
            if chunks.insert(chunk).is_ok() {
                inside.iter().for_each(|expected| self.read_through(&chunks, mirrors, expected));
            }
        }
    }

    fn read_through(&mut self, chunks: &ChunkMap, mirrors: u16, expected: &Expected) {
        let format = self.volume.format();
        let mut bytes = vec![0; format.nodesize as usize];
        for mirror in 1..=mirrors {
            if self.volume.read_through(chunks, expected.logical, mirror, &mut bytes).is_ok()
                && let Ok(block) = format.verify(&bytes, expected)
            {
                self.wanted.remove(&expected.logical);
                (self.visit)(block, format!("mirror {mirror} of a chunk that a block of the chunk tree tells of"));
                return;
            }
        }
    }
}
