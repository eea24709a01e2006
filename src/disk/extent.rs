//! Extents and who refers to them.

use zerocopy::little_endian::{U32, U64};

use super::fields::{Flags, disk_struct};
use super::flags;
use super::hash;
use super::key::{DiskKey, KeyType};

disk_struct! {
    /// A data extent or tree block in use, followed by inline references.
    ExtentItem: 24 {
        refs: U64,
        generation: U64,

        flags: U64 => Flags(flags::extent::NAMES),
    }

    /// What follows the [`ExtentItem`] of a tree block without skinny metadata.
    TreeBlockInfo: 18 {
        key: DiskKey,
        level: u8,
    }

    /// Type and first number of an inline reference. For an [`ExtentDataRef`] the struct begins at `offset`.
    ExtentInlineRef: 9 {
        r#type: u8,
        offset: U64,
    }

    /// Reference from a file of a tree.
    ExtentDataRef: 28 {
        root: U64,
        objectid: U64,

        offset: U64,
        count: U32,
    }

    /// Number of references from the leaf that the key or inline reference names.
    SharedDataRef: 4 {
        count: U32,
    }

    /// The subvolume that an extent is accounted to under simple quotas.
    ExtentOwnerRef: 8 {
        root_id: U64,
    }
}

impl ExtentDataRef {
    pub fn hash(&self) -> u64 {
        hash::extent_data_ref(self.root.get(), self.objectid.get(), self.offset.get())
    }
}

/// An inline reference.
#[derive(Clone, Copy)]
pub enum InlineRef<'a> {
    TreeBlock { root: u64 },
    SharedBlock { parent: u64 },
    ExtentData(&'a ExtentDataRef),
    SharedData { parent: u64, count: u32 },
    Owner { root: u64 },
}

impl InlineRef<'_> {
    pub fn key_type(&self) -> KeyType {
        match self {
            InlineRef::TreeBlock { .. } => KeyType::TREE_BLOCK_REF,
            InlineRef::SharedBlock { .. } => KeyType::SHARED_BLOCK_REF,
            InlineRef::ExtentData(_) => KeyType::EXTENT_DATA_REF,
            InlineRef::SharedData { .. } => KeyType::SHARED_DATA_REF,
            InlineRef::Owner { .. } => KeyType::EXTENT_OWNER_REF,
        }
    }

    /// By which references of one type are ordered, the greatest first.
    pub fn sequence(&self) -> u64 {
        match *self {
            InlineRef::TreeBlock { root } | InlineRef::Owner { root } => root,
            InlineRef::SharedBlock { parent } | InlineRef::SharedData { parent, .. } => parent,
            InlineRef::ExtentData(data_ref) => data_ref.hash(),
        }
    }
}

/// The inline references in the tail of an extent item.
#[derive(Clone)]
pub struct InlineRefs<'a> {
    rest: &'a [u8],
}

/// Where inline references stop making sense: the type that is not known or whose data is cut short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadInlineRef {
    pub ref_type: KeyType,
    /// Bytes from the start of this reference to the end of the item.
    pub bytes_left: usize,
}

impl<'a> InlineRefs<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    fn parse(bytes: &'a [u8]) -> Option<(InlineRef<'a>, &'a [u8])> {
        let (ref_type, rest) = bytes.split_first()?;
        let number = |rest: &'a [u8]| rest.split_first_chunk().map(|(raw, rest)| (u64::from_le_bytes(*raw), rest));
        match KeyType(*ref_type) {
            KeyType::TREE_BLOCK_REF => number(rest).map(|(root, rest)| (InlineRef::TreeBlock { root }, rest)),
            KeyType::SHARED_BLOCK_REF => number(rest).map(|(parent, rest)| (InlineRef::SharedBlock { parent }, rest)),
            KeyType::EXTENT_OWNER_REF => number(rest).map(|(root, rest)| (InlineRef::Owner { root }, rest)),
            KeyType::EXTENT_DATA_REF => {
                ExtentDataRef::read_prefix(rest).map(|(data_ref, rest)| (InlineRef::ExtentData(data_ref), rest))
            }
            KeyType::SHARED_DATA_REF => {
                let (parent, rest) = number(rest)?;
                let (shared, rest) = SharedDataRef::read_prefix(rest)?;
                Some((InlineRef::SharedData { parent, count: shared.count.get() }, rest))
            }
            _ => None,
        }
    }
}

impl<'a> Iterator for InlineRefs<'a> {
    type Item = Result<InlineRef<'a>, BadInlineRef>;

    fn next(&mut self) -> Option<Self::Item> {
        let first = *self.rest.first()?;
        match Self::parse(self.rest) {
            Some((inline_ref, rest)) => {
                self.rest = rest;
                Some(Ok(inline_ref))
            }
            None => {
                let bad = BadInlineRef { ref_type: KeyType(first), bytes_left: self.rest.len() };
                self.rest = &[];
                Some(Err(bad))
            }
        }
    }
}
