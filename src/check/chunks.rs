//! Chunk items: valid, apart from each other, on devices that exist.

use std::collections::BTreeSet;

use crate::disk::fields::Uuid;
use crate::disk::flags::{block_group, incompat};
use crate::disk::volume::{Chunk, DEVICE_RANGE_RESERVED, Stripe};
use crate::disk::{Key, KeyType, Logical, Physical, Profile, objectid};
use crate::finding::findings;
use crate::volume::{ChunkMapping, Volume};

use super::block_groups::BlockGroups;
use super::chunk_fault::faults;
use super::devices::Devices;
use super::findings::Findings;
use super::items::Items;

findings! {
    /// Chunk items and their stripes.
    ChunkProblem {
        /// A chunk item has a value that is impossible.
        Item("chunk-item", Fatal, "chunk {logical}: invalid {field}, have {have} expect {expect}") {
            logical: Logical, field: &'static str, have: u64, expect: String,
        }
        /// A chunk has another length than its block group and its device extents.
        Length("chunk-length", Fatal, "chunk {logical}: invalid length, have {have} expect {expect}") {
            logical: Logical, have: u64, expect: u64,
        }
        /// A block group and its device extents have no chunk.
        Missing("chunk-missing", Fatal, "chunk {logical} of {length} bytes is missing") { logical: Logical, length: u64 }
        /// Two chunks share logical addresses.
        Overlap("chunk-overlap", Fatal, "chunk {logical} overlaps chunk {other}") { logical: Logical, other: Logical }
        /// A stripe lies on a device that does not exist.
        StripeDevice("stripe-device", Fatal, "chunk {logical} stripe {stripe}: there is no device {devid}") {
            logical: Logical, stripe: usize, devid: u64,
        }
        /// A stripe names another uuid than its device has.
        StripeUuid(
            "stripe-uuid", Fatal, "chunk {logical} stripe {stripe}: invalid uuid of device {devid}, have {have} expect {expect}"
        ) {
            logical: Logical, stripe: usize, devid: u64, have: Uuid, expect: Uuid,
        }
        /// Stripes that are to survive each other lie on one device.
        StripeTwice("stripe-twice", Fatal, "chunk {logical} stripe {stripe}: device {devid} holds another stripe") {
            logical: Logical, stripe: usize, devid: u64,
        }
        /// Two stripes share a range of a device.
        StripeOverlap(
            "stripe-overlap", Fatal, "chunk {logical}: the stripe on device {devid} at {offset} overlaps one of chunk {other}"
        ) {
            logical: Logical, devid: u64, offset: Physical, other: Logical,
        }
        /// A stripe does not begin at a sector.
        StripeUnaligned(
            "stripe-unaligned", Fatal, "chunk {logical}: the stripe on device {devid} at {offset} is not aligned to sectors"
        ) {
            logical: Logical, devid: u64, offset: Physical,
        }
        /// A stripe begins within the first MiB of a device, as mkfs made them long ago.
        StripeReserved(
            "stripe-reserved", Note, "chunk {logical}: the stripe on device {devid} at {offset} lies in the first MiB"
        ) {
            logical: Logical, devid: u64, offset: Physical,
        }
        /// A chunk's length cannot be spread evenly over its stripes.
        Uneven("chunk-uneven", Error, "chunk {logical}: length {length} is no multiple of {data_stripes} data stripes") {
            logical: Logical, length: u64, data_stripes: u64,
        }
        /// There is no chunk of a type that every filesystem has.
        NoType("chunk-type-missing", Error, "there is no {kind} chunk") { kind: &'static str }
        /// Chunks for data and metadata together stand beside others.
        Mixed("chunk-not-mixed", Error, "chunk {logical}: type {have:#x} in a filesystem with mixed block groups") {
            logical: Logical, have: u64,
        }
        /// More devices of a chunk are missing than it can do without.
        Unavailable(
            "chunk-unavailable", Warning, "chunk {logical}: {missing} of its devices are missing, it tolerates {tolerated}"
        ) {
            logical: Logical, missing: usize, tolerated: u16,
        }
    }
}

/// A chunk item as it stands.
pub struct ChunkItem {
    pub logical: Logical,
    pub chunk: Chunk,
    pub stripes: Vec<Stripe>,
}

/// The chunks of the chunk tree.
pub struct Chunks<'t> {
    tree: &'t Items,
    items: Vec<ChunkItem>,
    mappings: Vec<ChunkMapping>,
    /// Chunks of which it is known that they exist, and not where they lie.
    damaged: BTreeSet<Logical>,
    /// Chunks with any fault of their own.
    faulty: BTreeSet<Logical>,
}

