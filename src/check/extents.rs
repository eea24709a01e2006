//! Every extent item against the references that really exist.
//!
//! Claims of the extent tree and references of the trees are compared as sums of hashes ([`super::sketch`]). Only where
//! sums differ the records are collected, by a second walk, and compared one by one.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use crate::block::reference::{Reference, file_extents, node_children};
use crate::disk::flags::extent::{DATA, TREE_BLOCK};
use crate::disk::{Key, KeyType, Logical, Transid, objectid};
use crate::finding::findings;
use crate::table::{Part, Room, Writer};
use crate::volume::Volume;

use super::Job;
use super::extent_list::{Cursor, Extent, ExtentList};
use super::findings::Findings;
use super::quotas::{Owned, Quotas};
use super::reference::{Claim, claims};
use super::scan::{Scan, Tree, Unread, Visit};
use super::sketch::{Buckets, Sketch};

findings! {
    /// Extents and who refers to them.
    ExtentProblem {
        /// Something refers to an extent that has no item.
        MissingItem("extent-item-missing", Error, "extent {extent} has no extent item, {reference} refers to it") {
            extent: Logical, reference: Reference,
        }
        /// Nothing refers to an extent: its space is lost.
        Unreferenced("extent-unreferenced", Error, "extent {extent} is not referred to by anything, refs {have}") {
            extent: Logical, have: u64,
        }
        /// A reference is not noted in the extent item.
        MissingReference("backref-missing", Error, "extent {extent}, back reference to {reference} is missing") {
            extent: Logical, reference: Reference, expect: u64,
        }
        /// An extent item notes a reference that does not exist.
        UnfoundedReference("backref-unfounded", Error, "extent {extent}, back reference to {reference} is unfounded") {
            extent: Logical, reference: Reference, have: u64,
        }
        /// An extent item notes a reference another number of times than it exists.
        ReferenceCount(
            "backref-count", Error,
            "extent {extent}, invalid count of back reference to {reference}, have {have} expect {expect}"
        ) {
            extent: Logical, reference: Reference, have: u64, expect: u64,
        }
        /// The number of references in an extent item is not the sum of its back references.
        Refs("extent-refs", Error, "extent {extent}, invalid refs, have {have} expect {expect}") {
            extent: Logical, have: u64, expect: u64,
        }
        /// Two extents share a range.
        Overlap("extent-overlap", Error, "extent {extent} of {length} bytes overlaps extent {other}") {
            extent: Logical, length: u64, other: Logical,
        }
        /// A tree block's extent item is that of data, or the other way round.
        Kind("extent-kind", Error, "extent {extent}, invalid flags {have:#x}, {reference} refers to it") {
            extent: Logical, have: u64, reference: Reference,
        }
        /// A tree block has another level than the extent item.
        Level("extent-level", Error, "extent {extent}, invalid level {have}, {reference} refers to level {expect}") {
            extent: Logical, have: u64, expect: u64, reference: Reference,
        }
        /// A tree block was written in another generation than the extent item says.
        Generation(
            "extent-generation", Warning,
            "extent {extent}, invalid generation {have}, {reference} refers to generation {expect}"
        ) {
            extent: Logical, have: u64, expect: u64, reference: Reference,
        }
        /// A file's extent has another length than the extent item.
        Length("extent-length", Error, "extent {extent}, invalid length {have}, {reference} refers to {expect} bytes") {
            extent: Logical, have: u64, expect: u64, reference: Reference,
        }
    }
}

/// What the walk over the extent tree gathers, by one thread.
#[derive(Default)]
struct Gathered {
    extents: Part<Extent>,
    tree_bytes: u64,
    references: Sketch,
    /// Of each extent: the references it counts less those it lists.
    totals: Sketch,
    found: Found,
    owned: Owned,
}

/// The extent items, and sums of what they claim.
#[derive(Default)]
pub struct Claims {
    pub extents: ExtentList,
    /// Bytes of all tree blocks.
    pub tree_bytes: u64,
    /// Data, by the trees that simple quotas count it for.
    pub owned: Owned,
    references: Sketch,
    totals: Sketch,
}

