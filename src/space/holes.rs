//! Which ranges of a device no chunk has.

use crate::disk::superblock::SUPER_OFFSETS;
use crate::disk::volume::DEVICE_RANGE_RESERVED as RESERVED;
use crate::disk::{Physical, STRIPE_LEN};

use super::ranges::Ranges;

/// A range without chunks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hole {
    /// First byte on the device.
    pub start: Physical,
    /// Bytes of the hole.
    pub length: u64,
}

/// The ranges of one device that no chunk has: neither one of the last commit, nor one that was allocated since. What was
/// freed since stays taken, so that an interrupted commit finds the old contents.
#[derive(Clone, Debug)]
pub struct Holes {
    ranges: Ranges,
    /// Nothing is found from here on.
    bound: u64,
}

impl Holes {
    /// A device of `total_bytes` without chunks.
    pub fn of_device(total_bytes: u64) -> Self {
        let mut ranges = Ranges::default();
        ranges.add(RESERVED, total_bytes.saturating_sub(RESERVED));
        Self { ranges, bound: u64::MAX }
    }

    /// Has nothing be found from this byte of the device on.
    pub fn set_bound(&mut self, bound: u64) {
        self.bound = bound;
    }

    /// From which byte on nothing is found.
    pub fn bound(&self) -> u64 {
        self.bound
    }

    /// The holes below the bound, start and end.
    fn below_bound(&self) -> impl Iterator<Item = (u64, u64)> {
        self.ranges.from(0).map(|(start, end)| (start, end.min(self.bound))).filter(|(start, end)| start < end)
    }

    /// The ranges below the bound that no copy of the superblock is in, start and end. They begin at multiples of
    /// [`STRIPE_LEN`].
    pub fn apart(&self) -> impl Iterator<Item = (u64, u64)> {
        // Each copy, and what of its stripe is never given out.
        let copies = SUPER_OFFSETS.map(|offset| (offset.0, offset.0 + STRIPE_LEN));
        self.below_bound().flat_map(move |(start, end)| {
            let mut parts = Vec::new();
            let mut from = start;
            for (copy, behind) in copies.into_iter().filter(|(copy, behind)| start < *behind && *copy < end) {
                parts.push((from, copy));
                from = behind;
            }
            parts.push((from, end));
            let aligned = |(start, end): (u64, u64)| Some((start.checked_next_multiple_of(STRIPE_LEN)?, end));
            parts.into_iter().filter_map(aligned).filter(|(start, end)| start < end)
        })
    }

    /// The lowest place of `length` bytes in these ranges.
    pub fn find_apart(&self, length: u64) -> Option<Physical> {
        self.apart().find(|(start, end)| end - start >= length).map(|(start, _)| Physical(start))
    }

    /// Takes a range, of which parts may be taken already or lie outside of the device.
    pub fn take(&mut self, start: Physical, length: u64) {
        self.ranges.remove(start.0, length);
    }

    /// Gives back a range that was taken and that no chunk has now.
    pub fn give_back(&mut self, start: Physical, length: u64) {
        let (start, end) = (start.0.max(RESERVED), start.0.saturating_add(length));
        self.ranges.add(start, end.saturating_sub(start));
    }

    /// Where the last range ends that is taken on a device of `total_bytes`.
    pub fn end_of_taken(&self, total_bytes: u64) -> u64 {
        let last = self.ranges.last_before(total_bytes);
        last.filter(|(_, end)| *end >= total_bytes).map_or(total_bytes, |(start, _)| start)
    }

    /// The device gets another size; nothing is taken beyond it.
    pub fn resize(&mut self, old: u64, new: u64) {
        match new > old {
            true => self.give_back(Physical(old), new - old),
            false => self.take(Physical(new), old - new),
        }
    }

