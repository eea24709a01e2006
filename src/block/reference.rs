//! References to extents, as blocks have them and as the extent tree notes them.

use std::cmp::Reverse;

use zerocopy::IntoBytes;

use crate::disk::extent::{ExtentDataRef, ExtentInlineRef, InlineRef, SharedDataRef};
use crate::disk::flags::extent::FULL_BACKREF;
use crate::disk::inode::{FileExtentDisk, FileExtentItem, compression, file_extent_type};
use crate::disk::node::KeyPtr;
pub use crate::disk::reference::Reference;
use crate::disk::{Key, KeyType, Logical, hash};

use super::{ItemRef, Leaf, Node};

impl Reference {
    /// The reference that an `EXTENT_DATA_REF` describes.
    pub fn of_extent_data(data_ref: &ExtentDataRef) -> Self {
        let (root, objectid, offset) = (data_ref.root.get(), data_ref.objectid.get(), data_ref.offset.get());
        Reference::ExtentData { root, objectid, offset }
    }

    /// What an inline reference says, and how often; nothing for an owner, which is no reference.
    pub fn of_inline(inline_ref: InlineRef<'_>) -> Option<(Self, u64)> {
        Some(match inline_ref {
            InlineRef::TreeBlock { root } => (Reference::TreeBlock { root }, 1),
            InlineRef::SharedBlock { parent } => (Reference::SharedBlock { parent: Logical(parent) }, 1),
            InlineRef::ExtentData(data_ref) => (Reference::of_extent_data(data_ref), data_ref.count.get().into()),
            InlineRef::SharedData { parent, count } => {
                (Reference::SharedData { parent: Logical(parent) }, count.into())
            }
            InlineRef::Owner { .. } => return None,
        })
    }

    /// What an item of the extent tree that is a reference says, and how often; nothing for other items.
    pub fn of_item(item: &ItemRef<'_>) -> Option<(Self, u64)> {
        let number = item.key.offset;
        match item.key.key_type {
            KeyType::TREE_BLOCK_REF => Some((Reference::TreeBlock { root: number }, 1)),
            KeyType::SHARED_BLOCK_REF => Some((Reference::SharedBlock { parent: Logical(number) }, 1)),
            KeyType::EXTENT_DATA_REF => {
                let (data_ref, _) = ExtentDataRef::read_prefix(item.data)?;
                Some((Reference::of_extent_data(data_ref), data_ref.count.get().into()))
            }
            KeyType::SHARED_DATA_REF => {
                let (shared, _) = SharedDataRef::read_prefix(item.data)?;
                Some((Reference::SharedData { parent: Logical(number) }, shared.count.get().into()))
            }
            _ => None,
        }
    }

    /// Whether it has a count: references to data have.
    pub fn is_counted(&self) -> bool {
        matches!(self, Reference::ExtentData { .. } | Reference::SharedData { .. })
    }

    /// The key of its item; of a file's, whose hash others may have, the first one.
    pub fn key(&self, extent: Logical) -> Key {
        let (key_type, offset) = match *self {
            Reference::TreeBlock { root } => (KeyType::TREE_BLOCK_REF, root),
            Reference::SharedBlock { parent } => (KeyType::SHARED_BLOCK_REF, parent.0),
            Reference::ExtentData { root, objectid, offset } => {
                (KeyType::EXTENT_DATA_REF, hash::extent_data_ref(root, objectid, offset))
            }
            Reference::SharedData { parent } => (KeyType::SHARED_DATA_REF, parent.0),
        };
        Key::new(extent.0, key_type, offset)
    }

    /// Appends the data of its item.
    pub fn put_data(&self, count: u64, out: &mut Vec<u8>) {
        let count = u32::try_from(count).unwrap_or(u32::MAX).into();
        match *self {
            Reference::TreeBlock { .. } | Reference::SharedBlock { .. } => {}
            Reference::ExtentData { root, objectid, offset } => {
                let (root, objectid, offset) = (root.into(), objectid.into(), offset.into());
                out.extend_from_slice(ExtentDataRef { root, objectid, offset, count }.as_bytes());
            }
            Reference::SharedData { .. } => out.extend_from_slice(SharedDataRef { count }.as_bytes()),
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
            Reference::ExtentData { .. } => out.push(KeyType::EXTENT_DATA_REF.0),
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
            Reference::TreeBlock { .. } | Reference::SharedBlock { .. } => size_of::<ExtentInlineRef>(),
            Reference::ExtentData { .. } => 1 + size_of::<ExtentDataRef>(),
            Reference::SharedData { .. } => size_of::<ExtentInlineRef>() + size_of::<SharedDataRef>(),
        }
    }

