//! The records of extents: one for each reference, sorted by extent.

use std::collections::BTreeMap;
use std::iter::Peekable;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::block::reference::Reference;
use crate::disk::{Key, KeyType, Logical, Transid};
use crate::error::{Error, ExtentProblem, Result};
use crate::table;
use crate::tree::build::BuiltBlock;

/// The items of a small tree.
pub type Items = BTreeMap<Key, Vec<u8>>;

const NO_REFERENCE: u8 = 2;

/// A reference to a tree block. All records of one block say the same of the block itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct BlockRef {
    logical: u64,
    generation: u64,
    first_objectid: u64,
    first_offset: u64,
    first_type: u8,
    level: u8,
    is_full_backref: u8,
    is_shared: u8,
    /// Makes the size a multiple of the alignment.
    unused: u32,
    /// The tree that refers to the block, or the node.
    root_or_parent: u64,
}

impl BlockRef {
    /// A tree refers to the block: by its root item, or by a node without full back references.
    pub fn tree_block(block: &BuiltBlock, generation: Transid, root: u64) -> Self {
        Self::new(block, generation, false, root)
    }

    /// The node at `parent`, which has full back references, refers to the block.
    pub fn shared_block(block: &BuiltBlock, generation: Transid, parent: Logical) -> Self {
        Self::new(block, generation, true, parent.0)
    }

    fn new(block: &BuiltBlock, generation: Transid, is_shared: bool, root_or_parent: u64) -> Self {
        Self {
            logical: block.logical.0,
            generation: generation.0,
            first_objectid: block.first_key.objectid,
            first_offset: block.first_key.offset,
            first_type: block.first_key.key_type.0,
            level: block.level,
            is_full_backref: 0,
            is_shared: is_shared.into(),
            unused: 0,
            root_or_parent,
        }
    }

    /// No reference: the block itself has full back references, see [`BlockRef::with_full_backref`]. It is enough that one
    /// record of a block says so.
    pub fn full_backref(block: &BuiltBlock, generation: Transid) -> Self {
        Self { is_shared: NO_REFERENCE, ..Self::new(block, generation, false, 0) }.with_full_backref()
    }

    /// The block itself refers by its address to what is below it (`BTRFS_BLOCK_FLAG_FULL_BACKREF`).
    #[must_use]
    pub fn with_full_backref(self) -> Self {
        Self { is_full_backref: 1, ..self }
    }

    pub(super) fn has_full_backref(&self) -> bool {
        self.is_full_backref != 0
    }

    /// Address, level and first key of the block.
    pub fn block(&self) -> BuiltBlock {
        let first_key = Key::new(self.first_objectid, KeyType(self.first_type), self.first_offset);
        BuiltBlock { logical: Logical(self.logical), level: self.level, first_key }
    }

    pub(super) fn generation(&self) -> Transid {
        Transid(self.generation)
    }

    /// Nothing for a record that tells of the block alone.
    pub(super) fn reference(&self) -> Option<Reference> {
        match self.is_shared {
            0 => Some(Reference::TreeBlock { root: self.root_or_parent }),
            NO_REFERENCE => None,
            _ => Some(Reference::SharedBlock { parent: Logical(self.root_or_parent) }),
        }
    }

    /// Whether both say the same of their block, but for its back references.
    pub(super) fn is_same_block(&self, other: &Self) -> bool {
        let without = |record: &Self| Self { is_full_backref: 0, is_shared: 0, root_or_parent: 0, ..*record };
        without(self) == without(other)
    }
}

impl table::Record for BlockRef {
    fn key(&self) -> u64 {
        self.logical
    }
}

/// What all records of a data extent say of it.
#[derive(Clone, Copy, Debug)]
pub struct DataRange {
    /// Logical address of the extent.
    pub start: Logical,
    /// In bytes.
    pub length: u64,
    /// Of the transaction that made it.
    pub generation: Transid,
}

/// Which kind of reference a record of data is. An owner comes before the references.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct DataRefKind(u64);

impl DataRefKind {
    const OWNER: Self = Self(0);
    const EXTENT_DATA: Self = Self(1);
    const SHARED_DATA: Self = Self(2);
}

