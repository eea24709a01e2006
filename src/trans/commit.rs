//! The end of the transaction: all that waits is brought into the trees, and they are written.

use std::sync::PoisonError;

use zerocopy::IntoBytes;

use crate::disk::root::RootItem;
use crate::disk::superblock::RootBackup;
use crate::disk::volume::{BlockGroupItem, DevItem};
use crate::disk::{Key, KeyType, Logical, Transid, objectid};
use crate::error::{Error, Result};
use crate::space::free_space_items::Group;
use crate::sync::{Mutex, lock};
use crate::tree::TreeRoot;
use crate::tree::reservation::to_insert_item;
use crate::volume::{Commit, Staged};

use super::staged::{ByCommit, StagedTree, stamped};
use super::{DeviceState, Filesystem, free_space_tree, references, root_key};

/// Rounds of a commit at the most. Each but the first changes blocks that are new already, and what it allocates or frees
/// beside them is little: a sound filesystem needs about five.
const MAX_ROUNDS: usize = 1000;

/// Calls `round` until it says that it changed nothing. One that never says so is an error, whatever damage the reason is.
fn until_settled(mut round: impl FnMut() -> Result<bool>) -> Result<()> {
    for _ in 0..MAX_ROUNDS {
        if !round()? {
            return Ok(());
        }
    }
    Err(Error::NeverSettles { rounds: MAX_ROUNDS })
}

impl Filesystem {
    /// Brings all trees up to date, publishes them, and begins the next transaction. All handles have ended: they borrow
    /// the filesystem. On an error the filesystem is what it was before the transaction, but for
    /// [`Error::PartlyPublished`]; nothing more can be committed then. Without any change nothing is written.
    pub fn commit(&mut self) -> Result<()> {
        if self.is_poisoned() {
            return Err(Error::Poisoned);
        }
        let committed = self.try_commit();
        if committed.is_err() {
            self.poison();
        }
        committed
    }

    fn try_commit(&mut self) -> Result<()> {
        self.give_back_unreferenced()?;
        until_settled(|| self.settle())?;
        if let Some(group) = self.space().groups().find(|group| group.item_used.is_none()) {
            let (what, logical) = ("block group", group.logical);
            return Err(Error::Block { what, logical, problem: "has no item".to_owned() });
        }
        // Every change is noted in the root tree.
        if lock(&self.root_tree).blocks.is_empty() {
            return Ok(());
        }
        let kept = self.size_of_reserve()?;
        self.publish()?;
        self.begin_next(kept);
        Ok(())
    }

    /// Does now what would wait for the commit, beside handles that are running. Block groups whose items another handle
    /// has yet to insert are passed over, the commit comes back to them; and so is data, to which somebody may yet refer.
    pub fn flush(&self) -> Result<()> {
        let flushed = self.try_flush();
        if flushed.is_err() {
            self.poison();
        }
        flushed
    }

    fn try_flush(&self) -> Result<()> {
        let mut blocks = lock(&self.references).blocks().into_iter();
        let next = || blocks.find_map(|logical| lock(&self.references).take_block(logical));
        references::run(self, &mut ByCommit::new(lock(&self.extent_tree)), next)?;
        self.update_block_group_items()?;
        self.update_free_space().map(drop)
    }

    /// Bytes of metadata to be kept for what a commit itself writes: a copy of each tree that notes what other trees did,
    /// as the kernel has it (`btrfs_update_global_block_rsv` in fs/btrfs/block-rsv.c).
    pub(super) fn size_of_reserve(&self) -> Result<u64> {
        const MOST: u64 = 512 << 20;
        let mut root_tree = lock(&self.root_tree);
        // The root tree itself has no item.
        let mut bytes = to_insert_item(self.volume().format().nodesize);
        for tree in [objectid::EXTENT_TREE, objectid::FREE_SPACE_TREE, objectid::BLOCK_GROUP_TREE] {
            let item = root_tree.find(self, root_key(tree))?;
            let item = item.as_deref().and_then(RootItem::read);
            bytes = bytes.saturating_add(item.map_or(0, |item| item.bytes_used.get()));
        }
        Ok(bytes.min(MOST))
    }

    /// Does what waits. Returns whether anything did: doing it may have brought more.
    fn settle(&self) -> Result<bool> {
        let mut is_changed = !lock(&self.references).is_empty();
        let freed =
            references::run(self, &mut ByCommit::new(lock(&self.extent_tree)), || lock(&self.references).pop_first())?;
        is_changed |= self.delete_checksums(&freed)?;
        is_changed |= self.invalidate_quotas()?;
        is_changed |= self.update_block_group_items()?;
        is_changed |= self.update_free_space()?;
        is_changed |= self.update_root_items()?;
        Ok(is_changed)
    }

