//! References to extents, as blocks have them and as the extent tree notes them.

use std::cmp::Reverse;
use std::fmt;

use zerocopy::IntoBytes;

use crate::disk::extent::{ExtentDataRef, ExtentInlineRef, InlineRef, SharedDataRef};
use crate::disk::flags::extent::FULL_BACKREF;
use crate::disk::inode::{FileExtentDisk, FileExtentItem, file_extent_type};
use crate::disk::node::KeyPtr;
use crate::disk::{Key, KeyType, Logical, hash};

use super::{ItemRef, Leaf, Node};

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
    /// The reference of a file.
    pub fn of_file(data_ref: &ExtentDataRef) -> Self {
        let (root, objectid, offset) = (data_ref.root.get(), data_ref.objectid.get(), data_ref.offset.get());
        Reference::File { root, objectid, offset }
    }

    /// What an inline reference says, and how often; nothing for an owner, which is no reference.
    pub fn of_inline(inline_ref: InlineRef<'_>) -> Option<(Self, u64)> {
        Some(match inline_ref {
            InlineRef::TreeBlock { root } => (Reference::Tree { root }, 1),
            InlineRef::SharedBlock { parent } => (Reference::Node { parent: Logical(parent) }, 1),
            InlineRef::ExtentData(data_ref) => (Reference::of_file(data_ref), data_ref.count.get().into()),
            InlineRef::SharedData { parent, count } => (Reference::Leaf { parent: Logical(parent) }, count.into()),
            InlineRef::Owner { .. } => return None,
        })
    }

    /// What an item of the extent tree that is a reference says, and how often; nothing for other items.
    pub fn of_item(item: &ItemRef<'_>) -> Option<(Self, u64)> {
        let number = item.key.offset;
        match item.key.key_type {
            KeyType::TREE_BLOCK_REF => Some((Reference::Tree { root: number }, 1)),
            KeyType::SHARED_BLOCK_REF => Some((Reference::Node { parent: Logical(number) }, 1)),
            KeyType::EXTENT_DATA_REF => {
                let (data_ref, _) = ExtentDataRef::read_prefix(item.data)?;
                Some((Reference::of_file(data_ref), data_ref.count.get().into()))
            }
            KeyType::SHARED_DATA_REF => {
                let (shared, _) = SharedDataRef::read_prefix(item.data)?;
                Some((Reference::Leaf { parent: Logical(number) }, shared.count.get().into()))
            }
            _ => None,
        }
    }

    /// Whether it has a count: references to data have.
    pub fn is_counted(&self) -> bool {
        matches!(self, Reference::File { .. } | Reference::Leaf { .. })
    }

    /// The key of its item; of a file's, whose hash others may have, the first one.
    pub fn key(&self, extent: Logical) -> Key {
        let (key_type, offset) = match *self {
            Reference::Tree { root } => (KeyType::TREE_BLOCK_REF, root),
            Reference::Node { parent } => (KeyType::SHARED_BLOCK_REF, parent.0),
            Reference::File { root, objectid, offset } => {
                (KeyType::EXTENT_DATA_REF, hash::extent_data_ref(root, objectid, offset))
            }
            Reference::Leaf { parent } => (KeyType::SHARED_DATA_REF, parent.0),
        };
        Key::new(extent.0, key_type, offset)
    }

    /// Appends the data of its item.
    pub fn put_data(&self, count: u64, out: &mut Vec<u8>) {
        let count = u32::try_from(count).unwrap_or(u32::MAX).into();
        match *self {
            Reference::Tree { .. } | Reference::Node { .. } => {}
            Reference::File { root, objectid, offset } => {
                let (root, objectid, offset) = (root.into(), objectid.into(), offset.into());
                out.extend_from_slice(ExtentDataRef { root, objectid, offset, count }.as_bytes());
            }
            Reference::Leaf { .. } => out.extend_from_slice(SharedDataRef { count }.as_bytes()),
        }
    }

    /// The data of its item.
    pub fn data(&self, count: u64) -> Vec<u8> {
        let mut data = Vec::new();
        self.put_data(count, &mut data);
        data
    }

    /// Its place among inline references.
    pub fn rank(&self) -> (KeyType, Reverse<u64>) {
        let Key { key_type, offset, .. } = self.key(Logical(0));
        (key_type, Reverse(offset))
    }

    /// Appends it as an inline reference.
    pub fn put_inline(&self, count: u64, out: &mut Vec<u8>) {
        match self {
            Reference::File { .. } => out.push(KeyType::EXTENT_DATA_REF.0),
            _ => {
                let Key { key_type, offset, .. } = self.key(Logical(0));
                out.extend_from_slice(ExtentInlineRef { r#type: key_type.0, offset: offset.into() }.as_bytes());
            }
        }
        self.put_data(count, out);
    }

    /// Its bytes as an inline reference.
    pub fn inline_size(&self) -> usize {
        match self {
            Reference::Tree { .. } | Reference::Node { .. } => size_of::<ExtentInlineRef>(),
            Reference::File { .. } => 1 + size_of::<ExtentDataRef>(),
            Reference::Leaf { .. } => size_of::<ExtentInlineRef>() + size_of::<SharedDataRef>(),
        }
    }

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

/// An extent of data that a file item refers to. The offset of the reference wraps where the extent would begin before the
/// file.
#[derive(Clone, Copy, Debug)]
pub struct FileExtent {
    pub extent: Logical,
    pub length: u64,
    pub reference: Reference,
}

/// The extent that an item of a file in the tree `owner` refers to, if there is one.
pub fn file_extent(item: &ItemRef<'_>, owner: u64) -> Option<FileExtent> {
    let (extent, rest) =
        FileExtentItem::read_prefix(item.data).filter(|_| item.key.key_type == KeyType::EXTENT_DATA)?;
    let (disk, _) = FileExtentDisk::read_prefix(rest).filter(|_| extent.r#type != file_extent_type::INLINE)?;
    // Wraps for a clone that begins before the extent would: stored like this.
    let offset = item.key.offset.wrapping_sub(disk.offset.get());
    let reference = Reference::File { root: owner, objectid: item.key.objectid, offset };
    let extent = Logical::from(disk.disk_bytenr);
    (extent != Logical(0)).then_some(FileExtent { extent, length: disk.disk_num_bytes.get(), reference })
}

/// Hands each reference of a leaf of files, written for the tree `owner`, to `hear`. `flags` are those of the leaf's own
/// extent: a leaf with full back references is itself what refers.
pub fn file_extents(leaf: Leaf<'_>, owner: u64, flags: u64, hear: impl FnMut(FileExtent)) {
    let parent = leaf.block().logical();
    let of_parent = |file: FileExtent| match flags & FULL_BACKREF {
        0 => file,
        _ => FileExtent { reference: Reference::Leaf { parent }, ..file },
    };
    leaf.items().flatten().filter_map(|item| file_extent(&item, owner)).map(of_parent).for_each(hear);
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
