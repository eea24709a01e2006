//! The v1 caches of free space: hidden files of the root tree, one for each block group. Every commit makes all of them
//! stale, for the superblock names the generation of those that are not.

use crate::block::extent_item::ExtentKind;
use crate::block::reference::{FileExtent, file_extent};
use crate::disk::space::FreeSpaceHeader;
use crate::disk::{Key, KeyType, Logical, objectid};
use crate::error::{Error, Result};
use crate::tree::edit::Cursor;

use super::filesystem::Filesystem;

impl Filesystem {
    /// Deletes the cache of a block group that is removed, if it has one (`btrfs_remove_free_space_inode` in
    /// fs/btrfs/free-space-cache.c).
    pub fn remove_space_cache(&self, logical: Logical) -> Result<()> {
        let header = Key::new(objectid::FREE_SPACE, KeyType(0), logical.0);
        let mut root_tree = self.trees.root.lock();
        let Some(data) = root_tree.find(self, header)? else { return Ok(()) };
        let error = |problem: &str| {
            let what = "free space cache of block group";
            Error::Block { what, logical, problem: problem.to_owned() }
        };
        let (found, _) = FreeSpaceHeader::read_prefix(&data).ok_or_else(|| error("is too short"))?;
        let Key { objectid: inode, key_type, .. } = Key::from(&found.location);
        if key_type != KeyType::INODE_ITEM {
            return Err(error("leads to no inode"));
        }
        let items = Key::new(inode, KeyType(0), 0)..=Key::new(inode, KeyType(u8::MAX), u64::MAX);
        let extents = {
            let (root, store) = root_tree.parts(self);
            let mut extents = Vec::new();
            let mut cursor = Cursor::at_or_after(root, &store, *items.start())?;
            while let Some(found) = &mut cursor {
                let key = found.item()?.key;
                if key > *items.end() {
                    break;
                }
                // Whatever else stands there is not the cache's.
                if !matches!(key.key_type, KeyType::INODE_ITEM | KeyType::EXTENT_DATA) {
                    return Err(error("leads to what is no hidden file"));
                }
                extents.extend(file_extent(&found.item()?, objectid::ROOT_TREE));
                if !found.to_next()? {
                    break;
                }
            }
            extents
        };
        root_tree.edit(self, |editor| {
            editor.delete(header)?;
            editor.delete_range(items)
        })?;
        let mut refs = self.delayed_refs.lock();
        extents.iter().try_for_each(|FileExtent { extent, length, reference }| {
            refs.count(*extent, ExtentKind::Data { length: *length }, *reference, -1)
        })
    }
}