    /// The first hole of at least `wanted` bytes, or else the largest (`find_free_dev_extent` in fs/btrfs/volumes.c).
    pub fn find(&self, wanted: u64) -> Option<Hole> {
        let mut largest: Option<Hole> = None;
        for (start, end) in self.below_bound() {
            let hole = Hole { start: Physical(start), length: end - start };
            if hole.length >= wanted {
                return Some(hole);
            }
            if largest.is_none_or(|largest| largest.length < hole.length) {
                largest = Some(hole);
            }
        }
        largest
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::Random;
    use super::*;

    /// One flag for each unit of a small device.
    struct Model {
        taken: Vec<bool>,
    }

    impl Model {
        fn find(&self, wanted: usize) -> Option<(usize, usize)> {
            let mut largest = None;
            let mut start = 0;
            while start < self.taken.len() {
                let length = self.taken[start..].iter().take_while(|taken| !**taken).count();
                if length >= wanted.max(1) {
                    return Some((start, length));
                }
                if length > largest.map_or(0, |(_, length)| length) {
                    largest = Some((start, length));
                }
                start += length + 1;
            }
            largest
        }
    }

    #[test]
    fn no_range_is_handed_out_twice() {
        const UNITS: usize = 256;
        let mut random = Random(88172645463325252);
        let mut next = |below: usize| random.below(below);
        for _ in 0..1000 {
            let mut holes = Holes::of_device(RESERVED + UNITS as u64);
            let mut model = Model { taken: vec![false; UNITS] };
            for _ in 0..40 {
                let start = next(UNITS);
                let end = (start + 1 + next(9)).min(UNITS);
                holes.take(Physical(RESERVED + start as u64), (end - start) as u64);
                model.taken[start..end].fill(true);
                let wanted = 1 + next(30);
                let expected = model
                    .find(wanted)
                    .map(|(start, length)| Hole { start: Physical(RESERVED + start as u64), length: length as u64 });
                assert_eq!(holes.find(wanted as u64), expected);
            }
        }
    }

    #[test]
    fn a_device_ends_no_sooner_than_what_is_taken_of_it() {
        let size = RESERVED + 65536;
        let mut holes = Holes::of_device(size);
        assert_eq!(holes.end_of_taken(size), RESERVED);
        holes.take(Physical(RESERVED + 4096), 4096);
        assert_eq!(holes.end_of_taken(size), RESERVED + 8192);
        holes.resize(size, RESERVED + 8192);
        assert_eq!(holes.find(4097), Some(Hole { start: Physical(RESERVED), length: 4096 }));
        assert_eq!(holes.end_of_taken(RESERVED + 8192), RESERVED + 8192);
        holes.resize(RESERVED + 8192, size);
        assert_eq!(holes.end_of_taken(size), RESERVED + 8192);
        assert_eq!(holes.find(8192), Some(Hole { start: Physical(RESERVED + 8192), length: 57344 }));
        assert_eq!(Holes::of_device(4096).end_of_taken(4096), 4096);
    }

    #[test]
    fn nothing_is_found_behind_the_bound_or_over_a_superblock() {
        let mib = 1 << 20;
        let mut holes = Holes::of_device(200 * mib);
        assert_eq!(holes.find_apart(63 * mib), Some(Physical(mib)));
        assert_eq!(holes.find_apart(63 * mib + STRIPE_LEN), Some(Physical(64 * mib + STRIPE_LEN)));
        holes.take(Physical(mib), 10 * mib + 1);
        assert_eq!(holes.find_apart(mib), Some(Physical(11 * mib + STRIPE_LEN)));
        assert_eq!(holes.find_apart(54 * mib), Some(Physical(64 * mib + STRIPE_LEN)));
        holes.set_bound(100 * mib);
        assert_eq!(holes.find(1 << 40), Some(Hole { start: Physical(11 * mib + 1), length: 89 * mib - 1 }));
        assert_eq!(holes.find_apart(54 * mib), None);
        holes.set_bound(0);
        assert_eq!((holes.find(1), holes.find_apart(1)), (None, None));
    }

    #[test]
    fn the_first_mebibyte_is_never_handed_out() {
        assert_eq!(Holes::of_device(RESERVED).find(1), None);
        assert_eq!(Holes::of_device(0).find(1), None);
        let mut holes = Holes::of_device(RESERVED + 8192);
        holes.take(Physical(RESERVED - 4096), 8192);
        assert_eq!(holes.find(1), Some(Hole { start: Physical(RESERVED + 4096), length: 4096 }));
    }
}
