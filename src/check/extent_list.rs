//! The extents of a filesystem as small records, sorted by address.

use crate::disk::Logical;

/// An extent item without its references.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Extent {
    pub logical: Logical,
    /// Bytes; of a tree block the nodesize.
    pub length: u64,
    pub refs: u64,
    pub generation: u64,
    /// Flags as in the extent item (`disk::flags::extent`).
    pub flags: u64,
    /// Of a tree block with a skinny item or a tree block info.
    pub level: Option<u8>,
}

/// All extent items, by address.
#[derive(Clone, Debug, Default)]
pub struct ExtentList {
    extents: Vec<Extent>,
}

impl ExtentList {
    pub fn new(mut extents: Vec<Extent>) -> Self {
        extents.sort();
        Self { extents }
    }

    pub fn iter(&self) -> impl Iterator<Item = &Extent> {
        self.extents.iter()
    }

    /// The extents that begin in `start..end`.
    pub fn range(&self, start: Logical, end: Logical) -> &[Extent] {
        let from = self.extents.partition_point(|extent| extent.logical < start);
        let to = self.extents.partition_point(|extent| extent.logical < end);
        &self.extents[from..to.max(from)]
    }

    /// The extent that begins at `logical`.
    pub fn find(&self, logical: Logical) -> Option<&Extent> {
        let index = self.extents.binary_search_by_key(&logical, |extent| extent.logical).ok()?;
        self.extents.get(index)
    }
}
