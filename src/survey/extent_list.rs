//! The extents of a filesystem as small records, sorted by address.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::disk::Logical;
use crate::disk::flags::extent::DATA;
use crate::table::{self, Record, Table};

/// An extent item without its references.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Extent {
    /// Logical address of the extent.
    pub logical: Logical,
    /// Bytes; of a tree block the nodesize.
    pub length: u64,
    /// Number of references that the item claims.
    pub refs: u64,
    /// Generation in which it was allocated.
    pub generation: u64,
    /// Flags as in the extent item (`disk::flags::extent`).
    pub flags: u64,
    /// The level of a tree block; the tree that simple quotas count data for (`EXTENT_OWNER_REF`). [`Extent::UNTOLD`] if the
    /// item does not tell.
    pub level_or_owner: u64,
}

impl Extent {
    /// The item tells neither level nor owner.
    pub const UNTOLD: u64 = u64::MAX;

    /// The tree that simple quotas count the data for.
    pub fn owner(&self) -> Option<u64> {
        (self.flags & DATA != 0 && self.level_or_owner != Self::UNTOLD).then_some(self.level_or_owner)
    }

    /// The first address behind the extent.
    pub fn end(&self) -> Logical {
        Logical(self.logical.0.saturating_add(self.length))
    }
}

impl Record for Extent {
    fn key(&self) -> u64 {
        self.logical.0
    }
}

/// Where a reader of the list looked last.
pub type Cursor = table::Cursor<Extent>;

/// All extent items, by address.
#[derive(Debug, Default)]
pub struct ExtentList {
    extents: Table<Extent>,
}

impl ExtentList {
    /// The extents of a sorted table.
    pub fn new(extents: Table<Extent>) -> Self {
        Self { extents }
    }

    /// Number of extents.
    pub fn count(&self) -> u64 {
        self.extents.count()
    }

    /// The extents, in the order of their addresses.
    pub fn iter(&self) -> impl Iterator<Item = Extent> {
        self.extents.iter()
    }

    /// The extents that begin in `start..end`.
    pub fn range(&self, start: Logical, end: Logical) -> impl Iterator<Item = Extent> {
        self.extents.iter_from(start.0).take_while(move |extent| extent.logical < end)
    }

    /// The extents of which a part lies in `start..end`, of extents that overlap each other perhaps not all.
    pub fn over(&self, start: Logical, end: Logical) -> impl Iterator<Item = Extent> {
        let before = self.extents.last_before(start.0).filter(|extent| extent.end() > start);
        before.into_iter().chain(self.range(start, end))
    }

    /// The extent that begins at `logical`.
    pub fn find(&self, logical: Logical, cursor: &mut Cursor) -> Option<Extent> {
        self.extents.find(logical.0, cursor)
    }

    /// Whether the list could not be read, see [`Table::failure`].
    pub fn failure(&self) -> Option<std::io::Error> {
        self.extents.failure()
    }
}
