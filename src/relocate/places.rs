//! Where data goes: free ranges are filled with whole extents.

use std::collections::BTreeSet;

use crate::disk::Logical;

use super::contents::DataExtent;

/// Free ranges by length: an extent takes the shortest that holds it, so that what lies together stays together where there is
/// one long range, and what is in pieces is used up first.
#[derive(Debug, Default)]
pub struct Places {
    ranges: BTreeSet<(u64, Logical)>,
    alignment: u64,
}

impl Places {
    /// The free ranges, start and bytes. Extents begin at multiples of `alignment`.
    pub fn new(free: impl IntoIterator<Item = (Logical, u64)>, alignment: u32) -> Self {
        let mut places = Self { ranges: BTreeSet::new(), alignment: alignment.into() };
        free.into_iter().for_each(|(start, length)| places.add(start, length));
        places
    }

    fn add(&mut self, start: Logical, length: u64) {
        let Some(first) = start.0.checked_next_multiple_of(self.alignment) else { return };
        let length = length.saturating_sub(first - start.0) / self.alignment * self.alignment;
        if length > 0 {
            self.ranges.insert((length, Logical(first)));
        }
    }

    /// Takes room for an extent.
    pub fn take(&mut self, length: u64) -> Option<Logical> {
        let (range, start) = self.ranges.range((length, Logical(0))..).next().copied()?;
        self.ranges.remove(&(range, start));
        self.add(Logical(start.0.checked_add(length)?), range - length);
        Some(start)
    }

    /// Gives places to as many of the extents as there is room for, no more than `most` bytes. Returns them with their places, and
    /// the bytes of the others.
    pub fn fill(mut self, extents: &[DataExtent], most: u64) -> (Vec<(DataExtent, Logical)>, u64) {
        let (mut left, mut missing) = (most, 0_u64);
        let mut placed = Vec::new();
        for extent in extents {
            let to = if extent.length <= left { self.take(extent.length) } else { None };
            match to {
                Some(to) => {
                    left -= extent.length;
                    placed.push((*extent, to));
                }
                None => missing = missing.saturating_add(extent.length),
            }
        }
        (placed, missing)
    }
}

/// Bytes of extents that find no place in free ranges of these lengths.
pub fn without_place(extents: &[DataExtent], ranges: &[u64], alignment: u32) -> u64 {
    // Far enough from each other.
    let starts = (0..).map(|number: u64| Logical(number << 48));
    Places::new(starts.zip(ranges.iter().copied()), alignment).fill(extents, u64::MAX).1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extents(lengths: &[u64]) -> Vec<DataExtent> {
        lengths.iter().map(|length| DataExtent { start: Logical(0), length: *length, refs: 1 }).collect()
    }

    #[test]
    fn pieces_are_used_up_before_what_is_in_one_piece() {
        let places = Places::new([(Logical(100), 1000), (Logical(2000), 30), (Logical(3001), 18)], 2);
        let (placed, missing) = places.fill(&extents(&[16, 30, 400, 600, 2, 900]), u64::MAX);
        let to: Vec<u64> = placed.iter().map(|(_, to)| to.0).collect();
        assert_eq!((to, missing), (vec![3002, 2000, 100, 500], 902));
    }

    #[test]
    fn no_more_is_placed_than_may_be() {
        let places = Places::new([(Logical(0), 1000)], 1);
        let (placed, missing) = places.fill(&extents(&[100, 300, 50]), 160);
        assert_eq!((placed.len(), missing), (2, 300));
    }
}