impl Claims {
    /// Reads the extent tree; the references to its own blocks are added to `found`.
    pub fn read(
        scan: &Scan<'_>,
        volume: &Volume,
        room: &Room,
        extent_tree: &Tree,
        quotas: &Quotas,
        found: &mut Vec<Found>,
    ) -> io::Result<Self> {
        let writer = Writer::new(room);
        let nodesize = volume.format().nodesize;
        let gathered = scan.run(std::slice::from_ref(extent_tree), |gathered: &mut Gathered, tree, visit| {
            gathered.found.visit_early(tree, &visit);
            let Visit::Leaf(leaf) = visit else { return };
            claims(leaf, nodesize, |claim| match claim {
                Claim::Extent(extent) => {
                    gathered.totals.add(extent.logical, &[extent.logical.0], extent.refs as i64);
                    if extent.flags & TREE_BLOCK != 0 {
                        gathered.tree_bytes = gathered.tree_bytes.saturating_add(extent.length);
                    }
                    writer.push(&mut gathered.extents, extent);
                }
                Claim::Reference { extent, reference, count } => {
                    gathered.totals.add(extent, &[extent.0], -(count as i64));
                    gathered.references.add(extent, &reference.numbers(extent), count as i64);
                }
                Claim::Owner { root, generation, length } => gathered.owned.add(quotas, root, generation, length),
            });
        });
        let (mut extents, mut owned) = (Vec::new(), Owned::default());
        let (mut references, mut totals, mut tree_bytes) = (Sketch::default(), Sketch::default(), 0_u64);
        for part in gathered {
            extents.push(part.extents);
            tree_bytes = tree_bytes.saturating_add(part.tree_bytes);
            references.merge(&part.references);
            totals.merge(&part.totals);
            found.push(part.found);
            owned.merge(part.owned);
        }
        Ok(Self { extents: ExtentList::new(writer.finish(extents)?), tree_bytes, owned, references, totals })
    }
}

/// References that trees have, as a sum.
#[derive(Default)]
pub struct Found {
    sketch: Sketch,
    cursor: Cursor,
    /// What is yet to be compared with the extents that it leads to: these are not known before their tree was read.
    early: Vec<(Logical, Reference, Shape)>,
}

impl Found {
    pub fn merge(&mut self, mut other: Found) {
        self.sketch.merge(&other.sketch);
        self.early.append(&mut other.early);
    }

    /// Notes the references of a block that is read before the extents are known: one without full back references.
    pub fn visit_early(&mut self, tree: &Tree, visit: &Visit<'_>) {
        let (unknown, mut cursor) = (ExtentList::default(), Cursor::default());
        references(tree, visit, &unknown, &mut cursor, |extent, reference, shape, _| {
            self.note(extent, reference, shape);
        });
    }

    fn note(&mut self, extent: Logical, reference: Reference, shape: Shape) {
        self.sketch.add(extent, &reference.numbers(extent), 1);
        self.early.push((extent, reference, shape));
    }

    /// Notes the references that a block of a tree has, and what does not fit the extents that they lead to.
    pub fn visit(&mut self, tree: &Tree, visit: &Visit<'_>, extents: &ExtentList, findings: &Findings) {
        let Self { sketch, cursor, .. } = self;
        references(tree, visit, extents, cursor, |logical, reference, shape, cursor| {
            sketch.add(logical, &reference.numbers(logical), 1);
            if let Some(extent) = extents.find(logical, cursor) {
                check_shape(&extent, reference, shape, findings);
            }
        });
    }

    /// Notes that a root item or the superblock refers to the root of a tree.
    pub fn root(&mut self, tree: &Tree) {
        let (extent, reference) = root_reference(tree);
        self.note(extent, reference, Shape::TreeBlock { level: tree.root.level, generation: tree.root.generation });
    }
}