    /// The numbers that make it, for hashing.
    pub fn numbers(&self, extent: Logical) -> [u64; 5] {
        let logical = extent.0;
        match *self {
            Reference::TreeBlock { root } => [logical, 1, root, 0, 0],
            Reference::SharedBlock { parent } => [logical, 2, parent.0, 0, 0],
            Reference::ExtentData { root, objectid, offset } => [logical, 3, root, objectid, offset],
            Reference::SharedData { parent } => [logical, 4, parent.0, 0, 0],
        }
    }
}

/// An extent of data that a file item refers to. The offset of the reference wraps where the extent would begin before the
/// file.
#[derive(Clone, Copy, Debug)]
pub struct FileExtent {
    /// Logical address of the extent.
    pub extent: Logical,
    /// Bytes of the extent on the disk.
    pub length: u64,
    /// The reference that the item stands for.
    pub reference: Reference,
}

/// The extent that an item of a file in the tree `owner` refers to, if there is one.
pub fn file_extent(item: &ItemRef<'_>, owner: u64) -> Option<FileExtent> {
    let (extent, rest) =
        FileExtentItem::read_prefix(item.data).filter(|_| item.key.key_type == KeyType::EXTENT_DATA)?;
    let (disk, _) = FileExtentDisk::read_prefix(rest).filter(|_| extent.r#type != file_extent_type::INLINE)?;
    // Wraps for a clone that begins before the extent would: stored like this.
    let offset = item.key.offset.wrapping_sub(disk.offset.get());
    let reference = Reference::ExtentData { root: owner, objectid: item.key.objectid, offset };
    let extent = Logical::from(disk.disk_bytenr);
    (extent != Logical(0)).then_some(FileExtent { extent, length: disk.disk_num_bytes.get(), reference })
}

/// A file extent and the data that it stands for, address and bytes: of a compressed one all of the extent. Nothing of an inline one.
pub fn file_data<'i>(item: &ItemRef<'i>) -> Option<(&'i FileExtentItem, Logical, u64)> {
    let (extent, rest) =
        FileExtentItem::read_prefix(item.data).filter(|_| item.key.key_type == KeyType::EXTENT_DATA)?;
    let (disk, _) = FileExtentDisk::read_prefix(rest).filter(|_| extent.r#type != file_extent_type::INLINE)?;
    let bytenr = disk.disk_bytenr.get();
    Some(match extent.compression {
        compression::NONE => (extent, Logical(bytenr.saturating_add(disk.offset.get())), disk.num_bytes.get()),
        _ => (extent, Logical(bytenr), disk.disk_num_bytes.get()),
    })
}

/// Hands each reference of a leaf of files, written for the tree `owner`, to `visit`. `flags` are those of the leaf's own
/// extent: a leaf with full back references is itself what refers.
pub fn file_extents(leaf: Leaf<'_>, owner: u64, flags: u64, visit: impl FnMut(FileExtent)) {
    let parent = leaf.block().logical();
    let of_parent = |file: FileExtent| match flags & FULL_BACKREF {
        0 => file,
        _ => FileExtent { reference: Reference::SharedData { parent }, ..file },
    };
    leaf.items().flatten().filter_map(|item| file_extent(&item, owner)).map(of_parent).for_each(visit);
}

/// Hands each pointer that a node, written for the tree `owner`, has from slot `first` on, to `visit`.
pub fn node_children(node: Node<'_>, owner: u64, first: usize, flags: u64, mut visit: impl FnMut(&KeyPtr, Reference)) {
    let reference = match flags & FULL_BACKREF {
        0 => Reference::TreeBlock { root: owner },
        _ => Reference::SharedBlock { parent: node.block().logical() },
    };
    for ptr in node.ptrs().iter().skip(first) {
        visit(ptr, reference);
    }
}
