//! Which ranges of a device no chunk has.

use std::collections::BTreeMap;

use crate::disk::Physical;

/// The first bytes of a device, which chunks leave to boot loaders.
pub const RESERVED: u64 = 1 << 20;

/// A range without chunks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hole {
    pub start: Physical,
    pub length: u64,
}

/// The ranges of one device that no chunk has: neither one of the last commit, nor one that was allocated since. What was
/// freed since stays taken until the commit, so that an interrupted one finds the old contents.
#[derive(Clone, Debug)]
pub struct Holes {
    /// Length by start; neither empty nor adjacent.
    holes: BTreeMap<u64, u64>,
}

impl Holes {
    /// A device of `total_bytes` without chunks.
    pub fn of_device(total_bytes: u64) -> Self {
        let length = total_bytes.saturating_sub(RESERVED);
        Self { holes: if length > 0 { BTreeMap::from([(RESERVED, length)]) } else { BTreeMap::new() } }
    }

    /// Takes a range, of which parts may be taken already or lie outside of the device.
    pub fn take(&mut self, start: Physical, length: u64) {
        let (start, end) = (start.0, start.0.saturating_add(length));
        while let Some((hole, length)) = self.holes.range(..end).next_back().map(|(hole, length)| (*hole, *length)) {
            let hole_end = hole + length;
            if hole_end <= start {
                break;
            }
            self.holes.remove(&hole);
            if hole_end > end {
                self.holes.insert(end, hole_end - end);
            }
            if hole < start {
                self.holes.insert(hole, start - hole);
                break;
            }
        }
    }

    /// Gives a range back that was taken.
    pub fn give_back(&mut self, start: Physical, length: u64) {
        let (mut start, mut end) = (start.0.max(RESERVED), start.0.saturating_add(length));
        if start >= end {
            return;
        }
        if let Some((before, length)) = self.holes.range(..start).next_back().map(|(hole, length)| (*hole, *length))
            && before + length >= start
        {
            start = before;
            end = end.max(before + length);
        }
        while let Some((after, length)) = self.holes.range(start..=end).next().map(|(hole, length)| (*hole, *length)) {
            self.holes.remove(&after);
            end = end.max(after + length);
        }
        self.holes.insert(start, end - start);
    }

    /// The first hole of at least `wanted` bytes, or else the largest (`find_free_dev_extent` in fs/btrfs/volumes.c).
    pub fn find(&self, wanted: u64) -> Option<Hole> {
        let mut largest: Option<Hole> = None;
        for (start, length) in &self.holes {
            let hole = Hole { start: Physical(*start), length: *length };
            if *length >= wanted {
                return Some(hole);
            }
            if largest.is_none_or(|largest| largest.length < *length) {
                largest = Some(hole);
            }
        }
        largest
    }
}

#[cfg(test)]
mod tests {
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
        const UNITS: usize = 64;
        let mut random = 88172645463325252_u64;
        let mut next = |below: usize| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            (random % below as u64) as usize
        };
        let mut holes = Holes::of_device(RESERVED + UNITS as u64);
        let mut model = Model { taken: vec![false; UNITS] };
        for _ in 0..200_000 {
            let (start, length) = (next(UNITS), 1 + next(9));
            let end = (start + length).min(UNITS);
            let physical = Physical(RESERVED + start as u64);
            let is_taken = next(2) == 0;
            if is_taken {
                holes.take(physical, (end - start) as u64);
            } else {
                holes.give_back(physical, (end - start) as u64);
            }
            model.taken[start..end].fill(is_taken);
            let wanted = 1 + next(12);
            let expected = model
                .find(wanted)
                .map(|(start, length)| Hole { start: Physical(RESERVED + start as u64), length: length as u64 });
            assert_eq!(holes.find(wanted as u64), expected);
        }
    }

    #[test]
    fn the_first_mebibyte_is_never_handed_out() {
        assert_eq!(Holes::of_device(RESERVED).find(1), None);
        let mut holes = Holes::of_device(RESERVED + 4096);
        holes.take(Physical(RESERVED - 4096), 8192);
        assert_eq!(holes.find(1), None);
        holes.give_back(Physical(RESERVED - 4096), 8192);
        assert_eq!(holes.find(1), Some(Hole { start: Physical(RESERVED), length: 4096 }));
    }
}
