//! References to extents, as extent items claim them and as trees have them.

use std::fmt;

use crate::block::{ItemRef, Leaf, Node};
use crate::disk::extent::{ExtentDataRef, ExtentItem, InlineRef, InlineRefs, SharedDataRef, TreeBlockInfo};
use crate::disk::flags::extent::{FULL_BACKREF, TREE_BLOCK};
use crate::disk::inode::{FileExtentDisk, FileExtentItem, file_extent_type};
use crate::disk::node::KeyPtr;
use crate::disk::{KeyType, Logical, Transid};

use super::extent_list::Extent;

/// Who refers to an extent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reference {
    /// A block of the tree, or its root item.
    Tree { root: u64 },
    /// The node at this address.
    Node { parent: Logical },
    /// A file of the tree; `offset` is where in the file the whole extent would begin.
    File { root: u64, objectid: u64, offset: u64 },
    /// The leaf at this address.
    Leaf { parent: Logical },
}

impl Reference {
    /// The numbers that make it, for hashing.
    pub fn numbers(&self, extent: Logical) -> [u64; 5] {
        let logical = extent.0;
        match *self {
            Reference::Tree { root } => [logical, 1, root, 0, 0],
            Reference::Node { parent } => [logical, 2, parent.0, 0, 0],
            Reference::File { root, objectid, offset } => [logical, 3, root, objectid, offset],
            Reference::Leaf { parent } => [logical, 4, parent.0, 0, 0],
        }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reference::Tree { root } => write!(f, "tree {root}"),
            Reference::Node { parent } => write!(f, "node {parent}"),
            Reference::File { root, objectid, offset } => write!(f, "tree {root} inode {objectid} offset {offset}"),
            Reference::Leaf { parent } => write!(f, "leaf {parent}"),
        }
    }
}

/// What an item of the extent tree says.
pub enum Claim {
    Extent(Extent),
    Reference {
        extent: Logical,
        reference: Reference,
        count: u64,
    },
    /// Simple quotas' note of who pays for an extent of data; no reference.
    Owner {
        root: u64,
        generation: Transid,
        length: u64,
    },
}

/// Hands each claim of a leaf of the extent tree to `hear`. What makes no sense is left out: the item verifier reports
/// it.
pub fn claims(leaf: Leaf<'_>, nodesize: u32, mut hear: impl FnMut(Claim)) {
    for item in leaf.items().flatten() {
        let logical = Logical(item.key.objectid);
        match item.key.key_type {
            KeyType::EXTENT_ITEM | KeyType::METADATA_ITEM => extent_claims(&item, nodesize, &mut hear),
            KeyType::TREE_BLOCK_REF => {
                hear(claim(logical, Reference::Tree { root: item.key.offset }, 1));
            }
            KeyType::SHARED_BLOCK_REF => {
                hear(claim(logical, Reference::Node { parent: Logical(item.key.offset) }, 1));
            }
            KeyType::EXTENT_DATA_REF => {
                if let Some((data_ref, _)) = ExtentDataRef::read_prefix(item.data) {
                    hear(claim(logical, file_reference(data_ref), data_ref.count.get().into()));
                }
            }
            KeyType::SHARED_DATA_REF => {
                if let Some((shared, _)) = SharedDataRef::read_prefix(item.data) {
                    let parent = Logical(item.key.offset);
                    hear(claim(logical, Reference::Leaf { parent }, shared.count.get().into()));
                }
            }
            _ => {}
        }
    }
}

fn claim(extent: Logical, reference: Reference, count: u64) -> Claim {
    Claim::Reference { extent, reference, count }
}

fn file_reference(data_ref: &ExtentDataRef) -> Reference {
    Reference::File { root: data_ref.root.get(), objectid: data_ref.objectid.get(), offset: data_ref.offset.get() }
}

fn extent_claims(item: &ItemRef<'_>, nodesize: u32, hear: &mut impl FnMut(Claim)) {
    let Some((extent, mut refs)) = ExtentItem::read_prefix(item.data) else { return };
    let logical = Logical(item.key.objectid);
    let flags = extent.flags.get();
    let is_skinny = item.key.key_type == KeyType::METADATA_ITEM;
    // The verifier reports a level that does not fit a byte.
    let mut level = if is_skinny { item.key.offset } else { Extent::NO_LEVEL };
    if !is_skinny && flags & TREE_BLOCK != 0 {
        let Some((info, rest)) = TreeBlockInfo::read_prefix(refs) else { return };
        level = info.level.into();
        refs = rest;
    }
    let length = if is_skinny { nodesize.into() } else { item.key.offset };
    let (refs_total, generation) = (extent.refs.get(), extent.generation.get());
    hear(Claim::Extent(Extent { logical, length, refs: refs_total, generation, flags, level }));
    for inline_ref in InlineRefs::new(refs).map_while(Result::ok) {
        match inline_ref {
            InlineRef::TreeBlock { root } => hear(claim(logical, Reference::Tree { root }, 1)),
            InlineRef::SharedBlock { parent } => {
                hear(claim(logical, Reference::Node { parent: Logical(parent) }, 1));
            }
            InlineRef::ExtentData(data_ref) => {
                hear(claim(logical, file_reference(data_ref), data_ref.count.get().into()));
            }
            InlineRef::SharedData { parent, count } => {
                hear(claim(logical, Reference::Leaf { parent: Logical(parent) }, count.into()));
            }
            InlineRef::Owner { root } => hear(Claim::Owner { root, generation: extent.generation.into(), length }),
        }
    }
}

/// An extent of data that a file item refers to.
#[derive(Clone, Copy, Debug)]
pub struct FileExtent {
    pub extent: Logical,
    pub length: u64,
    pub reference: Reference,
}

/// Hands each reference of a leaf of files, written for the tree `owner`, to `hear`. `flags` are those of the leaf's own
/// extent: a leaf with full back references is itself what refers.
pub fn file_extents(leaf: Leaf<'_>, owner: u64, flags: u64, mut hear: impl FnMut(FileExtent)) {
    for item in leaf.items().flatten().filter(|item| item.key.key_type == KeyType::EXTENT_DATA) {
        let Some((extent, rest)) = FileExtentItem::read_prefix(item.data) else { continue };
        if extent.r#type == file_extent_type::INLINE {
            continue;
        }
        let Some((disk, _)) = FileExtentDisk::read_prefix(rest) else { continue };
        if disk.disk_bytenr.get() == 0 {
            continue;
        }
        let reference = match flags & FULL_BACKREF {
            0 => Reference::File {
                root: owner,
                objectid: item.key.objectid,
                // Wraps for a clone that begins before the extent would: stored like this.
                offset: item.key.offset.wrapping_sub(disk.offset.get()),
            },
            _ => Reference::Leaf { parent: leaf.block().logical() },
        };
        hear(FileExtent { extent: disk.disk_bytenr.into(), length: disk.disk_num_bytes.get(), reference });
    }
}

/// Hands each pointer that a node, written for the tree `owner`, has from slot `first` on, to `hear`.
pub fn node_children(node: Node<'_>, owner: u64, first: usize, flags: u64, mut hear: impl FnMut(&KeyPtr, Reference)) {
    let reference = match flags & FULL_BACKREF {
        0 => Reference::Tree { root: owner },
        _ => Reference::Node { parent: node.block().logical() },
    };
    for ptr in node.ptrs().iter().skip(first) {
        hear(ptr, reference);
    }
}