/// The root of a relocation tree refers to itself.
fn root_reference(tree: &Tree) -> (Logical, Reference) {
    let (logical, root) = (tree.root.logical, tree.root.key.objectid);
    let reference = match root {
        objectid::TREE_RELOC => Reference::Node { parent: logical },
        _ => Reference::Tree { root },
    };
    (logical, reference)
}

/// What a reference promises of its extent.
#[derive(Clone, Copy)]
enum Shape {
    /// The generation is not known of the log root tree.
    TreeBlock {
        level: u8,
        generation: Option<Transid>,
    },
    Data {
        length: u64,
    },
}

/// Hands each reference that a block has to `hear`, and `cursor` with it.
fn references(
    tree: &Tree,
    visit: &Visit<'_>,
    extents: &ExtentList,
    cursor: &mut Cursor,
    mut hear: impl FnMut(Logical, Reference, Shape, &mut Cursor),
) {
    let owner = tree.owner_of(visit.block());
    let flags = extents.find(visit.block().logical(), cursor).map_or(0, |extent| extent.flags);
    match visit {
        Visit::Node(node, first) => {
            let level = node.block().level() - 1;
            node_children(*node, owner, *first, flags, |ptr, reference| {
                let generation = Some(ptr.generation.into());
                hear(ptr.blockptr.into(), reference, Shape::TreeBlock { level, generation }, cursor);
            });
        }
        Visit::Leaf(leaf) => file_extents(*leaf, owner, flags, |file_extent| {
            hear(file_extent.extent, file_extent.reference, Shape::Data { length: file_extent.length }, cursor);
        }),
    }
}

/// A missing item shows in the sums.
fn check_shape(extent: &Extent, reference: Reference, shape: Shape, findings: &Findings) {
    let logical = extent.logical;
    let (kind, have, expect) = match shape {
        Shape::TreeBlock { level, .. } => (TREE_BLOCK, extent.level, u64::from(level)),
        Shape::Data { length } => (DATA, extent.length, length),
    };
    if extent.flags & kind == 0 {
        findings.report(ExtentProblem::Kind { extent: logical, have: extent.flags, reference });
    } else if have != expect {
        findings.report(match shape {
            Shape::TreeBlock { .. } => ExtentProblem::Level { extent: logical, have, expect, reference },
            Shape::Data { .. } => ExtentProblem::Length { extent: logical, have, expect, reference },
        });
    } else if let Shape::TreeBlock { generation: Some(Transid(expect)), .. } = shape
        && extent.generation != expect
    {
        findings.report(ExtentProblem::Generation { extent: logical, have: extent.generation, expect, reference });
    }
}

/// What is claimed of a reference, and what was found of it.
#[derive(Clone, Copy, Default)]
struct Counts {
    claimed: u64,
    found: u64,
}

/// Compares claims with what was found in `trees`, the extent tree among them.
pub fn compare(job: &Job<'_>, claimed: &Claims, found: &Found, trees: &Trees) {
    check_overlaps(&claimed.extents, job.findings);
    let mut cursor = Cursor::default();
    for (logical, reference, shape) in &found.early {
        if let Some(extent) = claimed.extents.find(*logical, &mut cursor) {
            check_shape(&extent, *reference, *shape, job.findings);
        }
    }
    let mut differences = claimed.references.clone();
    differences.subtract(&found.sketch);
    let buckets = differences.unequal();
    if buckets.is_some() || claimed.totals.unequal().is_some() {
        let details = Details { job, claimed, trees };
        details.report_totals();
        if let Some(buckets) = buckets {
            details.report_references(&buckets);
        }
    }
}

fn check_overlaps(extents: &ExtentList, findings: &Findings) {
    let mut last: Option<Extent> = None;
    for extent in extents.iter() {
        if let Some(other) = last
            && other.end() > extent.logical
        {
            let (length, other) = (extent.length, other.logical);
            findings.report(ExtentProblem::Overlap { extent: extent.logical, length, other });
        }
        if last.is_none_or(|last| last.end() < extent.end()) {
            last = Some(extent);
        }
    }
}

