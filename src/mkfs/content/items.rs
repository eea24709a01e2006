//! The items of inodes and directories.

use std::ops::Range;

use zerocopy::IntoBytes;

use crate::disk::inode::{
    DirItem, FileExtentItem, InodeExtref, InodeItem, InodeRef, Timespec, compression, dir_type, file_extent_type,
};
use crate::disk::node::{Item, leaf_data_size};
use crate::disk::{Key, KeyType, Transid, hash};

use super::super::extent::file_extent;
use super::super::source::Attributes;

/// Items in the order of their keys.
#[derive(Debug, Default)]
pub struct Items {
    bytes: Vec<u8>,
    keys: Vec<(Key, Range<usize>)>,
}

impl Items {
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.keys.clear();
    }

    pub fn len(&self) -> usize {
        self.keys.len()
    }

    pub fn get(&self, index: usize) -> (Key, &[u8]) {
        let (key, range) = &self.keys[index];
        (*key, &self.bytes[range.clone()])
    }

    pub fn push(&mut self, key: Key, parts: &[&[u8]]) {
        let start = self.bytes.len();
        parts.iter().for_each(|part| self.bytes.extend_from_slice(part));
        self.keys.push((key, start..self.bytes.len()));
    }

    /// Adds to the last item if it has this key: names with one hash share an item.
    fn push_or_append(&mut self, key: Key, parts: &[&[u8]]) {
        match self.keys.last_mut().filter(|(last, _)| *last == key) {
            Some((_, range)) => {
                parts.iter().for_each(|part| self.bytes.extend_from_slice(part));
                range.end = self.bytes.len();
            }
            None => self.push(key, parts),
        }
    }
}

/// What all items of a filesystem share.
#[derive(Clone, Copy, Debug)]
pub struct Encoding {
    pub generation: Transid,
    pub nodesize: u32,
    pub sectorsize: u32,
    /// When inodes came into being. If `is_fixed`, no time is later and none depends on when a file was read or copied.
    pub made: Timespec,
    pub is_fixed: bool,
    pub extref: bool,
    pub no_holes: bool,
}

/// A name of an inode.
#[derive(Clone, Copy, Debug)]
pub struct Name<'n> {
    pub parent: u64,
    pub index: u64,
    pub name: &'n [u8],
}

/// What becomes of a file's contents, for its inode.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sizes {
    pub size: u64,
    pub nbytes: u64,
}

impl Encoding {
    /// The most bytes that an item can have.
    pub fn item_limit(&self) -> usize {
        leaf_data_size(self.nodesize) as usize - size_of::<Item>()
    }

    /// The most bytes that inline data can have (`BTRFS_MAX_INLINE_DATA_SIZE`).
    pub fn inline_limit(&self) -> usize {
        self.item_limit() - size_of::<FileExtentItem>()
    }

    pub fn inode(&self, attributes: &Attributes, flags: u64, links: u32, sizes: Sizes) -> InodeItem {
        let mut inode = InodeItem::zeroed();
        (inode.generation, inode.transid) = (self.generation.0.into(), self.generation.0.into());
        (inode.size, inode.nbytes) = (sizes.size.into(), sizes.nbytes.into());
        inode.nlink = links.into();
        (inode.uid, inode.gid) = (attributes.uid.into(), attributes.gid.into());
        inode.mode = attributes.mode.into();
        inode.rdev = attributes.rdev.into();
        inode.flags = flags.into();
        (inode.atime, inode.mtime, inode.ctime) =
            (attributes.atime.into(), attributes.mtime.into(), attributes.ctime.into());
        inode.otime = self.made;
        if self.is_fixed {
            let latest = |time: Timespec| (time.sec.get() as i64, time.nsec.get());
            if latest(inode.mtime) > latest(self.made) {
                inode.mtime = self.made;
            }
            (inode.atime, inode.ctime, inode.otime) = (inode.mtime, inode.mtime, inode.mtime);
        }
        inode
    }

    /// Adds the references of an inode to its names, which are sorted by directory: as many as fit into an item for each
    /// directory, the rest one by one. Returns whether all could be added.
    pub fn push_names(&self, items: &mut Items, inode: u64, names: &[Name<'_>]) -> bool {
        // As the kernel has it, room for one more item must be left.
        let limit = self.item_limit();
        let mut rest = Vec::new();
        for same in names.chunk_by(|a, b| a.parent == b.parent) {
            let mut length = 0;
            let key = Key::new(inode, KeyType::INODE_REF, same[0].parent);
            for name in same {
                let size = size_of::<InodeRef>() + name.name.len();
                if length + size > limit {
                    rest.push(*name);
                    continue;
                }
                length += size;
                let back = InodeRef { index: name.index.into(), name_len: (name.name.len() as u16).into() };
                items.push_or_append(key, &[back.as_bytes(), name.name]);
            }
        }
        let hash = |name: &Name<'_>| hash::inode_extref(name.parent, name.name);
        rest.sort_by_key(|name| hash(name));
        for name in &rest {
            let (parent_objectid, index) = (name.parent.into(), name.index.into());
            let back = InodeExtref { parent_objectid, index, name_len: (name.name.len() as u16).into() };
            let key = Key::new(inode, KeyType::INODE_EXTREF, hash(name));
            items.push_or_append(key, &[back.as_bytes(), name.name]);
        }
        self.extref || rest.is_empty()
    }

    /// Adds extended attributes. The name of one that is too large is returned.
    pub fn push_xattrs(&self, items: &mut Items, inode: u64, xattrs: &mut [(Vec<u8>, Vec<u8>)]) -> Result<(), Vec<u8>> {
        xattrs.sort_unstable_by_key(|(name, _)| hash::dir_item(name));
        for same in xattrs.chunk_by(|a, b| hash::dir_item(&a.0) == hash::dir_item(&b.0)) {
            let mut length = 0;
            for (name, value) in same {
                length += size_of::<DirItem>() + name.len() + value.len();
                if length > self.item_limit() {
                    return Err(name.clone());
                }
                let entry = self.entry(Key::MIN, dir_type::XATTR, name, value);
                let key = Key::new(inode, KeyType::XATTR_ITEM, hash::dir_item(name));
                items.push_or_append(key, &[entry.as_bytes(), name, value]);
            }
        }
        Ok(())
    }

    /// The entry of a directory, or an extended attribute.
    pub fn entry(&self, location: Key, entry_type: u8, name: &[u8], value: &[u8]) -> DirItem {
        DirItem {
            location: location.into(),
            transid: self.generation.0.into(),
            data_len: (value.len() as u16).into(),
            name_len: (name.len() as u16).into(),
            r#type: entry_type,
        }
    }

    /// Adds the whole contents of a file.
    pub fn push_inline(&self, items: &mut Items, inode: u64, ram_bytes: usize, compression: u8, data: &[u8]) {
        let mut extent = FileExtentItem::zeroed();
        extent.generation = self.generation.0.into();
        extent.ram_bytes = (ram_bytes as u64).into();
        extent.compression = compression;
        extent.r#type = file_extent_type::INLINE;
        items.push(Key::new(inode, KeyType::EXTENT_DATA, 0), &[extent.as_bytes(), data]);
    }

    /// Adds a hole, if holes need extents.
    pub fn push_hole(&self, items: &mut Items, inode: u64, range: Range<u64>) {
        if !self.no_holes && !range.is_empty() {
            let (extent, disk) = file_extent(self.generation, range.end - range.start, compression::NONE, None);
            items.push(Key::new(inode, KeyType::EXTENT_DATA, range.start), &[extent.as_bytes(), disk.as_bytes()]);
        }
    }
}
