//! Chunks against each other, and against the devices that they lie on.

use std::collections::BTreeSet;

use crate::disk::flags::{block_group, incompat};
use crate::disk::volume::DEVICE_RANGE_RESERVED;
use crate::disk::{Logical, Physical, Profile};
use crate::problem::ChunkProblem;
use crate::volume::{ChunkMapping, Volume};

use super::chunks::Chunks;
use super::devices::Devices;
use super::findings::Findings;

/// Checks the chunks against each other and the devices. What is known to be wrong about the place of a stripe from its
/// device extent, `misplaced`, is not followed any further.
pub fn check(
    volume: &Volume,
    chunks: &Chunks<'_>,
    devices: &Devices<'_>,
    misplaced: &BTreeSet<(Logical, usize)>,
    findings: &Findings,
) {
    for chunk in chunks.mappings() {
        check_chunk(volume, chunk, findings);
        check_stripe_devices(chunk, devices, findings);
    }
    check_stripe_places(volume, chunks, misplaced, findings);
    check_types(volume, chunks, findings);
}

fn check_chunk(volume: &Volume, chunk: &ChunkMapping, findings: &Findings) {
    let (logical, length, data_stripes) = (chunk.logical, chunk.length, chunk.data_stripes());
    if !length.is_multiple_of(data_stripes) {
        findings.report(ChunkProblem::Uneven { logical, length, data_stripes });
    }
    let mixed = block_group::DATA | block_group::METADATA;
    let have = chunk.flags.type_bits();
    if volume.superblock().has_incompat(incompat::MIXED_GROUPS) && have & mixed != 0 && have != mixed {
        findings.report(ChunkProblem::Mixed { logical, have });
    }
    let missing: BTreeSet<u64> =
        chunk.stripes.iter().filter(|stripe| volume.device(stripe).is_none()).map(|stripe| stripe.devid).collect();
    let (missing, tolerated) = (missing.len(), chunk.profile.geometry().tolerated_failures);
    if missing > usize::from(tolerated) {
        findings.report(ChunkProblem::Unavailable { logical, missing, tolerated });
    }
}

fn check_stripe_devices(chunk: &ChunkMapping, devices: &Devices<'_>, findings: &Findings) {
    let logical = chunk.logical;
    let mut used = BTreeSet::new();
    for (stripe, mapping) in chunk.stripes.iter().enumerate() {
        let (devid, have) = (mapping.devid, mapping.dev_uuid);
        if devices.lack(devid) {
            findings.report(ChunkProblem::StripeDevice { logical, stripe, devid });
        } else if let Some(expect) = devices.uuid(devid).filter(|_| !devices.is_uuid_of(devid, have)) {
            findings.report(ChunkProblem::StripeUuid { logical, stripe, devid, have, expect });
        }
        if !used.insert(devid) && chunk.profile != Profile::Dup {
            findings.report(ChunkProblem::StripeTwice { logical, stripe, devid });
        }
    }
}

fn check_stripe_places(
    volume: &Volume,
    chunks: &Chunks<'_>,
    misplaced: &BTreeSet<(Logical, usize)>,
    findings: &Findings,
) {
    let mut places = Vec::new();
    for chunk in chunks.mappings() {
        let stripes =
            chunk.stripes.iter().enumerate().filter(|(index, _)| !misplaced.contains(&(chunk.logical, *index)));
        for (_, stripe) in stripes {
            let (devid, offset, logical) = (stripe.devid, stripe.physical, chunk.logical);
            places.push((devid, offset, offset.0.saturating_add(chunk.stripe_size()), logical));
            if !offset.0.is_multiple_of(volume.superblock().sectorsize.get().into()) {
                findings.report(ChunkProblem::StripeUnaligned { logical, devid, offset });
            }
            if offset < Physical(DEVICE_RANGE_RESERVED) {
                findings.report(ChunkProblem::StripeReserved { logical, devid, offset });
            }
        }
    }
    places.sort();
    let mut last: Option<(u64, u64, Logical)> = None;
    for (devid, offset, end, logical) in places {
        if let Some((_, _, other)) = last.filter(|(device, end, _)| *device == devid && offset.0 < *end) {
            findings.report(ChunkProblem::StripeOverlap { logical, devid, offset, other });
        }
        last = last.filter(|(device, last, _)| *device == devid && *last > end).or(Some((devid, end, logical)));
    }
}

fn check_types(volume: &Volume, chunks: &Chunks<'_>, findings: &Findings) {
    // A chunk of the array counts where the tree lacks it, which is reported as that.
    let of_type = |bit: u64| volume.chunks().iter().any(|chunk| chunk.flags.contains(bit));
    for (bit, kind) in [(block_group::SYSTEM, "SYSTEM"), (block_group::METADATA, "METADATA")] {
        if chunks.are_complete() && !of_type(bit) {
            findings.report(ChunkProblem::NoType { kind });
        }
    }
}
