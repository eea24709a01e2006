//! Room for the next change of the chunk tree.
//!
//! Whoever adds or removes a chunk first reserves blocks of the chunk tree in system chunks, or makes another one
//! (`check_system_chunk` and `reserve_chunk_space` in fs/btrfs/block-group.c). Where neither is possible nothing is
//! damaged, but the filesystem may be unable to take new space into use or to give any back.

use std::collections::BTreeMap;

use crate::disk::flags::block_group;
use crate::disk::volume::DEVICE_RANGE_RESERVED;
use crate::disk::{Profile, STRIPE_LEN};
use crate::problem::SystemSpaceProblem;
use crate::tree::reservation::to_change_chunk;
use crate::volume::{ChunkMapping, Volume, sys_chunk_array};

use super::block_groups::BlockGroups;
use super::chunks::Chunks;
use super::devices::Devices;
use super::findings::Findings;

pub fn check(
    volume: &Volume,
    chunks: &Chunks<'_>,
    groups: &BlockGroups<'_>,
    devices: &Devices<'_>,
    findings: &Findings,
) {
    // That there is no system chunk at all is reported as that.
    if !chunks.are_complete() || !devices.are_complete() || system_chunks(chunks).next().is_none() {
        return;
    }
    let mut free: u64 = 0;
    for chunk in system_chunks(chunks) {
        // While devices are missing new chunks are of other profiles.
        let is_available = chunk.stripes.iter().all(|stripe| volume.device(stripe).is_some());
        let Some(group) = groups.of_chunk(chunk).filter(|_| is_available) else { return };
        free = free.saturating_add(chunk.length.saturating_sub(group.used));
    }
    let need = need(volume, chunks, devices.count());
    let holes = holes(volume, chunks);
    let can_be_added = |chunk: &ChunkMapping| can_be_added(volume, chunk.profile, need.saturating_sub(free), &holes);
    if free < need && !system_chunks(chunks).any(can_be_added) {
        findings.report(SystemSpaceProblem::Short { free, need });
    }
}

fn system_chunks<'a>(chunks: &'a Chunks<'_>) -> impl Iterator<Item = &'a ChunkMapping> {
    chunks.mappings().iter().filter(|chunk| chunk.flags.contains(block_group::SYSTEM))
}

/// Bytes that a chunk of any profile in use may take of the chunk tree.
fn need(volume: &Volume, chunks: &Chunks<'_>, devices: u64) -> u64 {
    let nodesize = volume.format().nodesize;
    let of_chunk = |chunk: &ChunkMapping| to_change_chunk(nodesize, chunk.profile, devices);
    chunks.mappings().iter().map(of_chunk).max().unwrap_or_default()
}

/// The longest range that no chunk takes of each device that can be written, the longest first.
fn holes(volume: &Volume, chunks: &Chunks<'_>) -> Vec<u64> {
    let mut taken: BTreeMap<u64, Vec<(u64, u64)>> = BTreeMap::new();
    for chunk in chunks.mappings() {
        for stripe in &chunk.stripes {
            let start = stripe.physical.0;
            taken.entry(stripe.devid).or_default().push((start, start.saturating_add(chunk.stripe_size())));
        }
    }
    let fsid = volume.superblock().fsid;
    let mut holes = Vec::new();
    for device in volume.devices().iter().filter(|device| device.fsid() == fsid && device.devid() != 0) {
        let mut taken = taken.remove(&device.devid()).unwrap_or_default();
        taken.push((device.total_bytes(), u64::MAX));
        taken.sort_unstable();
        let (mut longest, mut position) = (0, DEVICE_RANGE_RESERVED);
        for (start, end) in taken {
            longest = longest.max(start.saturating_sub(position));
            position = position.max(end);
        }
        holes.push(longest);
    }
    holes.sort_unstable_by(|one, other| other.cmp(one));
    holes
}

/// Whether a system chunk of at least `length` bytes fits on the devices and in the array.
fn can_be_added(volume: &Volume, profile: Profile, length: u64, holes: &[u64]) -> bool {
    let geometry = profile.geometry();
    let dev_stripes = usize::from(geometry.dev_stripes);
    let usable = holes.iter().filter(|hole| **hole >= geometry.least()).count();
    let most = sys_chunk_array::max_stripes(sys_chunk_array::room(volume.superblock())) / dev_stripes;
    let devices = geometry.devices(usable, most);
    let Some((devices, hole)) = devices.and_then(|devices| Some((devices, holes.get(devices - 1)?))) else {
        return false;
    };
    let stripe_size = hole / dev_stripes as u64 / STRIPE_LEN * STRIPE_LEN;
    let data_stripes = profile.data_stripes(u16::try_from(devices * dev_stripes).unwrap_or(u16::MAX));
    stripe_size.saturating_mul(data_stripes.into()) >= length
}
