//! The end of the transaction: its trees are written, and the next transaction begins.

use crate::disk::root::RootItem;
use crate::disk::superblock::RootBackup;
use crate::disk::volume::DevItem;
use crate::disk::{Logical, Transid, objectid};
use crate::error::{AddressProblem, Addressed, Error, Result};
use crate::tree::reservation::to_insert_item;
use crate::volume::{Commit, Staged};

use super::chunks::DeviceState;
use super::filesystem::{Filesystem, root_key};
use super::trust::Trust;

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
    ///
    /// # Errors
    /// The filesystem is what it was before the transaction, but for [`Error::PartlyPublished`].
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
        if self.trees.root.lock().is_changed() && self.remove_used_space_caches()? {
            until_settled(|| self.settle())?;
        }
        if let Some(group) = self.space().groups().find(|group| group.item_used.is_none()) {
            let (what, logical) = (Addressed::BlockGroup, group.logical);
            return Err(Error::Block { what, logical, problem: AddressProblem::NoItem });
        }
        // Every change is noted in the root tree.
        if !self.trees.root.lock().is_changed() {
            return Ok(());
        }
        let global_rsv = self.global_rsv_size()?;
        let keeps_quotas = self.quotas.are_of(self.volume().superblock().generation());
        self.publish()?;
        if keeps_quotas {
            self.quotas.set_generation(self.generation);
        }
        self.begin_next(global_rsv);
        Ok(())
    }

    /// The global reserve: bytes of METADATA space for what a commit itself writes, which are a copy of each tree that notes
    /// what other trees did (`btrfs_update_global_block_rsv` in fs/btrfs/block-rsv.c).
    pub(super) fn global_rsv_size(&self) -> Result<u64> {
        const MOST: u64 = 512 << 20;
        let mut root_tree = self.trees.root.lock();
        // The root tree itself has no item.
        let mut bytes = to_insert_item(self.volume().format().nodesize);
        for tree in [objectid::EXTENT_TREE, objectid::FREE_SPACE_TREE, objectid::BLOCK_GROUP_TREE] {
            let item = root_tree.find(self, root_key(tree))?;
            let item = item.as_deref().and_then(RootItem::read);
            bytes = bytes.saturating_add(item.map_or(0, |item| item.bytes_used.get()));
        }
        Ok(bytes.min(MOST))
    }

    fn publish(&mut self) -> Result<()> {
        let backup = self.backup()?;
        let used = self.space().groups().fold(0, |sum: u64, group| sum.saturating_add(group.used));
        let csum_type = self.volume().format().csum_type;
        let (root, mut blocks) = {
            let mut root_tree = self.trees.root.lock();
            (root_tree.root, root_tree.take_stamped(csum_type).collect::<Vec<_>>())
        };
        self.trees.for_each(|tree| blocks.extend(tree.take_stamped(csum_type)));
        let mut chunks = self.chunks();
        chunks.forget_removed();
        let chunk_root = chunks.tree.root;
        blocks.extend(chunks.tree.take_stamped(csum_type));
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
        blocks.sort_unstable_by_key(|(logical, _)| *logical);
        let (staged, mended) = (as_staged(&blocks), as_staged(&self.mended));
        let dev_items: Vec<DevItem> = chunks.devices.iter().map(|device| device.item).collect();
        let removed_devices = std::mem::take(&mut chunks.removed_devices);
        let joining = |device: &mut DeviceState| Some((device.image.take()?, device.item));
        let joining: Vec<_> = chunks.devices.iter_mut().filter_map(joining).collect();
        drop(chunks);
        joining.into_iter().for_each(|(image, item)| self.volume.join(image, &item));
        removed_devices.iter().for_each(|item| self.volume.leave(item.uuid));
        let chunks = &self.chunks.get_mut().map;
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
    fn begin_next(&mut self, global_rsv: u64) {
        match self.generation.0.checked_add(1) {
            Some(next) => self.generation = Transid(next),
            // The last there can be: another transaction of this number would pass for the committed one.
            None => self.poison(),
        }
        // A survey knows nothing of what this commit made.
        if let Trust::Survey(_) = self.trust {
            self.poison();
        }
        self.trust = Trust::ExtentTree(self.trees.extent.lock().root);
        self.mended.clear();
        let superblock = Box::new(*self.volume().superblock());
        self.chunks().superblock = superblock;
        let mut space = self.space();
        space.unpin();
        space.set_global_rsv(global_rsv);
    }

    /// The roots of the trees for the backup slot.
    fn backup(&self) -> Result<RootBackup> {
        let mut backup = RootBackup::zeroed();
        let mut root_tree = self.trees.root.lock();
        let mut root = |tree| -> Result<Option<RootItem>> {
            Ok(root_tree.find(self, root_key(tree))?.as_deref().and_then(RootItem::read))
        };
        for tree in [objectid::EXTENT_TREE, objectid::FS_TREE, objectid::DEV_TREE, objectid::CSUM_TREE] {
            if let Some(item) = root(tree)? {
                backup.set_root(tree, item.bytenr.into(), item.generation.into(), item.level);
            }
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
