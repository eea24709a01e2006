//! The free ranges of a block group, as a record of free space lists them.

use std::collections::BTreeSet;

use crate::disk::Logical;
use crate::problem::FreeSpaceProblem;
use crate::survey::ExtentList;
use crate::volume::{ChunkMapping, excluded_ranges};

use super::findings::Findings;

#[derive(Default)]
pub struct FreeRanges {
    /// First address of each range and the one after its last.
    ranges: Vec<(u64, u64)>,
}

impl FreeRanges {
    pub fn add(&mut self, start: u64, length: u64) {
        self.ranges.push((start, start.saturating_add(length)));
    }

    /// Adds the ranges of a bitmap up to `end`; one that goes on where the last ended prolongs it.
    pub fn add_bitmap(&mut self, start: u64, bits: &[u8], sectorsize: u64, end: u64) {
        for (index, byte) in bits.iter().enumerate().filter(|(_, byte)| **byte != 0) {
            for bit in (0..8).filter(|bit| byte & (1 << bit) != 0) {
                let from = start.saturating_add((index as u64 * 8 + bit).saturating_mul(sectorsize));
                let to = from.saturating_add(sectorsize).min(end);
                match self.ranges.last_mut().filter(|(_, last)| *last == from) {
                    Some((_, last)) => *last = to,
                    None => self.ranges.push((from, to)),
                }
            }
        }
    }

    pub fn count(&self) -> u64 {
        self.ranges.len() as u64
    }

    /// Where a range goes on that ends at the beginning of another.
    pub fn seams(&self) -> BTreeSet<u64> {
        let ends: BTreeSet<u64> = self.ranges.iter().map(|(_, to)| *to).collect();
        self.ranges.iter().map(|(from, _)| *from).filter(|from| ends.contains(from)).collect()
    }

    pub fn bytes(&self) -> u64 {
        self.ranges.iter().fold(0, |sum: u64, (from, to)| sum.saturating_add(to.saturating_sub(*from)))
    }

    /// Free ranges and extents must tile the block group. Ranges of superblocks may be listed free or not.
    pub fn check_tiling(self, chunk: &ChunkMapping, extents: &ExtentList, findings: &Findings) {
        let (logical, end) = (chunk.logical, chunk.end());
        let report = |make: fn(Logical, Logical, u64) -> FreeSpaceProblem, from: u64, to: u64| {
            findings.report(make(logical, Logical(from), to.saturating_sub(from)));
        };
        let mut free = self.ranges;
        free.sort();
        let mut last_end = 0;
        for (from, to) in &mut free {
            if *from < last_end {
                let twice = |logical, start, length| FreeSpaceProblem::Overlap { logical, start, length };
                report(twice, *from, (*to).min(last_end));
                *from = last_end.min(*to);
            }
            last_end = last_end.max(*to);
        }

        let used: Vec<(u64, u64)> =
            extents.range(logical, end).map(|extent| (extent.logical.0, extent.end().min(end).0)).collect();
        // Both lists are in order and the free ranges apart, so that each pair that overlaps is met.
        let mut rest = &free[..];
        for (from, to) in &used {
            while let Some((_, tail)) = rest.split_first().filter(|(first, _)| first.1 <= *from) {
                rest = tail;
            }
            for (free_from, free_to) in rest.iter().take_while(|(free_from, _)| free_from < to) {
                let (from, to) = (*from.max(free_from), *to.min(free_to));
                if from < to {
                    report(|logical, start, length| FreeSpaceProblem::Used { logical, start, length }, from, to);
                }
            }
        }

        let excluded = excluded_ranges(chunk).into_iter().map(|(from, to)| (from.0, to.0));
        let mut taken: Vec<(u64, u64)> = used.into_iter().chain(free).chain(excluded).collect();
        taken.sort();
        let mut position = logical.0;
        for (from, to) in taken.into_iter().chain([(end.0, end.0)]) {
            if from > position {
                report(|logical, start, length| FreeSpaceProblem::Lost { logical, start, length }, position, from);
            }
            position = position.max(to);
        }
    }
}
