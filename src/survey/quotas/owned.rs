//! Simple quotas: each extent counts for the tree that made it, whatever trees share it since.

use std::collections::BTreeMap;

use crate::disk::Transid;
use crate::tree::Visit;

use super::rules::Quotas;

/// Bytes by the tree that they count for.
#[derive(Default)]
pub struct Owned {
    bytes: BTreeMap<u64, u64>,
}

impl Owned {
    /// Adds an extent of this generation, unless it is older than the quotas or its tree has no group.
    pub fn add(&mut self, quotas: &Quotas, root: u64, generation: Transid, bytes: u64) {
        if quotas.counts_owned(root, generation) {
            let sum = self.bytes.entry(root).or_default();
            *sum = sum.saturating_add(bytes);
        }
    }

    /// Adds a tree block: its owner stands in its header. That of data stands in the extent item.
    pub fn visit(&mut self, quotas: &Quotas, visit: Visit<'_>) {
        let block = visit.block();
        let header = block.header();
        self.add(quotas, header.owner.get(), header.generation.into(), block.bytes().len() as u64);
    }

    pub fn merge(&mut self, other: Owned) {
        for (root, bytes) in other.bytes {
            let sum = self.bytes.entry(root).or_default();
            *sum = sum.saturating_add(bytes);
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = (u64, u64)> {
        self.bytes.iter().map(|(root, bytes)| (*root, *bytes))
    }
}
