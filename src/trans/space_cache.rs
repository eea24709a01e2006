//! The v1 caches of free space: hidden files of the root tree, one for each block group.

use crate::block::extent_item::ExtentKind;
use crate::block::reference::{FileExtent, file_extent};
use crate::disk::flags::compat_ro;
use crate::disk::space::FreeSpaceHeader;
use crate::disk::{Key, KeyType, Logical, objectid};
use crate::error::{AddressProblem, Addressed, Error, Result};
use crate::tree::edit::Cursor;

use super::filesystem::Filesystem;

impl Filesystem {
    /// Deletes all caches that are in use, and returns whether there were any. A commit leaves none: the superblock names the
    /// generation of caches that are up to date, and the next mount passes over those of another. But it writes only those of block
    /// groups that it changes, and then names its generation: others would count as up to date from the mount after it on
    /// (`btrfs_read_block_groups`, `btrfs_setup_space_cache` in fs/btrfs/block-group.c).
    pub(super) fn remove_used_space_caches(&self) -> Result<bool> {
        if self.volume().superblock().has_compat_ro(compat_ro::FREE_SPACE_TREE) {
            return Ok(false);
        }
        self.remove_space_caches()
    }

    /// Deletes all caches, and returns whether there were any.
    ///
    /// # Errors
    /// As those of [`Filesystem::remove_space_cache`].
    pub fn remove_space_caches(&self) -> Result<bool> {
        let key = |offset| Key::new(objectid::FREE_SPACE, KeyType::FREE_SPACE_HEADER, offset);
        let mut cached = Vec::new();
        {
            let mut root_tree = self.trees.root.lock();
            let (root, store) = root_tree.parts(self);
            let mut cursor = Cursor::at_or_after(root, &store, key(0))?;
            while let Some(found) = &mut cursor {
                let found_key = found.item()?.key;
                if found_key > key(u64::MAX) {
                    break;
                }
                cached.push(Logical(found_key.offset));
                if !found.to_next()? {
                    break;
                }
            }
        }
        cached.iter().try_for_each(|logical| self.remove_space_cache(*logical))?;
        Ok(!cached.is_empty())
    }

    /// Deletes the cache of a block group, if it has one (`btrfs_remove_free_space_inode` in fs/btrfs/free-space-cache.c).
    ///
    /// # Errors
    /// The cache is no hidden file, or the root tree cannot be read or changed.
    pub fn remove_space_cache(&self, logical: Logical) -> Result<()> {
        let header = Key::new(objectid::FREE_SPACE, KeyType(0), logical.0);
        let mut root_tree = self.trees.root.lock();
        let Some(data) = root_tree.find(self, header)? else { return Ok(()) };
        let error = |problem| Error::Block { what: Addressed::SpaceCache, logical, problem };
        let (found, _) = FreeSpaceHeader::read_prefix(&data).ok_or_else(|| error(AddressProblem::TooShort))?;
        let Key { objectid: inode, key_type, .. } = Key::from(&found.location);
        if key_type != KeyType::INODE_ITEM {
            return Err(error(AddressProblem::NotCache));
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
                    return Err(error(AddressProblem::NotCache));
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
