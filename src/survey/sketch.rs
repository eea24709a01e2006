//! Telling whether two multisets are equal without keeping either.
//!
//! Each record is hashed, and the hash is added for one side and subtracted for the other. Where the sum of a bucket is
//! zero, its records agree (but for one chance in 2^64); only where it is not are the records themselves collected, by a
//! second walk. A sound filesystem needs neither sorting nor space for records.

use crate::disk::Logical;
use crate::mix::mix;

const BUCKETS: usize = 4096;

/// Sums of record hashes, by buckets of addresses.
#[derive(Clone, Debug)]
pub struct Sketch {
    sums: Vec<u64>,
}

impl Default for Sketch {
    fn default() -> Self {
        Self { sums: vec![0; BUCKETS] }
    }
}

impl Sketch {
    /// Adds a record `count` times; a negative count takes it away.
    pub fn add(&mut self, address: Logical, record: &[u64], count: i64) {
        let bucket = bucket_of(address);
        // Odd, so that no count but 0 makes nothing of it.
        let weight = mix(record) | 1;
        self.sums[bucket] = self.sums[bucket].wrapping_add(weight.wrapping_mul(count as u64));
    }

    pub fn merge(&mut self, other: &Sketch) {
        for (sum, other) in self.sums.iter_mut().zip(&other.sums) {
            *sum = sum.wrapping_add(*other);
        }
    }

    pub fn subtract(&mut self, other: &Sketch) {
        for (sum, other) in self.sums.iter_mut().zip(&other.sums) {
            *sum = sum.wrapping_sub(*other);
        }
    }

    /// The buckets whose records do not agree; nothing if all do.
    pub fn unequal(&self) -> Option<Buckets> {
        let unequal: Vec<bool> = self.sums.iter().map(|sum| *sum != 0).collect();
        unequal.contains(&true).then_some(Buckets { chosen: unequal })
    }
}

/// Some of the buckets.
#[derive(Clone, Debug)]
pub struct Buckets {
    chosen: Vec<bool>,
}

impl Buckets {
    /// Every bucket there is.
    pub fn all() -> Self {
        Self { chosen: vec![true; BUCKETS] }
    }

    /// Whether the bucket of `address` is among them.
    pub fn contain(&self, address: Logical) -> bool {
        self.chosen[bucket_of(address)]
    }
}

fn bucket_of(address: Logical) -> usize {
    (mix(&[address.0]) >> 52) as usize % BUCKETS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_that_one_side_lacks_shows_in_its_bucket_alone() {
        let mut sketch = Sketch::default();
        for side in [1, -1] {
            for address in (0..1_000_000).step_by(4096) {
                sketch.add(Logical(address), &[address, 5, 257], side);
            }
        }
        assert!(sketch.unequal().is_none());
        sketch.add(Logical(8192), &[8192, 5, 258], 1);
        let unequal = sketch.unequal().unwrap();
        assert!(unequal.contain(Logical(8192)));
        assert_eq!(unequal.chosen.iter().filter(|chosen| **chosen).count(), 1);
    }

    #[test]
    fn a_wrong_count_and_a_swapped_number_are_differences() {
        for (record, count) in [(&[1, 2, 3], 2), (&[1, 3, 2], 1)] {
            let mut sketch = Sketch::default();
            sketch.add(Logical(0), &[1, 2, 3], 1);
            sketch.add(Logical(0), record, -count);
            assert!(sketch.unequal().is_some());
        }
    }

    #[test]
    fn a_count_with_one_wrong_bit_is_a_difference() {
        for (record, bit) in (0..100).flat_map(|record| (0..64).map(move |bit| (record, bit))) {
            let mut sketch = Sketch::default();
            sketch.add(Logical(0), &[record], 1);
            sketch.add(Logical(0), &[record], -(1 ^ 1 << bit));
            assert!(sketch.unequal().is_some(), "record {record} bit {bit}");
        }
    }
}
