//! Ranges of bytes: a set of numbers in few pieces.

use std::collections::BTreeMap;

/// Ranges by start; neither empty nor adjacent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ranges {
    lengths: BTreeMap<u64, u64>,
    bytes: u64,
}

impl Ranges {
    /// Adds a range, of which no part is in it yet.
    pub fn add(&mut self, mut start: u64, length: u64) {
        let mut end = start.saturating_add(length);
        if start >= end {
            return;
        }
        self.bytes += end - start;
        if let Some((before, before_end)) = self.last_before(start)
            && before_end >= start
        {
            start = before;
        }
        while let Some((after, length)) =
            self.lengths.range(start..=end).next().map(|(start, length)| (*start, *length))
        {
            self.lengths.remove(&after);
            end = end.max(after + length);
        }
        self.lengths.insert(start, end - start);
    }

    /// Takes a range away, of which parts may not be in it.
    pub fn remove(&mut self, start: u64, length: u64) {
        let end = start.saturating_add(length);
        while let Some((piece, piece_end)) = self.last_before(end).filter(|(_, piece_end)| *piece_end > start) {
            self.lengths.remove(&piece);
            self.bytes -= piece_end.min(end) - piece.max(start);
            if piece_end > end {
                self.lengths.insert(end, piece_end - end);
            }
            if piece < start {
                self.lengths.insert(piece, start - piece);
            }
        }
    }

    /// Start and end of the last range that begins below `limit`.
    pub fn last_before(&self, limit: u64) -> Option<(u64, u64)> {
        self.lengths.range(..limit).next_back().map(|(start, length)| (*start, start + length))
    }

    /// Start and end of each range that begins at `from` or later.
    pub fn from(&self, from: u64) -> impl Iterator<Item = (u64, u64)> {
        self.lengths.range(from..).map(|(start, length)| (*start, start + length))
    }

    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}
