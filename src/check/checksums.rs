//! Which data has checksums, and whether the checksum items fit the extents.

use crate::block::Leaf;
use crate::disk::flags::extent::DATA;
use crate::disk::{Key, KeyType, Logical, objectid};
use crate::finding::findings;
use crate::volume::Volume;

use super::extent_list::ExtentList;
use super::extents::Found;
use super::findings::Findings;
use super::scan::{Scan, Tree, Unread, Visit};

findings! {
    /// Checksums of data.
    ChecksumProblem {
        /// Two checksum items cover the same data.
        Overlap("csum-overlap", Error, "checksums from {start} to {end} overlap those from {other} on") {
            start: Logical, end: Logical, other: Logical,
        }
        /// There are checksums of space that no data extent holds.
        WithoutExtent("csum-without-extent", Error, "checksums from {start} to {end}, but no data extent is there") {
            start: Logical, end: Logical,
        }
    }
}

/// How much of some data has checksums.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coverage {
    All,
    Part,
    None,
    /// A part of the checksum tree that could not be read may hold them.
    Unknown,
}

/// Data that one item or more have checksums of.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Run {
    start: u64,
    end: u64,
}

/// The data that has checksums, as few runs as there can be.
#[derive(Default)]
pub struct Checksums {
    runs: Vec<Run>,
    unread: Vec<Unread>,
    /// The tree's root could not be read.
    is_lost: bool,
    /// Data of one checksum, and of an item as long as one can be.
    sectorsize: u64,
    longest: u64,
}

#[derive(Default)]
struct Gathered {
    items: Vec<Run>,
    found: Found,
}

impl Checksums {
    /// Reads the checksum tree among `trees`; the references to its own blocks are added to `found`.
    pub fn read(
        scan: &Scan<'_>,
        volume: &Volume,
        trees: &[Tree],
        found: &mut Vec<Found>,
        extents: &ExtentList,
        findings: &Findings,
    ) -> Self {
        let trees: Vec<Tree> =
            trees.iter().filter(|tree| tree.root.key.objectid == objectid::CSUM_TREE).copied().collect();
        let format = volume.format();
        let (csum_size, sectorsize) = (format.csum_type.size() as u64, u64::from(format.sectorsize));
        let gathered = scan.run(&trees, |gathered: &mut Gathered, tree, visit| {
            gathered.found.visit(tree, &visit, extents, findings);
            if let Visit::Leaf(leaf) = visit {
                gathered.items.extend(runs_of(leaf, csum_size, sectorsize));
            }
        });
        let mut items = Vec::new();
        for mut part in gathered {
            items.append(&mut part.items);
            found.push(part.found);
        }
        let unread = scan.unread();
        let has_root_item =
            |unread: &Unread| unread.tree == objectid::ROOT_TREE && unread.may_hold_objectid(objectid::CSUM_TREE);
        Self {
            runs: merge(items, findings),
            is_lost: trees.is_empty() && unread.iter().any(has_root_item),
            unread: unread.into_iter().filter(|unread| unread.tree == objectid::CSUM_TREE).collect(),
            sectorsize,
            longest: u64::from(format.nodesize) / csum_size * sectorsize,
        }
    }

    /// The checksums of a log tree. Items that overlap are ordinary there: the replay sorts them out.
    pub fn of_log(items: Vec<Run>) -> Self {
        Self { runs: merge(items, &Findings::default()), ..Self::default() }
    }

    /// How much of the data from `start` on has checksums.
    pub fn coverage(&self, start: u64, length: u64) -> Coverage {
        let end = start.saturating_add(length);
        let run = self.runs.get(self.runs.partition_point(|run| run.end <= start));
        let coverage = match run {
            Some(run) if run.start <= start && run.end >= end => return Coverage::All,
            Some(run) if run.start < end => Coverage::Part,
            _ => Coverage::None,
        };
        let first = Key::new(objectid::EXTENT_CSUM, KeyType::EXTENT_CSUM, start.saturating_sub(self.longest));
        let last = Key::new(objectid::EXTENT_CSUM, KeyType::EXTENT_CSUM, end);
        match self.is_lost || self.unread.iter().any(|unread| unread.may_hold_between(first, last)) {
            true => Coverage::Unknown,
            false => coverage,
        }
    }

