//! Device extents against the stripes of chunks.

use std::collections::{BTreeMap, BTreeSet};

use crate::disk::volume::DevExtent;
use crate::disk::{Key, KeyType, Logical, Physical, objectid};
use crate::problem::{ChunkProblem, DeviceExtentProblem};
use crate::survey::{Items, keys_of_type};

use super::block_groups::BlockGroups;
use super::chunks::Chunks;
use super::devices::Devices;
use super::findings::Findings;

/// A range of a device that a chunk takes.
#[derive(Clone, Copy)]
pub struct DeviceExtent {
    pub devid: u64,
    pub offset: Physical,
    pub length: u64,
    chunk: Logical,
}

/// The device extents of the device tree.
pub struct DeviceExtents<'t> {
    tree: &'t Items,
    extents: Vec<DeviceExtent>,
    /// Bytes of the extents, by device.
    bytes: BTreeMap<u64, u64>,
    /// Ends of the devices' last stripes and extents.
    ends: BTreeMap<u64, u64>,
}

impl<'t> DeviceExtents<'t> {
    /// Takes the device extents; what is wrong with one by itself is reported.
    pub fn read(tree: &'t Items, findings: &Findings) -> Self {
        let mut extents = Vec::new();
        for item in tree.of_type(KeyType::DEV_EXTENT) {
            let (devid, offset) = (item.key.objectid, Physical(item.key.offset));
            let expect = |field, have: u64, expect: u64| {
                if have != expect {
                    findings.report(DeviceExtentProblem::Item { devid, offset, field, have, expect });
                }
            };
            expect("item size", item.data.len() as u64, size_of::<DevExtent>() as u64);
            let Some((extent, _)) = DevExtent::read_prefix(&item.data) else { continue };
            expect("chunk_tree", extent.chunk_tree.get(), objectid::CHUNK_TREE);
            expect("chunk_objectid", extent.chunk_objectid.get(), objectid::FIRST_CHUNK_TREE);
            extents.push(DeviceExtent { devid, offset, length: extent.length.get(), chunk: extent.chunk() });
        }
        let mut bytes: BTreeMap<u64, u64> = BTreeMap::new();
        for DeviceExtent { devid, length, .. } in &extents {
            let sum = bytes.entry(*devid).or_default();
            *sum = sum.saturating_add(*length);
        }
        Self { tree, extents, bytes, ends: BTreeMap::new() }
    }