/// A reference to a data extent, or the tree that owns it. All records of one extent say the same of the extent itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct DataRef {
    start: u64,
    length: u64,
    generation: u64,
    kind: DataRefKind,
    root_or_parent: u64,
    inode: u64,
    offset: u64,
    count: u64,
}

impl DataRef {
    /// `count` file extents of an inode of the tree `root` refer to an extent. `offset` is where in the
    /// file the extent would begin: the offset of the file extent less that within the extent.
    pub fn extent_data(extent: DataRange, root: u64, inode: u64, offset: u64, count: u64) -> Self {
        Self { inode, offset, ..Self::new(extent, DataRefKind::EXTENT_DATA, root, count) }
    }

    /// `count` file extents in the leaf at `parent`, which has full back references, refer to an extent.
    pub fn shared_data(extent: DataRange, parent: Logical, count: u64) -> Self {
        Self::new(extent, DataRefKind::SHARED_DATA, parent.0, count)
    }

    /// The owner reference of simple quotas (`EXTENT_OWNER_REF`). It is no back reference.
    pub fn owner(extent: DataRange, root: u64) -> Self {
        Self::new(extent, DataRefKind::OWNER, root, 0)
    }

    /// Logical address of the extent, and its bytes.
    pub fn range(&self) -> (Logical, u64) {
        (Logical(self.start), self.length)
    }

    fn new(extent: DataRange, kind: DataRefKind, root_or_parent: u64, count: u64) -> Self {
        let DataRange { start, length, generation } = extent;
        let (start, generation) = (start.0, generation.0);
        Self { start, length, generation, kind, root_or_parent, inode: 0, offset: 0, count }
    }
}

impl table::Record for DataRef {
    fn key(&self) -> u64 {
        self.start
    }
}

/// A data extent with all that is known of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataExtent {
    /// Logical address of the extent.
    pub start: Logical,
    /// Bytes of the extent.
    pub length: u64,
    /// Generation in which it was allocated.
    pub generation: Transid,
    /// The tree of the owner reference.
    pub owner: Option<u64>,
    /// Never none.
    pub refs: Vec<(Reference, u64)>,
}

/// Data extents from their sorted records.
pub struct DataExtents<I: Iterator<Item = DataRef>> {
    records: Peekable<I>,
}

impl<I: Iterator<Item = DataRef>> DataExtents<I> {
    /// The extents that the sorted `records` tell of.
    pub fn new(records: I) -> Self {
        Self { records: records.peekable() }
    }

    pub(super) fn next_start(&mut self) -> Option<u64> {
        self.records.peek().map(|next| next.start)
    }

    /// The next extent. The counts of equal references add up.
    ///
    /// # Errors
    /// Records that contradict each other, and an extent without references.
    pub fn next_extent(&mut self) -> Result<Option<DataExtent>> {
        let Some(first) = self.records.peek().copied() else { return Ok(None) };
        let (start, error) = (Logical(first.start), |problem| Error::Extent { logical: Logical(first.start), problem });
        let mut extent = DataExtent {
            start,
            length: first.length,
            generation: Transid(first.generation),
            owner: None,
            refs: Vec::new(),
        };
        while let Some(next) = self.records.next_if(|next| next.start == first.start) {
            if (next.length, next.generation) != (first.length, first.generation) {
                return Err(error(ExtentProblem::TwoWays));
            }
            let root = next.root_or_parent;
            let reference = match next.kind {
                DataRefKind::OWNER if extent.owner.is_some_and(|owner| owner != root) => {
                    return Err(error(ExtentProblem::TwoOwners));
                }
                DataRefKind::OWNER => {
                    extent.owner = Some(root);
                    continue;
                }
                DataRefKind::EXTENT_DATA => Reference::ExtentData { root, objectid: next.inode, offset: next.offset },
                _ => Reference::SharedData { parent: Logical(root) },
            };
            match extent.refs.last_mut() {
                Some((last, count)) if *last == reference => *count = count.saturating_add(next.count),
                _ => extent.refs.push((reference, next.count)),
            }
        }
        match extent.refs.is_empty() {
            true => Err(error(ExtentProblem::NoReference)),
            false => Ok(Some(extent)),
        }
    }
}
