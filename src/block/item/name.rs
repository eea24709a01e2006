//! Names: references of inodes, directory entries and extended attributes.

use crate::block::ItemRef;
use crate::disk::inode::{DirItem, Entries, Entry, InodeExtref, InodeRef, Named, dir_type};
use crate::disk::{Key, KeyType, NAME_LEN, hash};
use crate::finding::findings;

use super::inode::{check_number, is_inode_location};
use super::{Context, is_fs_tree, is_inode_number};

findings! {
    /// Damage to an item that holds names.
    NameDamage {
        /// An item of names is empty, or its last entry runs past its end.
        Cut("name-entry-cut", Error, "entry crosses item end, {left} of {size} bytes left") { left: u32, size: u32 }
        /// A name is empty or too long.
        Length("name-length", Error, "invalid name length, have {have} expect [1, {limit}]") { have: u32, limit: u32 }
        /// A name contains a slash or a zero byte.
        Character("name-character", Error, "invalid character {have:#04x} in name at {position}") { have: u8, position: u32 }
        /// An inode reference names a parent directory that cannot be one.
        Parent("inode-ref-parent", Error, "invalid parent inode number, have {have}") { have: u64 }
        /// The root directory has another reference than the one to itself.
        RootDirectory("inode-ref-root", Warning, "invalid reference of the root directory, expect the name .. at index 0") { }
        /// The key of an extended inode reference is not the hash of its name.
        ExtrefHash("extref-hash", Error, "name hash mismatch with key, have {have:#x} expect {expect:#x}") {
            have: u64, expect: u64,
        }
        /// The key of a directory entry or extended attribute is not the hash of its name.
        DirItemHash("dir-item-hash", Error, "name hash mismatch with key, have {have:#x} expect {expect:#x}") {
            have: u64, expect: u64,
        }
        /// A directory index item holds more than one entry.
        IndexEntries("dir-index-entries", Error, "more than one entry in a directory index item") { }
        /// A directory entry leads to neither an inode nor a subvolume, or an extended attribute leads somewhere.
        Location("dir-item-location", Error, "invalid location key {have}") { have: Key }
        /// The file type of a directory entry is not known.
        Type("dir-item-type", Error, "invalid file type, have {have} expect [1, {limit}]") { have: u8, limit: u8 }
        /// A directory entry has the type of extended attributes, or the other way round.
        XattrType("dir-item-xattr-type", Error, "file type {have} does not go with this key type") { have: u8 }
        /// A directory entry that leads to a subvolume does not have the type of directories.
        SubvolumeType("dir-item-subvolume-type", Error, "invalid file type for a subvolume, have {have} expect {expect}") {
            have: u8, expect: u8,
        }
        /// A directory entry carries a value, which only extended attributes have.
        Data("dir-item-data", Error, "invalid data length, have {have} expect 0") { have: u32 }
        /// A directory entry was made in a generation that the superblock does not know, as btrfs-convert wrote it.
        Transid("dir-item-transid", Note, "invalid transid, have {have} expect [0, {limit}]") { have: u64, limit: u64 }
    }
}

/// Verifies a name; a slash may stand only in that of an extended attribute.
pub(super) fn check_name(cx: &mut Context<'_>, name: &[u8], may_have_slash: bool) {
    if name.is_empty() || name.len() > NAME_LEN {
        cx.found(NameDamage::Length { have: name.len() as u32, limit: NAME_LEN as u32 });
    }
    let bad = |byte: &u8| *byte == 0 || (*byte == b'/' && !may_have_slash);
    if let Some(position) = name.iter().position(bad) {
        cx.found(NameDamage::Character { have: name[position], position: position as u32 });
    }
}

