//! The checksum tree made anew, of the data that files have. What it is made of are records that spill to a file, and one piece of
//! data at a time.

use std::collections::BTreeMap;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::block::reference::file_data;
use crate::disk::inode::{InodeItem, compression, file_extent_type};
use crate::disk::{Key, KeyType, Logical, objectid};
use crate::error::{Error, Result};
use crate::rebuild::CsumTree;
use crate::survey::Job;
use crate::table::{MemoryBudget, Part, Record, Table, Writer};
use crate::tree::build::{BuiltBlock, BuiltTree, Store};
use crate::tree::csums::CsumRoot;
use crate::tree::{BlockPlace, Tree, TreeRoot, Visit, Visitor};
use crate::volume::Volume;

use super::draft::Draft;
use super::plan::NewCsums;

/// Bytes of data whose checksums are in memory at once.
const PIECE: u64 = 4 << 20;
/// No extent of a file is as long.
const LONGEST: u64 = 1 << 30;

/// Data of a file that needs checksums.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Summed {
    start: u64,
    end: u64,
}

impl Record for Summed {
    fn key(&self) -> u64 {
        self.start
    }
}

struct Collector<'c> {
    volume: &'c Volume,
    records: &'c Writer<'c>,
}

impl Visitor for Collector<'_> {
    type Part = Part<Summed>;

    fn visit(&self, part: &mut Part<Summed>, place: &BlockPlace<'_>, visit: Visit<'_>) {
        let Visit::Leaf(leaf) = visit else { return };
        let mut last: Option<(u64, bool)> = None;
        for item in leaf.items().flatten() {
            let inode = item.key.objectid;
            if item.key.key_type == KeyType::INODE_ITEM {
                last = Some((inode, has_csums(item.data)));
            }
            let Some((extent, start, length)) = file_data(&item) else { continue };
            // That of a hole is nowhere.
            if extent.r#type != file_extent_type::REG || start == Logical(0) || length > LONGEST {
                continue;
            }
            let known = last.filter(|(other, _)| *other == inode).map(|(_, has_csums)| has_csums);
            let is_summed = known.unwrap_or_else(|| self.has_csums(place.tree, inode));
            last = Some((inode, is_summed));
            if is_summed || extent.compression != compression::NONE {
                let end = start.0.saturating_add(length);
                self.records.push(part, Summed { start: start.0, end });
            }
        }
    }
}

impl Collector<'_> {
    /// Whether the data of an inode has checksums whose item stands in another leaf.
    fn has_csums(&self, tree: &Tree, inode: u64) -> bool {
        let item = tree.root.find(self.volume, Key::new(inode, KeyType::INODE_ITEM, 0));
        item.ok().flatten().is_none_or(|data| has_csums(&data))
    }
}

fn has_csums(inode_item: &[u8]) -> bool {
    InodeItem::read_prefix(inode_item).is_none_or(|(item, _)| item.has_csums())
}

/// Writes the blocks of a new tree where a draft has room for them.
struct Blocks<'d> {
    draft: &'d mut Draft,
}

impl Store for Blocks<'_> {
    fn allocate(&mut self) -> Result<Logical> {
        self.draft.free.take(objectid::CSUM_TREE)
    }

    fn write(&mut self, block: &BuiltBlock, bytes: &[u8]) -> Result<()> {
        self.draft.write(block.logical, bytes)
    }
}

/// Builds the checksum tree of the data that the files of `trees` have; `job` is of the filesystem as it is. `runs` are the data that
/// has checksums.
///
/// # Errors
/// No space, what cannot be written, temporary files that cannot be used, work that was stopped.
pub fn build(
    new: &NewCsums,
    draft: &mut Draft,
    job: &Job<'_>,
    (trees, runs): (&[Tree], impl Iterator<Item = (u64, u64)>),
    memory: u64,
) -> Result<BuiltTree> {
    let budget = MemoryBudget::new(memory);
    let records = Writer::new(&budget);
    let parts = job.scan().run(trees, &Collector { volume: job.volume, records: &records });
    let table: Table<Summed> = records.finish(parts).map_err(Error::Temporary)?;
    let (volume, format) = (job.volume, job.volume.format());
    let kept = CsumRoot::of(volume, &TreeRoot::root_tree(volume)).ok().filter(|_| new.keeps_old);
    let mut pieces = Pieces { volume, new, kept, data: Vec::new(), sums: BTreeMap::new() };
    let mut tree = CsumTree::new(draft.form(objectid::CSUM_TREE), format.sectorsize)?;
    let mut blocks = Blocks { draft };
    let length = |data: Summed| data.end.saturating_sub(data.start);
    job.progress.begin("checksums", table.iter().map(length).fold(0, u64::saturating_add));
    let needed = table.iter().map(|data| (data.start, data.end));
    let kept = runs.filter(|_| new.keeps_old).flat_map(|run| without(run, &new.gone));
    for (start, end) in union(needed, kept, format.sectorsize.into()) {
        let mut from = start;
        // What lies in no chunk cannot be read.
        while let Some(chunk) = volume.chunks().find(Logical(from)).filter(|_| from < end) {
            if job.progress.is_stopped() {
                return Err(Error::Interrupted);
            }
            let to = end.min(from.saturating_add(PIECE)).min(chunk.end().0);
            pieces.sum((from, to));
            pieces.sums.iter().try_for_each(|(sector, sum)| tree.push(&mut blocks, Logical(*sector), sum))?;
            job.progress.add(to - from);
            from = to;
        }
    }
    match table.failure() {
        Some(failure) => Err(Error::Temporary(failure)),
        None => tree.finish(&mut blocks),
    }
}

