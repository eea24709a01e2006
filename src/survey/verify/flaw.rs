//! What is wrong with data, gathered sector by sector and joined to ranges.

use std::collections::VecDeque;

use crate::block::verify::BlockError;
use crate::disk::flags::extent::DATA;
use crate::disk::{Logical, Physical, objectid};

use super::super::blocks::Blocks;
use super::super::extent_list::ExtentList;

/// How a range of a stripe is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FlawKind {
    /// A copy of data is bad, and the data is good elsewhere.
    Copy,
    /// No copy of data is good.
    Lost,
    /// Parity of a row all data of which is good.
    Parity,
    /// Parity of a row a part of which nothing vouches for.
    ParityDisagrees,
}

/// A range of one stripe that is wrong in one way.
#[derive(Clone, Debug)]
pub struct Flaw {
    /// How it is wrong.
    pub kind: FlawKind,
    /// Logical address of the chunk.
    pub chunk: Logical,
    /// Index of the stripe in the chunk.
    pub stripe: usize,
    /// Number of the device.
    pub devid: u64,
    /// First byte on the device.
    pub physical: Physical,
    /// Logical address of data; of parity that of the first data of its row.
    pub logical: Logical,
    /// Bytes of the range.
    pub length: u64,
    /// Of the first sector; nothing of parity that is not that of its row.
    pub error: Option<BlockError>,
}

impl Flaw {
    fn place(&self) -> (FlawKind, Logical, usize, Physical) {
        (self.kind, self.chunk, self.stripe, self.physical)
    }

    /// Whether `next` begins on the device where this ends.
    fn is_before(&self, next: &Flaw) -> bool {
        (self.kind, self.chunk, self.stripe) == (next.kind, next.chunk, next.stripe)
            && self.physical.checked_add(self.length) == Some(next.physical)
    }

    /// The part from `start` to `end`; nothing if there is none.
    fn cut(&self, start: u64, end: u64) -> Option<Flaw> {
        let (start, end) = (start.max(self.logical.0), end.min(self.logical.0.saturating_add(self.length)));
        let length = end.checked_sub(start).filter(|length| *length > 0)?;
        let physical = self.physical.checked_add(start - self.logical.0)?;
        Some(Flaw { logical: Logical(start), physical, length, ..self.clone() })
    }
}

/// Flaws whose logical ranges have no gaps.
#[derive(Default)]
pub struct Flaws {
    flaws: Vec<Flaw>,
}

impl Flaws {
    /// Adds a flaw; its error is asked for only where it is not one with the flaw before it.
    pub fn push(&mut self, flaw: Flaw, error: impl FnOnce() -> Option<BlockError>) {
        match self.flaws.last_mut() {
            Some(last) if last.is_before(&flaw) && last.logical.checked_add(last.length) == Some(flaw.logical) => {
                last.length = last.length.saturating_add(flaw.length);
            }
            _ => self.flaws.push(Flaw { error: error(), ..flaw }),
        }
    }

    pub fn append(&mut self, mut other: Flaws) {
        self.flaws.append(&mut other.flaws);
    }

    /// Those of data that extents hold: checksums of anything else are a problem of their own. Where extents may be
    /// unknown, nothing is left out.
    pub fn of_extents(mut self, extents: &ExtentList, blocks: &Blocks) -> Self {
        if self.flaws.is_empty() || blocks.lack_of(objectid::EXTENT_TREE) {
            return self;
        }
        let (data, mut kept): (Vec<_>, Vec<_>) =
            self.flaws.into_iter().partition(|flaw| matches!(flaw.kind, FlawKind::Copy | FlawKind::Lost));
        self.flaws = data;
        self.flaws.sort_by_key(|flaw| flaw.logical);
        let mut data = extents.iter().filter(|extent| extent.flags & DATA != 0).peekable();
        // Copies of one range follow each other: extents that end before the next flaw begins are done with.
        let mut held = VecDeque::new();
        for flaw in &self.flaws {
            let end = Logical(flaw.logical.0.saturating_add(flaw.length));
            while let Some(extent) = data.next_if(|extent| extent.logical < end) {
                if extent.end() > flaw.logical {
                    held.push_back(extent);
                }
            }
            while held.front().is_some_and(|extent| extent.end() <= flaw.logical) {
                held.pop_front();
            }
            kept.extend(held.iter().filter_map(|extent| flaw.cut(extent.logical.0, extent.end().0)));
        }
        Self { flaws: kept }
    }

    /// The logical ranges that are lost, in order, joined.
    pub fn lost(&self) -> Vec<(u64, u64)> {
        let lost = self.flaws.iter().filter(|flaw| flaw.kind == FlawKind::Lost);
        join(lost.map(|flaw| (flaw.logical.0, flaw.logical.0.saturating_add(flaw.length))).collect())
    }

    /// The flaws in the order of kinds and devices, joined where they are adjacent on a device.
    pub fn joined(mut self) -> Vec<Flaw> {
        self.flaws.sort_by_key(Flaw::place);
        let mut joined: Vec<Flaw> = Vec::new();
        for flaw in self.flaws {
            match joined.last_mut() {
                Some(last) if last.is_before(&flaw) => last.length = last.length.saturating_add(flaw.length),
                _ => joined.push(flaw),
            }
        }
        joined
    }
}

/// Sorts ranges, and joins those that touch.
fn join(mut ranges: Vec<(u64, u64)>) -> Vec<(u64, u64)> {
    ranges.sort_unstable();
    let mut joined: Vec<(u64, u64)> = Vec::new();
    for (start, end) in ranges {
        match joined.last_mut() {
            Some(last) if start <= last.1 => last.1 = last.1.max(end),
            _ => joined.push((start, end)),
        }
    }
    joined
}
