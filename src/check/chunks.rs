//! Chunk items: valid, apart from each other, on devices that exist.

use std::collections::BTreeSet;

use crate::disk::volume::{Chunk, Stripe};
use crate::disk::{Key, KeyType, Logical, objectid};
use crate::problem::{ChunkProblem, Expect};
use crate::survey::Items;
use crate::volume::{ChunkMapping, Volume};

use super::chunk_fault::faults;
use super::findings::Findings;

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
            let report =
                |field, have, expect: Expect| findings.report(ChunkProblem::Item { logical, field, have, expect });
            let Some((chunk, stripes, rest)) = Chunk::read_with_stripes(&item.data) else {
                report("item size", item.data.len() as u64, Expect::Rule("all stripes"));
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
                report("item size", size as u64, (size.saturating_sub(rest.len()) as u64).into());
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