    pub fn tree(&self) -> &'t Items {
        self.tree
    }

    pub fn iter(&self) -> impl Iterator<Item = DeviceExtent> {
        self.extents.iter().copied()
    }

    /// The first extent of the first device, if nothing can stand before it.
    pub fn first(&self) -> Option<DeviceExtent> {
        let first = self.extents.first().copied()?;
        self.tree.covers(Key::MIN, Key::new(first.devid, KeyType::DEV_EXTENT, first.offset.0)).then_some(first)
    }

    /// The sum of a device's extents, if all are known.
    pub fn bytes(&self, devid: u64) -> Option<u64> {
        let (from, to) = keys_of_type(devid, KeyType::DEV_EXTENT);
        self.tree.covers(from, to).then(|| self.bytes.get(&devid).copied().unwrap_or_default())
    }

    /// How far the device's stripes and extents reach, as far as they agree.
    pub fn end(&self, devid: u64) -> u64 {
        self.ends.get(&devid).copied().unwrap_or_default()
    }

    /// Chunks whose item lies: device extents and block group agree about another length, or that there is a chunk.
    pub fn correct(&self, chunks: &mut Chunks<'_>, groups: &BlockGroups<'_>, findings: &Findings) {
        let mut lengths: BTreeMap<Logical, Vec<u64>> = BTreeMap::new();
        for extent in &self.extents {
            lengths.entry(extent.chunk).or_default().push(extent.length);
        }
        let mut doomed = BTreeSet::new();
        for group in groups.iter() {
            let logical = group.logical;
            let Some(lengths) = lengths.get(&logical) else { continue };
            if chunks.lack(logical) {
                findings.report(ChunkProblem::Missing { logical, length: group.length });
                doomed.insert(logical);
            } else if let Some(chunk) = chunks.starting_at(logical)
                && group.length != chunk.length
                && lengths.iter().all(|length| length.checked_mul(chunk.data_stripes()) == Some(group.length))
            {
                findings.report(ChunkProblem::Length { logical, have: chunk.length, expect: group.length });
                doomed.insert(logical);
            }
        }
        chunks.add_damaged(doomed);
    }

    /// Compares extents and stripes. Returned are the stripes, by chunk and number, that do not lie where they say.
    pub fn check(
        &mut self,
        chunks: &Chunks<'_>,
        devices: &Devices<'_>,
        findings: &Findings,
    ) -> BTreeSet<(Logical, usize)> {
        let places: BTreeMap<_, _> =
            self.extents.iter().map(|extent| ((extent.devid, extent.offset), *extent)).collect();
        let mut unclaimed: BTreeSet<_> = places.keys().copied().collect();
        let mut lost = Vec::new();
        for chunk in chunks.mappings() {
            let expect = chunk.stripe_size();
            for (index, stripe) in chunk.stripes.iter().enumerate() {
                let (devid, offset) = (stripe.devid, stripe.physical);
                match places.get(&(devid, offset)).filter(|extent| extent.chunk == chunk.logical) {
                    Some(extent) => {
                        if extent.length != expect {
                            let have = extent.length;
                            findings.report(DeviceExtentProblem::Length { devid, offset, have, expect });
                        }
                        unclaimed.remove(&(devid, offset));
                        let end = self.ends.entry(devid).or_default();
                        *end = (*end).max(offset.0.saturating_add(expect));
                    }
                    None => lost.push((chunk, index, devid, offset)),
                }
            }
        }

        // The extents that are left, by chunk and place.
        let mut of_chunks: BTreeSet<(Logical, u64, Physical)> =
            unclaimed.iter().filter_map(|place| Some((places.get(place)?.chunk, place.0, place.1))).collect();
        let mut misplaced = BTreeSet::new();
        for (chunk, stripe, devid, offset) in lost {
            let logical = chunk.logical;
            // One of them is wrong in one value.
            let names_other_chunk = unclaimed.get(&(devid, offset)).and_then(|place| places.get(place));
            let first_in = |from, to| {
                of_chunks.range((logical, from, Physical(0))..=(logical, to, Physical(u64::MAX))).next().copied()
            };
            let elsewhere = first_in(devid, devid).or_else(|| first_in(0, u64::MAX));
            if let Some(extent) = names_other_chunk {
                of_chunks.remove(&(extent.chunk, devid, offset));
                unclaimed.remove(&(devid, offset));
                findings.report(DeviceExtentProblem::Chunk { devid, offset, have: extent.chunk, expect: logical });
            } else if let Some((_, expect_devid, expect_offset)) = elsewhere {
                of_chunks.remove(&(logical, expect_devid, expect_offset));
                unclaimed.remove(&(expect_devid, expect_offset));
                misplaced.insert((logical, stripe));
                // A device that does not exist is reported as that.
                if !devices.lack(devid) {
                    let problem =
                        DeviceExtentProblem::Elsewhere { logical, stripe, devid, offset, expect_devid, expect_offset };
                    findings.report(problem);
                }
            } else if self.tree.lacks(Key::new(devid, KeyType::DEV_EXTENT, offset.0)) && !devices.lack(devid) {
                misplaced.insert((logical, stripe));
                let length = chunk.stripe_size();
                findings.report(DeviceExtentProblem::Missing { logical, stripe, devid, offset, length });
            }
        }
        for (devid, offset) in unclaimed {
            let Some(DeviceExtent { length, chunk, .. }) = places.get(&(devid, offset)).copied() else { continue };
            if chunks.starting_at(chunk).is_some() || chunks.lack(chunk) {
                findings.report(DeviceExtentProblem::Orphan { devid, offset, length, chunk });
            }
        }
        misplaced
    }
}
