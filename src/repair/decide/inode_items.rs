//! The items of one inode.

use std::collections::BTreeMap;

use crate::block::ItemRef;
use crate::block::reference::file_extent;
use crate::disk::inode::{FileExtentDisk, FileExtentItem, InodeItem, file_extent_type};
use crate::disk::{Key, KeyType};
use crate::survey::keys_of;
use crate::tree::TreeRoot;

use super::super::plan::Plan;

/// The items of an inode as they are, as far as they can be read.
pub fn items_of(plan: &Plan<'_>, root: &TreeRoot, inode: u64) -> BTreeMap<Key, Vec<u8>> {
    let mut items = BTreeMap::new();
    let (from, to) = keys_of(inode);
    let _ = root.range(plan.volume, from, to, |item| {
        items.insert(item.key, item.data.to_vec());
    });
    items
}

/// The inode item among the items of an inode.
pub fn inode_item(items: &BTreeMap<Key, Vec<u8>>) -> Option<&InodeItem> {
    let (_, data) = items.iter().find(|(key, _)| key.key_type == KeyType::INODE_ITEM)?;
    Some(InodeItem::read_prefix(data)?.0)
}

/// The extents of data that a file refers to, with whether they are preallocated only.
pub fn data_of(items: &BTreeMap<Key, Vec<u8>>) -> Vec<(u64, u64, bool)> {
    let mut data = Vec::new();
    for (key, bytes) in items {
        let item = ItemRef { slot: 0, key: *key, offset: 0, data: bytes };
        let Some(file) = file_extent(&item, 0) else { continue };
        let kind = FileExtentItem::read_prefix(bytes).map(|(extent, _)| extent.r#type);
        let is_prealloc = kind == Some(file_extent_type::PREALLOC);
        // Of an extent that is not compressed the part that the file uses has checksums.
        let used = FileExtentItem::read_prefix(bytes)
            .filter(|(extent, _)| extent.compression == 0)
            .and_then(|(_, rest)| FileExtentDisk::read_prefix(rest))
            .map(|(disk, _)| (file.extent.0.saturating_add(disk.offset.get()), disk.num_bytes.get()));
        let (start, length) = used.unwrap_or((file.extent.0, file.length));
        data.push((start, length, is_prealloc));
    }
    data
}