    fn update_block_group_items(&self) -> Result<bool> {
        let dirty: Vec<Logical> = {
            let space = self.space();
            let dirty = space.groups().filter(|group| group.item_used.is_some() && group.is_dirty());
            dirty.map(|group| group.logical).collect()
        };
        let mut items = ByCommit::new(self.block_group_items());
        for logical in &dirty {
            // Looked at again: with the lock on the items nobody else writes or deletes this one.
            let Some((length, used)) = self.space().group(*logical).map(|group| (group.length, group.used)) else {
                continue;
            };
            let key = Key::new(logical.0, KeyType::BLOCK_GROUP_ITEM, length);
            items.edit(self, |editor| {
                let data = editor.data_mut(key)?;
                let (mut item, rest) =
                    BlockGroupItem::read_prefix(data).map(|(item, rest)| (*item, rest.len())).ok_or_else(|| {
                        Error::Block { what: "block group item", logical: *logical, problem: "is too short".to_owned() }
                    })?;
                item.used = used.into();
                let end = data.len() - rest;
                data[..end].copy_from_slice(item.as_bytes());
                Ok(())
            })?;
            self.space().set_item_used(*logical, used);
        }
        Ok(!dirty.is_empty())
    }

    fn update_free_space(&self) -> Result<bool> {
        let Some(mut tree) = self.free_space_tree().map(ByCommit::new) else { return Ok(false) };
        let touched = self.space().take_touched();
        for logical in &touched {
            let (length, mut free) = {
                let mut space = self.space();
                let Some(length) = space.group(*logical).map(|group| group.length) else { continue };
                let free = space.free_after_commit(*logical, |group| self.committed_free(group))?;
                (length, free)
            };
            // The kernel lists what is never given out as free.
            let chunk = self.chunks().map.find(*logical).cloned();
            let excluded = chunk.map(|chunk| self.excluded_free(&chunk)).transpose()?.unwrap_or_default();
            for (start, length) in excluded.iter() {
                free.remove(start, length);
                free.add(start, length);
            }
            let sectorsize = self.volume().format().sectorsize;
            let (root, mut store) = tree.parts(self);
            let group = Group { logical: *logical, length };
            free_space_tree::update(root, &mut store, &group, &free, sectorsize)?;
        }
        Ok(!touched.is_empty())
    }

    /// Brings the root items of the trees up to date whose roots are others now.
    fn update_root_items(&self) -> Result<bool> {
        let roots: Vec<(TreeRoot, i64)> = {
            let state = |tree: &Mutex<StagedTree>| {
                let mut tree = lock(tree);
                (tree.root, std::mem::take(&mut tree.growth))
            };
            let opened = self.opened_trees();
            let always = [&self.extent_tree, &self.device_tree].into_iter();
            let optional = self.block_group_tree.iter().chain(&self.free_space_tree);
            always.chain(optional).chain(opened.iter().map(|tree| &**tree)).map(state).collect()
        };
        let mut root_tree = lock(&self.root_tree);
        let mut is_changed = false;
        for (root, growth) in roots {
            let data = root_tree.find(self, root.key)?;
            let missing = Error::NoTree { tree: root.key.objectid, name: "" };
            let data = data.ok_or(missing)?;
            let Some(mut item) = RootItem::read(&data) else { continue };
            if Logical::from(item.bytenr) == root.logical && item.level == root.level && growth == 0 {
                continue;
            }
            (item.bytenr, item.level) = (root.logical.0.into(), root.level);
            let bytes = growth.saturating_mul(self.volume().format().nodesize.into());
            item.bytes_used = item.bytes_used.get().saturating_add_signed(bytes).into();
            item.generation = self.generation().0.into();
            item.generation_v2 = item.generation;
            let bytes = item.as_bytes().get(..data.len()).ok_or_else(|| {
                let (what, problem) = ("root item of the tree at", "is longer than any that is known".to_owned());
                Error::Block { what, logical: root.logical, problem }
            })?;
            root_tree.edit(self, |editor| {
                editor.data_mut(root.key)?.copy_from_slice(bytes);
                Ok(())
            })?;
            is_changed = true;
        }
        Ok(is_changed)
    }