/// Calls `check` with each entry of an item, up to one that is cut.
fn each_entry<T: Entry>(
    cx: &mut Context<'_>,
    item: &ItemRef<'_>,
    mut check: impl FnMut(&mut Context<'_>, Named<'_, T>),
) {
    let size = item.data.len() as u32;
    if size == 0 {
        cx.found(NameDamage::Cut { left: 0, size });
    }
    for entry in Entries::<T>::new(item.data) {
        match entry {
            Ok(named) => check(cx, named),
            Err(cut) => cx.found(NameDamage::Cut { left: cut.bytes_left as u32, size }),
        }
    }
}

fn check_parent(cx: &mut Context<'_>, parent: u64) {
    if !is_inode_number(parent) {
        cx.found(NameDamage::Parent { have: parent });
    }
}

pub(super) fn check_ref(cx: &mut Context<'_>, item: &ItemRef<'_>) {
    check_number(cx, item.key);
    check_parent(cx, item.key.offset);
    let is_root = item.key.objectid == item.key.offset;
    each_entry::<InodeRef>(cx, item, |cx, named| {
        check_name(cx, named.name, false);
        if is_root && (named.name != b".." || named.entry.index.get() != 0) {
            cx.found(NameDamage::RootDirectory {});
        }
    });
}

pub(super) fn check_extref(cx: &mut Context<'_>, item: &ItemRef<'_>) {
    check_number(cx, item.key);
    each_entry::<InodeExtref>(cx, item, |cx, named| {
        let parent = named.entry.parent_objectid.get();
        check_parent(cx, parent);
        check_name(cx, named.name, false);
        let (have, expect) = (hash::inode_extref(parent, named.name), item.key.offset);
        if have != expect {
            cx.found(NameDamage::ExtrefHash { have, expect });
        }
    });
}

pub(super) fn check_dir_item(cx: &mut Context<'_>, item: &ItemRef<'_>) {
    check_number(cx, item.key);
    let mut entries = 0;
    each_entry::<DirItem>(cx, item, |cx, named| {
        entries += 1;
        check_entry(cx, item.key, &named);
    });
    if item.key.key_type == KeyType::DIR_INDEX && entries > 1 {
        cx.found(NameDamage::IndexEntries {});
    }
}

fn check_entry(cx: &mut Context<'_>, key: Key, named: &Named<'_, DirItem>) {
    let Named { entry, name, data } = named;
    let is_xattr = key.key_type == KeyType::XATTR_ITEM;
    let file_type = entry.r#type & !dir_type::ENCRYPTED;
    let location = Key::from(&entry.location);
    check_name(cx, name, is_xattr);

    if file_type == dir_type::UNKNOWN || file_type > dir_type::XATTR {
        cx.found(NameDamage::Type { have: entry.r#type, limit: dir_type::XATTR });
    } else if is_xattr != (file_type == dir_type::XATTR) {
        cx.found(NameDamage::XattrType { have: entry.r#type });
    } else if location.key_type == KeyType::ROOT_ITEM && !is_xattr && file_type != dir_type::DIR {
        cx.found(NameDamage::SubvolumeType { have: entry.r#type, expect: dir_type::DIR });
    }
    if !is_location(location, is_xattr) {
        cx.found(NameDamage::Location { have: location });
    }
    if !is_xattr && !data.is_empty() {
        cx.found(NameDamage::Data { have: data.len() as u32 });
    }
    let (have, limit) = (entry.transid.get(), cx.rules.newest());
    if have > limit {
        cx.found(NameDamage::Transid { have, limit });
    }
    if key.key_type != KeyType::DIR_INDEX {
        let (have, expect) = (hash::dir_item(name), key.offset);
        if have != expect {
            cx.found(NameDamage::DirItemHash { have, expect });
        }
    }
}

/// Whether an entry may lead there. The kernel looks for a subvolume by its id alone (`btrfs_inode_by_name`): a new entry has
/// -1 as the offset, a renamed one that of the root item (`btrfs_rename`).
fn is_location(location: Key, is_xattr: bool) -> bool {
    match location.key_type {
        _ if is_xattr => location == Key::default(),
        KeyType::ROOT_ITEM => is_fs_tree(location.objectid),
        _ => is_inode_location(location),
    }
}
