//! Which data has checksums.

use crate::block::Leaf;
use crate::disk::{Key, KeyType, Logical, objectid};
use crate::tree::Tree;
use crate::volume::Volume;

use super::blocks::{Blocks, Unread};

/// How much of some data has checksums.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coverage {
    /// All of it.
    All,
    /// A part of it.
    Part,
    /// Nothing of it.
    None,
    /// A part of the checksum tree that could not be read may hold them.
    Unknown,
}

/// Data that one item or more have checksums of, from its first byte to before `end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Run {
    /// Logical address of the first byte.
    pub start: u64,
    /// Logical address behind the last byte.
    pub end: u64,
}

/// An item whose data another one, which begins at `other`, has checksums of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overlap {
    /// Data of the item.
    pub run: Run,
    /// Where the other item begins.
    pub other: u64,
}

/// The data that has checksums, as few runs as there can be.
#[derive(Default)]
pub struct CsumRuns {
    runs: Vec<Run>,
    /// Items that overlap.
    pub overlaps: Vec<Overlap>,
    unread: Vec<Unread>,
    /// The tree's root could not be read, or its items are of two types.
    is_lost: bool,
    /// Data of one checksum, and of an item as long as one can be.
    sectorsize: u64,
    longest: u64,
}

impl CsumRuns {
    /// `items` are the runs of the checksum items of `trees`; `blocks` knows what of these could not be read.
    pub fn new(volume: &Volume, trees: &[Tree], items: Vec<Run>, blocks: &Blocks) -> Self {
        let format = volume.format();
        let (csum_size, sectorsize) = (format.csum_type.size() as u64, u64::from(format.sectorsize));
        // A change of the checksum type that was cut has left items of both types, side by side or one instead of the other.
        let is_changing = volume.stored_superblock().is_changing_csums();
        let (runs, overlaps) = if is_changing { Default::default() } else { merge(items) };
        let is_of_tree = |unread: &&Unread| unread.tree == objectid::CSUM_TREE;
        Self {
            runs,
            overlaps,
            is_lost: is_changing || trees.is_empty() && blocks.may_hide(objectid::ROOT_TREE, objectid::CSUM_TREE),
            unread: blocks.unread.iter().filter(is_of_tree).cloned().collect(),
            sectorsize,
            longest: u64::from(format.nodesize) / csum_size * sectorsize,
        }
    }

    /// The checksums of a log tree. Items that overlap are ordinary there: the replay sorts them out.
    pub fn of_log(items: Vec<Run>) -> Self {
        Self { runs: merge(items).0, ..Self::default() }
    }

    /// The runs, in the order of their addresses.
    pub fn runs(&self) -> &[Run] {
        &self.runs
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

    /// Bytes of data that one checksum is of.
    pub fn sectorsize(&self) -> u64 {
        self.sectorsize
    }
}

/// What the checksum items of a leaf cover.
pub fn runs_of(leaf: Leaf<'_>, csum_size: u64, sectorsize: u64) -> impl Iterator<Item = Run> {
    leaf.items().flatten().filter(|item| item.key.key_type == KeyType::EXTENT_CSUM).map(move |item| {
        let length = item.data.len() as u64 / csum_size * sectorsize;
        Run { start: item.key.offset, end: item.key.offset.saturating_add(length) }
    })
}

/// Joins what is adjacent, and tells what overlaps.
fn merge(mut items: Vec<Run>) -> (Vec<Run>, Vec<Overlap>) {
    items.sort_unstable();
    let (mut runs, mut overlaps): (Vec<Run>, Vec<Overlap>) = Default::default();
    for run in items {
        match runs.last_mut() {
            Some(last) if run.start <= last.end => {
                if run.start < last.end {
                    overlaps.push(Overlap { run, other: last.start });
                }
                last.end = last.end.max(run.end);
            }
            _ => runs.push(run),
        }
    }
    runs.shrink_to_fit();
    (runs, overlaps)
}
