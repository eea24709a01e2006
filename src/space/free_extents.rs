//! Which ranges of a block group are free.

use crate::disk::Logical;

use super::ranges::Ranges;

/// Free ranges of a block group, by address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FreeExtents {
    ranges: Ranges,
    /// No free range that begins below this has room for a tree block, but perhaps the last of them.
    first_fit: u64,
}

impl FreeExtents {
    /// Adds a range, of which no part is free yet.
    pub fn add(&mut self, start: Logical, length: u64) {
        self.ranges.add(start.0, length);
        let merged = self.ranges.last_before(start.0.saturating_add(1)).map_or(start.0, |(start, _)| start);
        self.first_fit = self.first_fit.min(merged);
    }

    /// Takes a range away, of which parts may not be free.
    pub fn remove(&mut self, start: Logical, length: u64) {
        self.ranges.remove(start.0, length);
    }

    /// Takes the first `size` free bytes at a multiple of `size`, so that a tree block never crosses a stripe.
    pub fn take_block(&mut self, size: u32) -> Option<Logical> {
        let size = u64::from(size);
        let fits = |range: (u64, u64)| Some((fit(range, size, size)?, range.0));
        let below = self.ranges.last_before(self.first_fit);
        let block = below.into_iter().chain(self.ranges.from(self.first_fit)).find_map(fits);
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

    /// How many blocks of this size could be taken one after the other, counted no further than `most`.
    pub fn count_blocks(&self, size: u32, most: u64) -> u64 {
        let size = u64::from(size);
        let mut count = 0;
        for (start, end) in self.ranges.from(0) {
            let first = start.next_multiple_of(size);
            count += end.saturating_sub(first) / size;
            if count >= most {
                return most;
            }
        }
        count
    }

    /// Takes the first `length` free bytes in one piece at a multiple of `alignment`.
    pub fn take(&mut self, length: u64, alignment: u32) -> Option<Logical> {
        let start = self.ranges.from(0).find_map(|range| fit(range, length, alignment.into()))?;
        self.remove(Logical(start), length);
        Some(Logical(start))
    }

    /// What of it are whole rows of `row` bytes, counted from `start`, and the rest.
    pub fn split_rows(self, start: Logical, row: u64) -> (Self, Self) {
        let (mut whole, mut partial) = (Self::default(), Self::default());
        for (from, length) in self.iter() {
            let (from, end) = (from.0, from.0.saturating_add(length));
            let offset = from.saturating_sub(start.0);
            let first = from.saturating_add(offset.next_multiple_of(row) - offset).min(end);
            let last = (end - (end - start.0.min(end)) % row).max(first);
            whole.add(Logical(first), last - first);
            partial.add(Logical(from), first - from);
            partial.add(Logical(last), end - last);
        }
        (whole, partial)
    }

    /// Start and bytes of each range, in order.
    pub fn iter(&self) -> impl Iterator<Item = (Logical, u64)> {
        self.ranges.from(0).map(|(start, end)| (Logical(start), end - start))
    }

    /// Bytes of all ranges.
    pub fn bytes(&self) -> u64 {
        self.ranges.bytes()
    }
}

/// Where the first `length` bytes of a range are that begin at a multiple of `alignment`.
fn fit((start, end): (u64, u64), length: u64, alignment: u64) -> Option<u64> {
    let first = start.checked_next_multiple_of(alignment)?;
    (first.checked_add(length)? <= end).then_some(first)
}

#[cfg(test)]
mod tests {
    use super::super::tests::Random;
    use super::*;

    #[test]
    fn a_block_is_never_handed_out_twice() {
        const UNITS: usize = 256;
        const SIZE: u32 = 4;
        let mut random = Random(0x2545_f491_4f6c_dd1d);
        let mut next = |below: usize| random.below(below);
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
                    let blocks =
                        (0..UNITS / size).filter(|n| model[n * size..][..size].iter().all(|f| *f)).count() as u64;
                    let after = blocks - u64::from(expected.is_some());
                    assert_eq!((free.count_blocks(SIZE, u64::MAX), free.count_blocks(SIZE, 3)), (after, after.min(3)));
                    if let Some(start) = expected {
                        model[start..start + size].fill(false);
                    }
                }
            }
            assert_eq!(free.bytes(), model.iter().filter(|free| **free).count() as u64);
        }
    }

    #[test]
    fn rows_are_counted_from_where_the_chunk_begins() {
        let mut free = FreeExtents::default();
        // Rows of 8 bytes: from 101 to 109, and so on.
        for (start, length) in [(104, 28), (134, 2), (141, 8), (151, 6)] {
            free.add(Logical(start), length);
        }
        let (whole, partial) = free.split_rows(Logical(101), 8);
        assert!(whole.iter().eq([(109, 16), (141, 8)].map(|(start, length)| (Logical(start), length))));
        let rest = [(104, 5), (125, 7), (134, 2), (151, 6)];
        assert!(partial.iter().eq(rest.map(|(start, length)| (Logical(start), length))));
    }
}