impl<'t> Chunks<'t> {
    /// Takes the chunk items; what is wrong with one by itself is reported.
    pub fn read(volume: &Volume, tree: &'t Items, findings: &Findings) -> Self {
        let (items, mappings, damaged, faulty) = Default::default();
        let mut chunks = Self { tree, items, mappings, damaged, faulty };
        for item in tree.of_type(KeyType::CHUNK_ITEM) {
            let logical = Logical(item.key.offset);
            let report = |field, have, expect| findings.report(ChunkProblem::Item { logical, field, have, expect });
            let Some((chunk, stripes, rest)) = Chunk::read_with_stripes(&item.data) else {
                report("item size", item.data.len() as u64, "all stripes".to_owned());
                chunks.damaged.insert(logical);
                chunks.faulty.insert(logical);
                continue;
            };
            let faults = faults(volume.superblock(), item.key, chunk);
            let mapping = ChunkMapping::new(logical, chunk, stripes).ok();
            match mapping.filter(|_| !faults.iter().any(|fault| fault.is_geometry())) {
                Some(mapping) => chunks.mappings.push(mapping),
                None => {
                    chunks.damaged.insert(logical);
                }
            }
            if !faults.is_empty() {
                chunks.faulty.insert(logical);
            } else if !rest.is_empty() {
                let size = item.data.len();
                report("item size", size as u64, size.saturating_sub(rest.len()).to_string());
            }
            for fault in faults {
                report(fault.field, fault.have, fault.expect);
            }
            chunks.items.push(ChunkItem { logical, chunk: *chunk, stripes: stripes.to_vec() });
        }
        chunks.items.sort_by_key(|item| item.logical);
        chunks.mappings.sort_by_key(|mapping| mapping.logical);
        chunks
    }

    /// From now on nothing is measured by these chunks.
    pub fn add_damaged(&mut self, mut doomed: BTreeSet<Logical>) {
        self.mappings.retain(|mapping| !doomed.contains(&mapping.logical));
        self.faulty.extend(doomed.iter().copied());
        self.damaged.append(&mut doomed);
    }

    /// Of two chunks that overlap, nothing is measured any more by the one that has no block group, or else by the
    /// later one.
    pub fn separate(&mut self, groups: &BlockGroups<'_>, findings: &Findings) {
        let mut doomed = BTreeSet::new();
        let mut last: Option<&ChunkMapping> = None;
        for chunk in &self.mappings {
            let Some(other) = last.filter(|other| chunk.logical < other.end()) else {
                last = Some(chunk);
                continue;
            };
            findings.report(ChunkProblem::Overlap { logical: chunk.logical, other: other.logical });
            if groups.have(chunk) && !groups.have(other) {
                doomed.insert(other.logical);
                last = Some(chunk);
            } else {
                doomed.insert(chunk.logical);
            }
        }
        self.add_damaged(doomed);
    }

    pub fn items(&self) -> &[ChunkItem] {
        &self.items
    }

    pub fn item(&self, logical: Logical) -> Option<&ChunkItem> {
        let index = self.items.binary_search_by_key(&logical, |item| item.logical).ok()?;
        self.items.get(index)
    }

    pub fn is_faulty(&self, logical: Logical) -> bool {
        self.faulty.contains(&logical)
    }

    pub fn mappings(&self) -> &[ChunkMapping] {
        &self.mappings
    }

    /// The chunk that begins at `logical`.
    pub fn starting_at(&self, logical: Logical) -> Option<&ChunkMapping> {
        let index = self.mappings.binary_search_by_key(&logical, |mapping| mapping.logical).ok()?;
        self.mappings.get(index)
    }

    /// The last chunk that begins at or before `logical`.
    fn before(&self, logical: Logical) -> Option<&ChunkMapping> {
        let after = self.mappings.partition_point(|mapping| mapping.logical <= logical);
        self.mappings.get(after.checked_sub(1)?)
    }

    /// The chunk that holds `logical`.
    pub fn find(&self, logical: Logical) -> Option<&ChunkMapping> {
        self.before(logical).filter(|mapping| logical < mapping.end())
    }

    fn covers(&self, from: Logical, to: Logical) -> bool {
        let key = |logical: Logical| Key::new(objectid::FIRST_CHUNK_TREE, KeyType::CHUNK_ITEM, logical.0);
        self.tree.covers(key(from), key(to)) && self.damaged.range(from..=to).next().is_none()
    }

    /// Whether all chunks are known.
    pub fn are_complete(&self) -> bool {
        self.covers(Logical(0), Logical(u64::MAX))
    }

    /// Whether it is known that no chunk begins at `logical`.
    pub fn lack(&self, logical: Logical) -> bool {
        self.starting_at(logical).is_none() && self.covers(logical, logical)
    }

    /// Whether it is known that no chunk holds `logical`.
    pub fn lack_address(&self, logical: Logical) -> bool {
        let from = self.before(logical).map_or(Logical(0), |mapping| mapping.logical);
        self.find(logical).is_none() && self.covers(from.min(logical), logical)
    }
}

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
