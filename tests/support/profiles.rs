//! Filesystems of every profile, and what of them may be lost.

use std::path::PathBuf;

/// A filesystem that `tests/fixtures/kernel-images` makes, with the number of devices of which any may be lost.
#[derive(Clone, Copy)]
pub struct Redundancy {
    pub name: &'static str,
    /// So that metadata stays whole.
    pub metadata: usize,
    /// So that data stays whole.
    pub data: usize,
}

const fn both(name: &'static str, tolerated: usize) -> Redundancy {
    Redundancy { name, metadata: tolerated, data: tolerated }
}

/// Every profile.
pub const PROFILES: [Redundancy; 12] = [
    both("single", 0),
    both("dup", 0),
    both("raid0", 0),
    both("raid1", 1),
    both("raid1c3", 2),
    both("raid1c4", 3),
    both("raid10", 1),
    both("raid5", 1),
    both("raid6", 2),
    both("raid5-of-2", 1),
    both("raid6-of-3", 2),
    Redundancy { name: "raid5-data-raid1c3-meta", metadata: 2, data: 1 },
];

/// The images that are left where some are `lost`.
pub fn without(images: &[PathBuf], lost: &[PathBuf]) -> Vec<PathBuf> {
    images.iter().filter(|image| !lost.contains(image)).cloned().collect()
}