    /// Whether some of the data from `start` on is known to have checksums.
    pub fn is_any(&self, start: Logical, length: u64) -> bool {
        let run = self.runs.get(self.runs.partition_point(|run| run.end <= start.0));
        run.is_some_and(|run| run.start < start.0.saturating_add(length))
    }

    /// Bytes of data that have checksums.
    pub fn data_bytes(&self) -> u64 {
        self.runs.iter().fold(0, |sum: u64, run| sum.saturating_add(run.end - run.start))
    }

    pub fn sectorsize(&self) -> u64 {
        self.sectorsize
    }

    /// Reports checksums of what is no data, not even what log trees add: `logged` has start and end of that. `unread` tells
    /// where extents may be that are not known.
    pub fn check_extents(
        &self,
        extents: &ExtentList,
        mut logged: Vec<(u64, u64)>,
        unread: &[Unread],
        findings: &Findings,
    ) {
        logged.sort_unstable();
        let mut data = extents.iter().filter(|extent| extent.flags & DATA != 0).peekable();
        for run in &self.runs {
            let mut start = run.start;
            while start < run.end {
                while data.next_if(|extent| extent.logical.0.saturating_add(extent.length) <= start).is_some() {}
                let (next, next_end) = data.peek().map_or((u64::MAX, u64::MAX), |extent| {
                    (extent.logical.0, extent.logical.0.saturating_add(extent.length))
                });
                if next > start {
                    report_bare(start, next.min(run.end), &logged, unread, findings);
                }
                start = next_end;
            }
        }
    }
}

fn report_bare(mut start: u64, end: u64, logged: &[(u64, u64)], unread: &[Unread], findings: &Findings) {
    for (from, to) in logged {
        if *from < end && start < *to {
            report_unknown(start, *from, unread, findings);
            start = *to;
        }
    }
    report_unknown(start, end, unread, findings);
}

fn report_unknown(start: u64, end: u64, unread: &[Unread], findings: &Findings) {
    let may_be_unread = |unread: &Unread| {
        unread.tree == objectid::EXTENT_TREE
            && unread.may_hold_between(Key::MIN, Key::new(end, KeyType(0), 0))
            && unread.may_hold_between(Key::new(start, KeyType(0), 0), Key::MAX)
    };
    if start < end && !unread.iter().any(may_be_unread) {
        findings.report(ChecksumProblem::WithoutExtent { start: Logical(start), end: Logical(end) });
    }
}

/// What the checksum items of a leaf cover.
pub fn runs_of(leaf: Leaf<'_>, csum_size: u64, sectorsize: u64) -> impl Iterator<Item = Run> {
    leaf.items().flatten().filter(|item| item.key.key_type == KeyType::EXTENT_CSUM).map(move |item| {
        let length = item.data.len() as u64 / csum_size * sectorsize;
        Run { start: item.key.offset, end: item.key.offset.saturating_add(length) }
    })
}

/// Joins what is adjacent, and reports what overlaps.
fn merge(mut items: Vec<Run>, findings: &Findings) -> Vec<Run> {
    items.sort_unstable();
    let mut runs: Vec<Run> = Vec::new();
    for item in items {
        match runs.last_mut() {
            Some(last) if item.start <= last.end => {
                if item.start < last.end {
                    let (start, end, other) = (Logical(item.start), Logical(item.end), Logical(last.start));
                    findings.report(ChecksumProblem::Overlap { start, end, other });
                }
                last.end = last.end.max(item.end);
            }
            _ => runs.push(item),
        }
    }
    runs.shrink_to_fit();
    runs
}
