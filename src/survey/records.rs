//! The second look: references to extents as records, where the first look has kept sums alone.

use std::collections::BTreeMap;
use std::io;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::block::reference::Reference;
use crate::disk::Logical;
use crate::table::{MemoryBudget, Part, Record, Table, Writer};
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
    /// The reference.
    pub reference: Reference,
    /// How often the extent tree claims it.
    pub claimed: u64,
    /// How often the trees have it.
    pub found: u64,
}

/// The references to one extent, in their order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExtentReferences {
    /// Logical address of the extent.
    pub extent: Logical,
    /// References of each kind.
    pub references: Vec<ReferenceRecord>,
    /// Whether blocks refer to the extent of which it is not known whether they have full back references: the form of
    /// these references is unknown, and they are not listed.
    pub is_uncertain: bool,
}

impl ExtentReferences {
    fn add(&mut self, entry: &Entry) {
        let Some(reference) = entry.reference() else {
            self.is_uncertain = true;
            return;
        };
        match self.references.last_mut().filter(|last| last.reference == reference) {
            Some(last) => {
                last.claimed = last.claimed.saturating_add(entry.claimed);
                last.found = last.found.saturating_add(entry.found);
            }
            None => {
                let Entry { claimed, found, .. } = *entry;
                self.references.push(ReferenceRecord { reference, claimed, found });
            }
        }
    }
}

/// A reference as a table holds it. The order is that of extents and references.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Entry {
    extent: Logical,
    kind: u64,
    numbers: [u64; 3],
    claimed: u64,
    found: u64,
}

impl Record for Entry {
    fn key(&self) -> u64 {
        self.extent.0
    }
}

impl Entry {
    /// `None` for a reference whose form is unknown.
    fn new(extent: Logical, reference: Option<Reference>, claimed: u64, found: u64) -> Self {
        let (kind, numbers) = match reference {
            Some(Reference::TreeBlock { root }) => (0, [root, 0, 0]),
            Some(Reference::SharedBlock { parent }) => (1, [parent.0, 0, 0]),
            Some(Reference::ExtentData { root, objectid, offset }) => (2, [root, objectid, offset]),
            Some(Reference::SharedData { parent }) => (3, [parent.0, 0, 0]),
            None => (4, [0; 3]),
        };
        Self { extent, kind, numbers, claimed, found }
    }

    fn reference(&self) -> Option<Reference> {
        let [first, objectid, offset] = self.numbers;
        Some(match self.kind {
            0 => Reference::TreeBlock { root: first },
            1 => Reference::SharedBlock { parent: Logical(first) },
            2 => Reference::ExtentData { root: first, objectid, offset },
            3 => Reference::SharedData { parent: Logical(first) },
            _ => return None,
        })
    }
}

/// References in the order of their extents.
#[derive(Debug, Default)]
pub struct ReferenceRecords {
    entries: Table<Entry>,
}

impl ReferenceRecords {
    /// The references to each extent that has any.
    pub fn iter(&self) -> impl Iterator<Item = ExtentReferences> {
        let mut entries = self.entries.iter().peekable();
        std::iter::from_fn(move || {
            let first = entries.next()?;
            let mut all = ExtentReferences { extent: first.extent, references: Vec::new(), is_uncertain: false };
            all.add(&first);
            while let Some(entry) = entries.next_if(|entry| entry.extent == first.extent) {
                all.add(&entry);
            }
            Some(all)
        })
    }

    /// Whether the records could not be read, see [`Table::failure`].
    pub fn failure(&self) -> Option<io::Error> {
        self.entries.failure()
    }
}

/// Collects the references to the extents in some buckets; [`Buckets::all`] are all there are. `trees` are those whose blocks
/// have extent items. Fails if temporary files cannot be used.
pub fn collect_references(
    job: &Job<'_>,
    budget: &MemoryBudget,
    extent_tree: &Tree,
    trees: &[Tree],
    extents: &ExtentList,
    blocks: &Blocks,
    buckets: &Buckets,
) -> io::Result<ReferenceRecords> {
    let writer = Writer::new(budget);
    let mut parts = second_claims(job, extent_tree, |part: &mut Part<Entry>, claim| {
        if let Claim::Reference { extent, reference, count } = claim
            && buckets.contain(extent)
        {
            writer.push(part, Entry::new(extent, Some(reference), count, 0));
        }
    });
    let look = SecondLook::new(|(part, cursor): &mut (Part<Entry>, Cursor), tree: &Tree, visit: Visit<'_>| {
        let is_known = !blocks.may_hide_extent(visit.block().logical());
        references(tree, visit, extents, cursor, |extent, reference, _, _| {
            if buckets.contain(extent) {
                writer.push(part, Entry::new(extent, is_known.then_some(reference), 0, 1));
            }
        });
    });
    parts.extend(job.scan().run(trees, &look).into_iter().map(|(_, (part, _))| part));
    let mut roots = Part::default();
    for (extent, reference) in trees.iter().map(root_reference).filter(|(extent, _)| buckets.contain(*extent)) {
        writer.push(&mut roots, Entry::new(extent, Some(reference), 0, 1));
    }
    parts.push(roots);
    Ok(ReferenceRecords { entries: writer.finish(parts)? })
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
fn second_claims<P: Default + Send>(job: &Job<'_>, extent_tree: &Tree, visit: impl Fn(&mut P, Claim) + Sync) -> Vec<P> {
    let nodesize = job.volume.format().nodesize;
    let look = SecondLook::new(|part: &mut P, _: &Tree, block: Visit<'_>| {
        if let Visit::Leaf(leaf) = block {
            claims(leaf, nodesize, |claim| visit(part, claim));
        }
    });
    job.scan().run(std::slice::from_ref(extent_tree), &look).into_iter().map(|(_, part)| part).collect()
}
