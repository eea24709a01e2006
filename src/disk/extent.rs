//! Extents and their back references.

use zerocopy::little_endian::{U32, U64};

use super::fields::{Flags, disk_struct};
use super::flags;
use super::hash;
use super::key::{DiskKey, KeyType};

disk_struct! {
    /// A data extent or tree block in use, followed by inline references.
    ExtentItem: 24 {
        /// Number of references, those in items of their own among them.
        refs: U64,
        /// Generation in which the extent was allocated.
        generation: U64,

        /// [`flags::extent`].
        flags: U64 => Flags(flags::extent::NAMES),
    }

    /// What follows the [`ExtentItem`] of a tree block without skinny metadata.
    TreeBlockInfo: 18 {
        /// First key of the block.
        key: DiskKey,
        /// Level of the block; 0 for a leaf.
        level: u8,
    }

    /// Type and first number of an inline reference. For an [`ExtentDataRef`] the struct begins at `offset`.
    ExtentInlineRef: 9 {
        /// Key type of the reference, such as [`KeyType::TREE_BLOCK_REF`].
        r#type: u8,
        /// The tree's id or the parent's address; of an [`ExtentDataRef`] its first bytes.
        offset: U64,
    }

    /// Reference from a file of a tree.
    ExtentDataRef: 28 {
        /// Id of the tree.
        root: U64,
        /// Inode of the file.
        objectid: U64,

        /// Offset in the file at which the whole extent would begin; it wraps below zero.
        offset: U64,
        /// Number of file extent items with this reference.
        count: U32,
    }

    /// Number of references from the leaf that the key or inline reference names.
    SharedDataRef: 4 {
        /// Number of file extent items of the leaf that refer to the extent.
        count: U32,
    }

    /// The subvolume that an extent is accounted to under simple quotas.
    ExtentOwnerRef: 8 {
        /// Id of the subvolume.
        root_id: U64,
    }
}

impl ExtentDataRef {
    /// The key offset of its item (`hash_extent_data_ref` in fs/btrfs/extent-tree.c).
    pub fn hash(&self) -> u64 {
        hash::extent_data_ref(self.root.get(), self.objectid.get(), self.offset.get())
    }
}

/// An inline reference.
#[derive(Clone, Copy)]
pub enum InlineRef<'a> {
    /// A block of the tree `root`, or its root item.
    TreeBlock {
        /// Id of the tree.
        root: u64,
    },
    /// The node at the address `parent`.
    SharedBlock {
        /// Logical address of the node.
        parent: u64,
    },
    /// A file.
    ExtentData(&'a ExtentDataRef),
    /// `count` file extent items of the leaf at the address `parent`.
    SharedData {
        /// Logical address of the leaf.
        parent: u64,
        /// Number of its items that refer to the extent.
        count: u32,
    },
    /// The subvolume `root` that simple quotas account the extent to.
    Owner {
        /// Id of the subvolume.
        root: u64,
    },
}

impl InlineRef<'_> {
    /// The type that an item of the reference has.
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
    /// The type that the reference claims.
    pub ref_type: KeyType,
    /// Bytes from the start of this reference to the end of the item.
    pub bytes_left: usize,
}

impl<'a> InlineRefs<'a> {
    /// The references in `bytes`, the tail of an extent item.
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