/// What is in any of two sequences of ranges that are sorted by their starts, in order and without overlap. Ranges begin and end at
/// multiples of `sectorsize`.
fn union(
    one: impl Iterator<Item = (u64, u64)>,
    other: impl Iterator<Item = (u64, u64)>,
    sectorsize: u64,
) -> impl Iterator<Item = (u64, u64)> {
    let (mut one, mut other) = (one.peekable(), other.peekable());
    let mut done = 0;
    std::iter::from_fn(move || {
        loop {
            let is_one_first = match (one.peek(), other.peek()) {
                (Some((first, _)), Some((second, _))) => first <= second,
                (first, _) => first.is_some(),
            };
            let (start, end) = if is_one_first { one.next()? } else { other.next()? };
            let (start, end) = (start / sectorsize * sectorsize, end / sectorsize * sectorsize);
            let start = start.max(done);
            if start < end {
                done = end;
                return Some((start, end));
            }
        }
    })
}

/// A range without others, which are sorted.
fn without((start, end): (u64, u64), gone: &[(u64, u64)]) -> Vec<(u64, u64)> {
    let mut rest = Vec::new();
    let mut from = start;
    for (first, last) in &gone[gone.partition_point(|(_, last)| *last <= start)..] {
        if *first >= end {
            break;
        }
        rest.extend((from < *first).then_some((from, *first)));
        from = from.max(*last);
    }
    rest.extend((from < end).then_some((from, end)));
    rest
}

/// Sums data, piece by piece.
struct Pieces<'p> {
    volume: &'p Volume,
    new: &'p NewCsums,
    /// The tree whose checksums stay.
    kept: Option<CsumRoot>,
    data: Vec<u8>,
    /// Of the sectors of the piece at hand.
    sums: BTreeMap<u64, Vec<u8>>,
}

impl Pieces<'_> {
    /// Takes the checksums of a range that are kept, and makes the others of what can be read.
    fn sum(&mut self, (start, end): (u64, u64)) {
        let format = self.volume.format();
        let (sectorsize, size) = (format.sectorsize as usize, format.csum_type.size());
        self.sums.clear();
        let mut others: Vec<(u64, Vec<u8>)> = Vec::new();
        if let Some(kept) = &self.kept {
            let sums = &mut self.sums;
            // What cannot be read of them is made.
            let _ = kept.for_each(self.volume, &[(start, end)], |run| {
                for (index, sum) in run.csums.chunks_exact(size).enumerate() {
                    let sector = run.logical.0.saturating_add((index * sectorsize) as u64);
                    let known = sums.entry(sector).or_insert_with(|| sum.to_vec());
                    if known != sum {
                        others.push((sector, sum.to_vec()));
                    }
                }
            });
        }
        self.choose(others);
        let of_piece = self.new.put_back.range(start..end).map(|(sector, sum)| (*sector, sum.clone()));
        self.sums.extend(of_piece);
        self.data.resize((end - start) as usize, 0);
        let is_any_missing = self.sums.len() < self.data.len() / sectorsize;
        let is_read = is_any_missing && self.volume.read(Logical(start), 1, &mut self.data).is_ok();
        for (sector, bytes) in (start..end).step_by(sectorsize).zip(self.data.chunks_exact_mut(sectorsize)) {
            if self.sums.contains_key(&sector) {
                continue;
            }
            let logical = Logical(sector);
            let mut read = |mirror| self.volume.read(logical, mirror, bytes).is_ok();
            if is_read || (1..=self.volume.mirrors(logical)).any(&mut read) {
                self.sums.insert(sector, format.csum_type.compute(bytes)[..size].to_vec());
            }
        }
    }

    /// Where items overlap that differ, the checksum counts that a copy of the data has.
    fn choose(&mut self, others: Vec<(u64, Vec<u8>)>) {
        let format = self.volume.format();
        let mut bytes = vec![0; format.sectorsize as usize];
        for (sector, other) in others {
            let mut has_it = |mirror| {
                self.volume.read(Logical(sector), mirror, &mut bytes).is_ok()
                    && format.csum_type.compute(&bytes).starts_with(&other)
            };
            if (1..=self.volume.mirrors(Logical(sector))).any(&mut has_it) {
                self.sums.insert(sector, other);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_sector_is_summed_twice_or_left_out() {
        let needed = [(0, 8192), (4096, 12288), (4096, 8192), (20480, 24576), (1 << 40, (1 << 40) + 4096)];
        let kept = [(8192, 16384), (16384, 20480), (40960, 45056)];
        let all: Vec<_> = union(needed.into_iter(), kept.into_iter(), 4096).collect();
        let sectors: Vec<u64> = all.iter().flat_map(|(start, end)| (*start..*end).step_by(4096)).collect();
        let expected: Vec<u64> = (0..24576).step_by(4096).chain([40960, 1 << 40]).collect();
        assert_eq!(sectors, expected);
    }

    #[test]
    fn what_is_gone_is_cut_out_of_each_range() {
        let gone = [(0, 10), (20, 30), (40, 60)];
        assert_eq!(without((5, 50), &gone), [(10, 20), (30, 40)]);
        assert_eq!(without((12, 15), &gone), [(12, 15)]);
        assert!(without((41, 59), &gone).is_empty());
        assert_eq!(without((55, 70), &gone), [(60, 70)]);
    }
}