/// The trees whose blocks have extent items, and what of them could not be read.
pub struct Trees {
    pub extent_tree: Tree,
    pub others: Vec<Tree>,
    pub unread: Vec<Unread>,
}

/// The second look at what did not add up.
struct Details<'a> {
    job: &'a Job<'a>,
    claimed: &'a Claims,
    trees: &'a Trees,
}

impl Details<'_> {
    /// Hears the claims of the extent tree again.
    fn claims<A: Default + Send>(&self, hear: impl Fn(&mut A, Claim) + Sync) -> Vec<A> {
        let nodesize = self.job.volume.format().nodesize;
        // What the walk itself finds was reported by the first one.
        let heard_before = Findings::default();
        let scan = Scan::new(&Job { findings: &heard_before, ..*self.job });
        scan.run(std::slice::from_ref(&self.trees.extent_tree), |gathered, _, visit| {
            if let Visit::Leaf(leaf) = visit {
                claims(leaf, nodesize, |claim| hear(gathered, claim));
            }
        })
    }

    fn report_totals(&self) {
        let Some(buckets) = self.claimed.totals.unequal() else { return };
        let listed = self.claims(|listed: &mut BTreeMap<Logical, u64>, claim| {
            if let Claim::Reference { extent, count, .. } = claim
                && buckets.contain(extent)
            {
                let total = listed.entry(extent).or_default();
                *total = total.saturating_add(count);
            }
        });
        for extent in self.claimed.extents.iter().filter(|extent| buckets.contain(extent.logical)) {
            let lists = listed.iter().filter_map(|part| part.get(&extent.logical));
            let expect = lists.fold(0, |total: u64, count| total.saturating_add(*count));
            if expect != extent.refs && !self.is_unread_extent(extent.logical) {
                let (extent, have) = (extent.logical, extent.refs);
                self.job.findings.report(ExtentProblem::Refs { extent, have, expect });
            }
        }
    }

    fn report_references(&self, buckets: &Buckets) {
        let mut counts: BTreeMap<(Logical, Reference), Counts> = BTreeMap::new();
        let claimed = self.claims(|claimed: &mut Vec<(Logical, Reference, u64)>, claim| {
            if let Claim::Reference { extent, reference, count } = claim
                && buckets.contain(extent)
            {
                claimed.push((extent, reference, count));
            }
        });
        for (extent, reference, count) in claimed.into_iter().flatten() {
            let counts = counts.entry((extent, reference)).or_default();
            counts.claimed = counts.claimed.saturating_add(count);
        }
        let mut unknown = BTreeSet::new();
        for (extent, reference) in self.found(buckets) {
            match reference {
                Some(reference) => counts.entry((extent, reference)).or_default().found += 1,
                None => _ = unknown.insert(extent),
            }
        }
        let mut start = 0;
        let all: Vec<_> = counts.into_iter().collect();
        while let Some(((extent, _), _)) = all.get(start) {
            let end = start + all[start..].iter().take_while(|((other, _), _)| other == extent).count();
            if !self.is_unread_extent(*extent) && !unknown.contains(extent) {
                self.report_extent(*extent, &all[start..end]);
            }
            start = end;
        }
    }

    /// The references to extents in some buckets. Whether a block whose extent item could not be read has full back
    /// references is unknown, and with it the form of its references.
    fn found(&self, buckets: &Buckets) -> Vec<(Logical, Option<Reference>)> {
        let heard_before = Findings::default();
        let scan = Scan::new(&Job { findings: &heard_before, ..*self.job });
        let extents = &self.claimed.extents;
        let all: Vec<Tree> = self.trees.others.iter().chain([&self.trees.extent_tree]).copied().collect();
        let parts = scan.run(&all, |(found, cursor): &mut (Vec<_>, Cursor), tree, visit| {
            let is_known = !self.is_unread_extent(visit.block().logical());
            references(tree, &visit, extents, cursor, |extent, reference, _, _| {
                if buckets.contain(extent) {
                    found.push((extent, is_known.then_some(reference)));
                }
            });
        });
        let roots = all.iter().map(root_reference).filter(|(extent, _)| buckets.contain(*extent));
        let roots = roots.map(|(extent, reference)| (extent, Some(reference)));
        parts.into_iter().flat_map(|(found, _)| found).chain(roots).collect()
    }

    fn report_extent(&self, logical: Logical, references: &[((Logical, Reference), Counts)]) {
        let Some(extent) = self.claimed.extents.find(logical, &mut Cursor::default()) else {
            if let Some(((extent, reference), _)) = references.iter().find(|(_, counts)| counts.found > 0) {
                self.job.findings.report(ExtentProblem::MissingItem { extent: *extent, reference: *reference });
            }
            return;
        };
        let is_gone =
            |((_, reference), counts): &((_, Reference), Counts)| counts.found == 0 && !self.may_be_unread(*reference);
        if references.iter().all(is_gone) {
            self.job.findings.report(ExtentProblem::Unreferenced { extent: logical, have: extent.refs });
            return;
        }
        for ((extent, reference), Counts { claimed, found }) in references.iter().copied() {
            if claimed == found || (found < claimed && self.may_be_unread(reference)) {
                continue;
            }
            self.job.findings.report(match (claimed, found) {
                (0, expect) => ExtentProblem::MissingReference { extent, reference, expect },
                (have, 0) => ExtentProblem::UnfoundedReference { extent, reference, have },
                (have, expect) => ExtentProblem::ReferenceCount { extent, reference, have, expect },
            });
        }
    }

    /// Whether the extent's items may stand in a part of the extent tree that could not be read.
    fn is_unread_extent(&self, extent: Logical) -> bool {
        let unread = self.trees.unread.iter().filter(|unread| unread.tree == objectid::EXTENT_TREE);
        unread.into_iter().any(|unread| unread.may_hold_objectid(extent.0))
    }

    /// Whether the reference may stand in a part of a tree that could not be read, or in a tree whose root item does.
    fn may_be_unread(&self, reference: Reference) -> bool {
        // Blocks of file trees are shared, so that any of them may be what refers.
        let is_file_tree = |tree: u64| objectid::is_fs_tree(tree) || tree == objectid::TREE_RELOC;
        let is_in = |unread: &Unread, tree: u64| {
            unread.tree == tree || is_file_tree(unread.tree) && is_file_tree(tree) || loses_root(unread, tree)
        };
        let may_hold = |unread: &Unread| match reference {
            Reference::Tree { root } => is_in(unread, root) && (unread.level > 0 || unread.tree == objectid::ROOT_TREE),
            Reference::File { root, objectid, .. } => {
                is_in(unread, root) && (unread.may_hold_objectid(objectid) || unread.tree == objectid::ROOT_TREE)
            }
            Reference::Node { parent } => {
                unread.level > 0 && (unread.block == parent || unread.level > 1)
                    || loses_root(unread, objectid::FS_TREE)
            }
            Reference::Leaf { parent } => {
                unread.block == parent || unread.level > 0 || loses_root(unread, objectid::FS_TREE)
            }
        };
        let is_parent_unknown = match reference {
            Reference::Node { parent } | Reference::Leaf { parent } => self.is_unread_extent(parent),
            Reference::Tree { .. } | Reference::File { .. } => false,
        };
        is_parent_unknown || self.trees.unread.iter().any(may_hold)
    }
}

/// Whether the root item of a tree, or of one that shares its blocks, may be among what could not be read.
fn loses_root(unread: &Unread, tree: u64) -> bool {
    unread.tree == objectid::ROOT_TREE
        && match objectid::is_fs_tree(tree) || tree == objectid::TREE_RELOC {
            true => unread.may_hold_between(Key::new(objectid::FS_TREE, KeyType(0), 0), Key::MAX),
            false => unread.may_hold_objectid(tree),
        }
}
