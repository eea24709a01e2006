//! The item of an extent, with the references that stand in it.
//!
//! References stand in the item, in the order of their types and against that of their sequences, until it grows too
//! large; then they get items of their own, and none is added to the extent's before those are gone (`insert_inline_backref`
//! and `lookup_inline_extent_backref` in fs/btrfs/extent-tree.c).

use zerocopy::IntoBytes;

use crate::disk::extent::{ExtentInlineRef, ExtentItem, InlineRef, InlineRefs, TreeBlockInfo};
use crate::disk::flags::extent::{DATA, FULL_BACKREF, TREE_BLOCK};
use crate::disk::node::{Item, leaf_data_size};
use crate::disk::{Key, KeyType, Logical, Transid};
use crate::error::ExtentProblem;

use super::reference::Reference;

/// What an extent is, of which nothing changes while it is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExtentKind {
    /// A tree block.
    Block {
        /// Its level; 0 for a leaf.
        level: u8,
    },
    /// Length in bytes.
    Data {
        /// Length in bytes.
        length: u64,
    },
}

impl ExtentKind {
    /// Bytes of the extent.
    pub fn length(self, nodesize: u32) -> u64 {
        match self {
            ExtentKind::Block { .. } => nodesize.into(),
            ExtentKind::Data { length } => length,
        }
    }
}

/// What the items of a filesystem's extents have in common.
#[derive(Clone, Copy, Debug)]
pub struct Format {
    /// Bytes of a tree block.
    pub nodesize: u32,
    /// Whether new blocks get items with skinny metadata.
    pub is_skinny: bool,
    /// Of new extents.
    pub generation: Transid,
}

/// An extent's item.
#[derive(Clone, Debug)]
pub struct Record {
    /// Key of the item.
    pub key: Key,
    /// The struct that the item begins with.
    pub extent: ExtentItem,
    /// Of a block without skinny metadata.
    info: Option<TreeBlockInfo>,
    /// The owner reference of simple quotas (`EXTENT_OWNER_REF`), which stands before the others. It is no back reference.
    pub owner: Option<u64>,
    /// The references in their order, and how often each is there.
    pub refs: Vec<(Reference, u64)>,
}

/// The keys that the item of an extent may have.
pub fn keys(logical: Logical, kind: ExtentKind, nodesize: u32) -> impl Iterator<Item = Key> {
    let skinny = match kind {
        ExtentKind::Block { level } => Some(Key::new(logical.0, KeyType::METADATA_ITEM, level.into())),
        ExtentKind::Data { .. } => None,
    };
    skinny.into_iter().chain([Key::new(logical.0, KeyType::EXTENT_ITEM, kind.length(nodesize))])
}

impl Record {
    /// The item of a new extent without references; `first_key` is that of a block.
    pub fn new(logical: Logical, kind: ExtentKind, first_key: Key, format: &Format) -> Self {
        let mut extent = ExtentItem::zeroed();
        extent.generation = format.generation.0.into();
        let (key, info) = match kind {
            ExtentKind::Block { level } if !format.is_skinny => {
                let info = TreeBlockInfo { key: first_key.into(), level };
                (Key::new(logical.0, KeyType::EXTENT_ITEM, format.nodesize.into()), Some(info))
            }
            ExtentKind::Block { level } => (Key::new(logical.0, KeyType::METADATA_ITEM, level.into()), None),
            ExtentKind::Data { length } => (Key::new(logical.0, KeyType::EXTENT_ITEM, length), None),
        };
        extent.flags = flag_of(kind).into();
        Self { key, extent, info, owner: None, refs: Vec::new() }
    }

    /// What an item says; an error is what is wrong with the extent.
    ///
    /// # Errors
    /// What is wrong with the extent.
    pub fn parse(key: Key, kind: ExtentKind, data: &[u8]) -> Result<Self, ExtentProblem> {
        let (extent, mut rest) = ExtentItem::read_prefix(data).ok_or(ExtentProblem::TooShort)?;
        let mut info = None;
        if let (ExtentKind::Block { level }, KeyType::EXTENT_ITEM) = (kind, key.key_type) {
            let (found, after) = TreeBlockInfo::read_prefix(rest).ok_or(ExtentProblem::TooShort)?;
            if found.level != level {
                return Err(ExtentProblem::Level);
            }
            (info, rest) = (Some(*found), after);
        }
        if extent.flags.get() & !FULL_BACKREF != flag_of(kind) {
            return Err(ExtentProblem::Flags);
        }
        let (mut owner, mut refs) = (None, Vec::new());
        for inline_ref in InlineRefs::new(rest) {
            let inline_ref = inline_ref.map_err(|_| ExtentProblem::InlineRef)?;
            match (inline_ref, Reference::of_inline(inline_ref)) {
                (_, Some((reference, count))) if goes_with(reference, kind) => refs.push((reference, count)),
                (InlineRef::Owner { root }, _) if owner.is_none() && refs.is_empty() => owner = Some(root),
                _ => return Err(ExtentProblem::InlineRefPlace),
            }
        }
        if refs.windows(2).any(|pair| pair[0].0.rank() > pair[1].0.rank() || pair[0].0 == pair[1].0) {
            return Err(ExtentProblem::InlineRefOrder);
        }
        let inline = refs.iter().fold(0_u64, |sum, (_, count)| sum.saturating_add(*count));
        if extent.refs.get() < inline || extent.refs.get() == 0 {
            return Err(ExtentProblem::RefCount);
        }
        Ok(Self { key, extent: *extent, info, owner, refs })
    }

    /// The data of the item.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut data = Vec::with_capacity(self.size());
        data.extend_from_slice(self.extent.as_bytes());
        self.info.iter().for_each(|info| data.extend_from_slice(info.as_bytes()));
        if let Some(root) = self.owner {
            let owner = ExtentInlineRef { r#type: KeyType::EXTENT_OWNER_REF.0, offset: root.into() };
            data.extend_from_slice(owner.as_bytes());
        }
        for (reference, count) in &self.refs {
            reference.put_inline(*count, &mut data);
        }
        data
    }

    fn size(&self) -> usize {
        let info = self.info.map_or(0, |_| size_of::<TreeBlockInfo>());
        let owner = self.owner.map_or(0, |_| size_of::<ExtentInlineRef>());
        let refs: usize = self.refs.iter().map(|(reference, _)| reference.inline_size()).sum();
        size_of::<ExtentItem>() + info + owner + refs
    }

    /// Whether it may have one more reference.
    pub fn has_room_for(&self, reference: Reference, nodesize: u32) -> bool {
        self.size() + reference.inline_size() < largest_item(nodesize)
    }

    /// Puts a reference that is not there in its place.
    pub fn insert(&mut self, reference: Reference, count: u64) {
        let slot = self.refs.partition_point(|(other, _)| other.rank() <= reference.rank());
        self.refs.insert(slot, (reference, count));
    }
}

fn flag_of(kind: ExtentKind) -> u64 {
    match kind {
        ExtentKind::Block { .. } => TREE_BLOCK,
        ExtentKind::Data { .. } => DATA,
    }
}

fn goes_with(reference: Reference, kind: ExtentKind) -> bool {
    reference.is_counted() == matches!(kind, ExtentKind::Data { .. })
}

/// An extent's item stays below this size (`BTRFS_MAX_EXTENT_ITEM_SIZE` in fs/btrfs/ctree.h).
fn largest_item(nodesize: u32) -> usize {
    (leaf_data_size(nodesize) as usize / 16).saturating_sub(size_of::<Item>())
}
