//! Items that are lists of names, as they are changed.

use zerocopy::IntoBytes;

use crate::disk::inode::{DirItem, Entries, InodeExtref, InodeRef};
use crate::disk::{Key, Transid};

/// A name in a directory, or an attribute: what stands before the name, the name, and the value behind it.
pub struct DirEntry {
    /// What stands before the name.
    pub item: DirItem,
    /// The name.
    pub name: Vec<u8>,
    /// Of an attribute.
    pub value: Vec<u8>,
}

/// The names of a directory item or index, as far as they make sense.
pub fn dir_entries(data: &[u8]) -> Vec<DirEntry> {
    let entries = Entries::<DirItem>::new(data).map_while(Result::ok);
    let owned = |named: crate::disk::inode::Named<'_, DirItem>| DirEntry {
        item: *named.entry,
        name: named.name.to_vec(),
        value: named.data.to_vec(),
    };
    entries.map(owned).collect()
}

/// The data of the item with these names; nothing without any.
pub fn dir_item_data(entries: &[DirEntry]) -> Option<Vec<u8>> {
    let one = |entry: &DirEntry| [entry.item.as_bytes(), &entry.name, &entry.value].concat();
    (!entries.is_empty()).then(|| entries.iter().flat_map(one).collect())
}

/// A name that leads to `location`.
pub fn dir_entry(location: Key, entry_type: u8, name: &[u8], transid: Transid) -> DirEntry {
    let mut item = DirItem::zeroed();
    item.location = location.into();
    item.transid = transid.0.into();
    item.name_len = (name.len() as u16).into();
    item.r#type = entry_type;
    DirEntry { item, name: name.to_vec(), value: Vec::new() }
}

/// The names that an inode has in one directory, with their indexes.
pub fn inode_refs(data: &[u8]) -> Vec<(u64, Vec<u8>)> {
    let entries = Entries::<InodeRef>::new(data).map_while(Result::ok);
    entries.map(|named| (named.entry.index.get(), named.name.to_vec())).collect()
}

/// The data of the item with these names; nothing without any.
pub fn inode_ref_data(refs: &[(u64, Vec<u8>)]) -> Option<Vec<u8>> {
    let one = |(index, name): &(u64, Vec<u8>)| {
        let item = InodeRef { index: (*index).into(), name_len: (name.len() as u16).into() };
        [item.as_bytes(), name].concat()
    };
    (!refs.is_empty()).then(|| refs.iter().flat_map(one).collect())
}

/// Directory, index and name of each name in an extended reference.
pub fn inode_extrefs(data: &[u8]) -> Vec<(u64, u64, Vec<u8>)> {
    let entries = Entries::<InodeExtref>::new(data).map_while(Result::ok);
    let parts = |named: crate::disk::inode::Named<'_, InodeExtref>| {
        (named.entry.parent_objectid.get(), named.entry.index.get(), named.name.to_vec())
    };
    entries.map(parts).collect()
}

/// The data of the item with these names; nothing without any.
pub fn inode_extref_data(refs: &[(u64, u64, Vec<u8>)]) -> Option<Vec<u8>> {
    let one = |(parent, index, name): &(u64, u64, Vec<u8>)| {
        let item = InodeExtref {
            parent_objectid: (*parent).into(),
            index: (*index).into(),
            name_len: (name.len() as u16).into(),
        };
        [item.as_bytes(), name].concat()
    };
    (!refs.is_empty()).then(|| refs.iter().flat_map(one).collect())
}
