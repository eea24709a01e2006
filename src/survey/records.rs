//! The second look: references to extents as records, where the first look has kept sums alone.

use std::collections::BTreeMap;

use crate::block::reference::Reference;
use crate::disk::Logical;
use crate::tree::{Tree, Visit};

use super::blocks::{Blocks, SecondLook};
use super::extent_list::{Cursor, ExtentList};
use super::job::Job;
use super::reference::{Claim, claims};
use super::references::{references, root_reference};
use super::sketch::Buckets;

/// References to one extent that are alike: how many its items claim, and how many were found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReferenceRecord {
    pub extent: Logical,
    pub reference: Reference,
    pub claimed: u64,
    pub found: u64,
}

/// References in the order of their extents.
#[derive(Debug, Default)]
pub struct ReferenceRecords {
    pub records: Vec<ReferenceRecord>,
    /// Extents, in order, that are referred to by blocks of which it is not known whether they have full back references:
    /// the form of these references is unknown.
    pub uncertain: Vec<Logical>,
}

impl ReferenceRecords {
    /// The records of each extent.
    pub fn by_extent(&self) -> impl Iterator<Item = &[ReferenceRecord]> {
        self.records.chunk_by(|one, other| one.extent == other.extent)
    }

    pub fn is_uncertain(&self, extent: Logical) -> bool {
        self.uncertain.binary_search(&extent).is_ok()
    }
}

/// Collects the references to the extents in some buckets; [`Buckets::all`] are all there are. `trees` are those whose blocks
/// have extent items.
pub fn collect_references(
    job: &Job<'_>,
    extent_tree: &Tree,
    trees: &[Tree],
    extents: &ExtentList,
    blocks: &Blocks,
    buckets: &Buckets,
) -> ReferenceRecords {
    let mut counts: BTreeMap<(Logical, Reference), (u64, u64)> = BTreeMap::new();
    let claimed = second_claims(job, extent_tree, |claimed: &mut Vec<(Logical, Reference, u64)>, claim| {
        if let Claim::Reference { extent, reference, count } = claim
            && buckets.contain(extent)
        {
            claimed.push((extent, reference, count));
        }
    });
    for (extent, reference, count) in claimed.into_iter().flatten() {
        let (claimed, _) = counts.entry((extent, reference)).or_default();
        *claimed = claimed.saturating_add(count);
    }
    let look = SecondLook::new(|(found, cursor): &mut (Vec<_>, Cursor), tree: &Tree, visit: Visit<'_>| {
        let is_known = !blocks.may_hide_extent(visit.block().logical());
        references(tree, visit, extents, cursor, |extent, reference, _, _| {
            if buckets.contain(extent) {
                found.push((extent, is_known.then_some(reference)));
            }
        });
    });
    let parts = job.scan().run(trees, &look);
    let roots = trees.iter().map(root_reference).filter(|(extent, _)| buckets.contain(*extent));
    let roots = roots.map(|(extent, reference)| (extent, Some(reference)));
    let mut uncertain = Vec::new();
    for (extent, reference) in parts.into_iter().flat_map(|(_, (found, _))| found).chain(roots) {
        match reference {
            Some(reference) => counts.entry((extent, reference)).or_default().1 += 1,
            None => uncertain.push(extent),
        }
    }
    uncertain.sort_unstable();
    uncertain.dedup();
    let record = |((extent, reference), (claimed, found))| ReferenceRecord { extent, reference, claimed, found };
    ReferenceRecords { records: counts.into_iter().map(record).collect(), uncertain }
}

/// How many references the items of the extents in some buckets list.
pub fn collect_listed(job: &Job<'_>, extent_tree: &Tree, buckets: &Buckets) -> BTreeMap<Logical, u64> {
    let parts = second_claims(job, extent_tree, |listed: &mut BTreeMap<Logical, u64>, claim| {
        if let Claim::Reference { extent, count, .. } = claim
            && buckets.contain(extent)
        {
            let total = listed.entry(extent).or_default();
            *total = total.saturating_add(count);
        }
    });
    let mut all: BTreeMap<Logical, u64> = BTreeMap::new();
    for (extent, count) in parts.into_iter().flatten() {
        let total = all.entry(extent).or_default();
        *total = total.saturating_add(count);
    }
    all
}

/// Hears the claims of the extent tree again.
fn second_claims<P: Default + Send>(job: &Job<'_>, extent_tree: &Tree, hear: impl Fn(&mut P, Claim) + Sync) -> Vec<P> {
    let nodesize = job.volume.format().nodesize;
    let look = SecondLook::new(|part: &mut P, _: &Tree, visit: Visit<'_>| {
        if let Visit::Leaf(leaf) = visit {
            claims(leaf, nodesize, |claim| hear(part, claim));
        }
    });
    job.scan().run(std::slice::from_ref(extent_tree), &look).into_iter().map(|(_, part)| part).collect()
}