    fn publish(&mut self) -> Result<()> {
        let backup = self.backup()?;
        let used = self.space().groups().fold(0, |sum: u64, group| sum.saturating_add(group.used));
        let mut chunks = self.chunks();
        chunks.forget_removed();
        let (chunk_root, root) = (chunks.tree.root, lock(&self.root_tree).root);
        let old = self.volume().superblock();
        let mut superblock = chunks.superblock.clone();
        if superblock.uuid_tree_generation == old.generation {
            superblock.uuid_tree_generation = self.generation.0.into();
        }
        superblock.generation = self.generation.0.into();
        (superblock.root, superblock.root_level) = (root.logical.0.into(), root.level);
        (superblock.chunk_root, superblock.chunk_root_level) = (chunk_root.logical.0.into(), chunk_root.level);
        if let Some(generation) = chunk_root.generation {
            superblock.chunk_root_generation = generation.0.into();
        }
        superblock.bytes_used = used.into();
        let mut blocks: Vec<(Logical, Vec<u8>)> = Vec::new();
        blocks.extend(stamped(self, std::mem::take(&mut chunks.tree.blocks)));
        let trees = [&self.extent_tree, &self.device_tree, &self.root_tree].into_iter();
        let opened = self.opened_trees();
        let trees = trees.chain(&self.block_group_tree).chain(&self.free_space_tree);
        for tree in trees.chain(opened.iter().map(|tree| &**tree)) {
            blocks.extend(stamped(self, std::mem::take(&mut lock(tree).blocks)));
        }
        blocks.sort_unstable_by_key(|(logical, _)| *logical);
        let (staged, mended) = (as_staged(&blocks), as_staged(&self.mended));
        let dev_items: Vec<DevItem> = chunks.devices.iter().map(|device| device.item).collect();
        let removed_devices = std::mem::take(&mut chunks.removed_devices);
        let joining = |device: &mut DeviceState| Some((device.image.take()?, device.item));
        let joining: Vec<_> = chunks.devices.iter_mut().filter_map(joining).collect();
        drop(chunks);
        joining.into_iter().for_each(|(image, item)| self.volume.join(image, &item));
        removed_devices.iter().for_each(|item| self.volume.leave(item.uuid));
        let chunks = &self.chunks.get_mut().unwrap_or_else(PoisonError::into_inner).map;
        let commit = Commit {
            staged: &staged,
            mended: &mended,
            chunks,
            superblock: &superblock,
            backup: &backup,
            dev_items: &dev_items,
        };
        self.volume.publish(&commit)?.wholly()
    }

    /// What was committed is what the next transaction begins with.
    fn begin_next(&mut self, kept: u64) {
        match self.generation.0.checked_add(1) {
            Some(next) => self.generation = Transid(next),
            // The last there can be: another transaction of this number would pass for the committed one.
            None => self.poison(),
        }
        self.extent_root = lock(&self.extent_tree).root;
        self.mended.clear();
        let superblock = Box::new(*self.volume().superblock());
        self.chunks().superblock = superblock;
        let mut space = self.space();
        space.unpin();
        space.keep(kept);
    }

    /// The roots of the trees for the backup slot.
    fn backup(&self) -> Result<RootBackup> {
        let mut backup = RootBackup::zeroed();
        let mut root_tree = lock(&self.root_tree);
        let mut root = |tree| -> Result<Option<RootItem>> {
            Ok(root_tree.find(self, root_key(tree))?.as_deref().and_then(RootItem::read))
        };
        if let Some(item) = root(objectid::EXTENT_TREE)? {
            (backup.extent_root, backup.extent_root_gen) = (item.bytenr, item.generation);
            backup.extent_root_level = item.level;
        }
        if let Some(item) = root(objectid::FS_TREE)? {
            (backup.fs_root, backup.fs_root_gen, backup.fs_root_level) = (item.bytenr, item.generation, item.level);
        }
        if let Some(item) = root(objectid::DEV_TREE)? {
            (backup.dev_root, backup.dev_root_gen, backup.dev_root_level) = (item.bytenr, item.generation, item.level);
        }
        if let Some(item) = root(objectid::CSUM_TREE)? {
            (backup.csum_root, backup.csum_root_gen) = (item.bytenr, item.generation);
            backup.csum_root_level = item.level;
        }
        Ok(backup)
    }
}

fn as_staged(ranges: &[(Logical, Vec<u8>)]) -> Vec<Staged<'_>> {
    ranges.iter().map(|(logical, bytes)| Staged { logical: *logical, bytes }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_that_never_settles_ends_with_an_error() {
        let mut left = 7;
        let settles = || {
            left -= 1;
            Ok(left > 0)
        };
        until_settled(settles).unwrap();
        assert_eq!(left, 0);
        assert!(matches!(until_settled(|| Ok(true)), Err(Error::NeverSettles { .. })));
        assert!(matches!(until_settled(|| Err(Error::Poisoned)), Err(Error::Poisoned)));
    }
}
