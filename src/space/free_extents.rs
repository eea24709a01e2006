//! Which ranges of a block group are free.

use std::collections::BTreeMap;

use crate::disk::Logical;

/// Free ranges of a block group, by address; neither empty nor adjacent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FreeExtents {
    lengths: BTreeMap<u64, u64>,
    /// No free range below this has room for a tree block.
    first_fit: u64,
}

impl FreeExtents {
    /// Adds a range, of which no part is free yet.
    pub fn add(&mut self, start: Logical, length: u64) {
        let (mut start, mut end) = (start.0, start.0.saturating_add(length));
        if start >= end {
            return;
        }
        if let Some((before, length)) = self.lengths.range(..start).next_back().map(|(start, length)| (*start, *length))
            && before + length >= start
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
        self.first_fit = self.first_fit.min(start);
    }

    /// Takes a range away, of which parts may not be free.
    pub fn remove(&mut self, start: Logical, length: u64) {
        let (start, end) = (start.0, start.0.saturating_add(length));
        while let Some((free, length)) = self.lengths.range(..end).next_back().map(|(free, length)| (*free, *length)) {
            let free_end = free + length;
            if free_end <= start {
                break;
            }
            self.lengths.remove(&free);
            if free_end > end {
                self.lengths.insert(end, free_end - end);
            }
            if free < start {
                self.lengths.insert(free, start - free);
                break;
            }
        }
    }

    /// Takes the first `size` free bytes at a multiple of `size`, so that a tree block never crosses a stripe.
    pub fn take_block(&mut self, size: u32) -> Option<Logical> {
        let size = u64::from(size);
        let fits = |(start, length): (&u64, &u64)| {
            let block = start.checked_next_multiple_of(size)?;
            (block.checked_add(size)? <= start + length).then_some((block, *start))
        };
        // A range that begins below and reaches beyond has no room below, but may have it behind.
        let below = self.lengths.range(..self.first_fit).next_back();
        let block = below.into_iter().chain(self.lengths.range(self.first_fit..)).find_map(fits);
        match block {
            Some((block, start)) => {
                self.first_fit = start;
                self.remove(Logical(block), size);
                Some(Logical(block))
            }
            None => {
                self.first_fit = u64::MAX;
                None
            }
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = (Logical, u64)> {
        self.lengths.iter().map(|(start, length)| (Logical(*start), *length))
    }

    pub fn bytes(&self) -> u64 {
        self.lengths.values().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_never_handed_out_twice() {
        const UNITS: usize = 256;
        const SIZE: u32 = 4;
        let mut random = 0x2545_f491_4f6c_dd1d_u64;
        let mut next = |below: usize| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            (random % below as u64) as usize
        };
        let mut free = FreeExtents::default();
        let mut model = vec![false; UNITS];
        for _ in 0..100_000 {
            match next(3) {
                0 => {
                    let start = next(UNITS);
                    let end = (start + 1 + next(20)).min(UNITS);
                    let taken = (start..end).filter(|unit| !model[*unit]).collect::<Vec<_>>();
                    for unit in taken {
                        free.add(Logical(unit as u64), 1);
                        model[unit] = true;
                    }
                }
                1 => {
                    let start = next(UNITS);
                    let end = (start + 1 + next(20)).min(UNITS);
                    free.remove(Logical(start as u64), (end - start) as u64);
                    model[start..end].fill(false);
                }
                _ => {
                    let size = SIZE as usize;
                    let expected =
                        (0..UNITS / size).map(|n| n * size).find(|s| model[*s..*s + size].iter().all(|f| *f));
                    let taken = free.take_block(SIZE);
                    assert_eq!(taken.map(|logical| logical.0 as usize), expected);
                    if let Some(start) = expected {
                        model[start..start + size].fill(false);
                    }
                }
            }
            assert_eq!(free.bytes(), model.iter().filter(|free| **free).count() as u64);
        }
    }
}
