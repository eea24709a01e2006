//! What waits for the end of a transaction is brought into the trees.

use zerocopy::IntoBytes;

use crate::block::extent_item::{ExtentKind, Format};
use crate::disk::flags::incompat::SKINNY_METADATA;
use crate::disk::flags::qgroup_status::{INCONSISTENT, RESCAN};
use crate::disk::quota::QgroupStatusItem;
use crate::disk::root::RootItem;
use crate::disk::volume::BlockGroupItem;
use crate::disk::{Key, KeyType, Logical, objectid};
use crate::error::{AddressProblem, Addressed, Error, Result};
use crate::space::free_space_items::Group;
use crate::tree::TreeRoot;

use super::delayed_refs::item::{self, Fate};
use super::delayed_refs::{DelayedRef, FreedData};
use super::filesystem::Filesystem;
use super::staged::{ByCommit, StagedTree};
use super::{free_space_tree, quotas};

impl Filesystem {
    /// Does now what would wait for the commit, beside handles that are running. Block groups whose items another handle
    /// has yet to insert are left to the commit, and so is new data without references: a handle may yet add one.
    ///
    /// # Errors
    /// A tree cannot be changed: the transaction cannot be committed then.
    pub fn flush(&self) -> Result<()> {
        let flushed = self.try_flush();
        if flushed.is_err() {
            self.poison();
        }
        flushed
    }

    fn try_flush(&self) -> Result<()> {
        let mut blocks = self.delayed_refs.lock().blocks().into_iter();
        let next = || blocks.find_map(|logical| self.delayed_refs.lock().take_block(logical));
        run(self, &mut ByCommit::new(self.trees.extent.lock()), next)?;
        self.update_block_group_items()?;
        self.update_free_space().map(drop)
    }

    /// Does what waits. Returns whether anything did: doing it may have brought more.
    pub(super) fn settle(&self) -> Result<bool> {
        let mut is_changed = !self.delayed_refs.lock().is_empty();
        let freed = run(self, &mut ByCommit::new(self.trees.extent.lock()), || self.delayed_refs.lock().pop_first())?;
        is_changed |= self.delete_checksums(&freed)?;
        is_changed |= self.invalidate_quotas()?;
        is_changed |= self.update_block_group_items()?;
        is_changed |= self.update_free_space()?;
        is_changed |= self.update_root_items()?;
        is_changed |= self.keep_quotas()?;
        Ok(is_changed)
    }

    /// Says that the counts of quotas are right up to this transaction, if they were up to the last one.
    fn keep_quotas(&self) -> Result<bool> {
        let is_due = self.quotas.are_of(self.volume().superblock().generation());
        if !is_due || !self.trees.root.lock().is_changed() {
            return Ok(false);
        }
        let generation = self.generation().0.into();
        self.change_quota_status(|status| status.generation != generation, |status| status.generation = generation)
    }

    /// Changes the status of the quotas where `is_due` says so. Returns whether it did.
    fn change_quota_status(
        &self,
        is_due: impl FnOnce(&QgroupStatusItem) -> bool,
        change: impl FnOnce(&mut QgroupStatusItem),
    ) -> Result<bool> {
        let tree = self.tree(objectid::QUOTA_TREE)?;
        let mut tree = ByCommit::new(tree.lock());
        let logical = tree.root.logical;
        let too_short = || Error::Block { what: Addressed::QuotaStatus, logical, problem: AddressProblem::TooShort };
        let data = tree.find(self, quotas::STATUS)?;
        let status = data.as_deref().and_then(QgroupStatusItem::read_prefix);
        let mut status = *status.ok_or_else(too_short)?.0;
        if !is_due(&status) {
            return Ok(false);
        }
        change(&mut status);
        tree.edit(self, |editor| {
            let data = editor.data_mut(quotas::STATUS)?;
            data[..size_of::<QgroupStatusItem>()].copy_from_slice(status.as_bytes());
            Ok(())
        })?;
        Ok(true)
    }

    /// Tells the kernel to count quotas anew if the transaction changed what they count. A count that is under way is ended:
    /// it would go on amid what it has counted before.
    fn invalidate_quotas(&self) -> Result<bool> {
        if !self.quotas.take_recount() {
            return Ok(false);
        }
        let change = |status: &mut QgroupStatusItem| {
            status.flags = ((status.flags.get() | INCONSISTENT) & !RESCAN).into();
        };
        self.change_quota_status(|_| true, change)
    }

    fn update_block_group_items(&self) -> Result<bool> {
        let dirty: Vec<Logical> = {
            let space = self.space();
            let dirty = space.groups().filter(|group| group.item_used.is_some() && group.is_dirty());
            dirty.map(|group| group.logical).collect()
        };
        let mut items = ByCommit::new(self.block_group_items());
        for logical in &dirty {
            // Looked at again: while the lock on the items is held no other thread writes or deletes this one.
            let Some((length, used)) = self.space().group(*logical).map(|group| (group.length, group.used)) else {
                continue;
            };
            let key = Key::new(logical.0, KeyType::BLOCK_GROUP_ITEM, length);
            items.edit(self, |editor| {
                let data = editor.data_mut(key)?;
                let too_short = Error::Block {
                    what: Addressed::BlockGroupItem,
                    logical: *logical,
                    problem: AddressProblem::TooShort,
                };
                let (item, rest) = BlockGroupItem::read_prefix(data).ok_or(too_short)?;
                let (mut item, end) = (*item, data.len() - rest.len());
                item.used = used.into();
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
        let mut roots: Vec<(TreeRoot, i64)> = Vec::new();
        self.trees.for_each(|tree| roots.push((tree.root, std::mem::take(&mut tree.growth))));
        let mut root_tree = self.trees.root.lock();
        let mut is_changed = false;
        for (root, growth) in roots {
            let bytes = growth.saturating_mul(self.volume().format().nodesize.into());
            is_changed |= self.update_root_item(&mut root_tree, root.key, |item| {
                if Logical::from(item.bytenr) == root.logical && item.level == root.level && growth == 0 {
                    return false;
                }
                (item.bytenr, item.level) = (root.logical.0.into(), root.level);
                item.bytes_used = item.bytes_used.get().saturating_add_signed(bytes).into();
                item.generation = self.generation().0.into();
                true
            })?;
        }
        Ok(is_changed)
    }

    /// Changes a root item; `change` tells whether it did. Fields that old kernels do not know keep counting only where they
    /// did.
    pub(super) fn update_root_item(
        &self,
        root_tree: &mut StagedTree,
        key: Key,
        change: impl FnOnce(&mut RootItem) -> bool,
    ) -> Result<bool> {
        let missing = Error::NoTree { tree: key.objectid, name: "" };
        let data = root_tree.find(self, key)?.ok_or(missing)?;
        let Some(mut item) = RootItem::read(&data) else { return Ok(false) };
        let is_whole = item.generation_v2 == item.generation;
        if !change(&mut item) {
            return Ok(false);
        }
        if is_whole {
            item.generation_v2 = item.generation;
        }
        let bytes = item.as_bytes().get(..data.len()).ok_or_else(|| Error::Block {
            what: Addressed::RootItem,
            logical: item.bytenr.into(),
            problem: AddressProblem::TooLong,
        })?;
        root_tree.edit(self, |editor| {
            editor.data_mut(key)?.copy_from_slice(bytes);
            Ok(())
        })?;
        Ok(true)
    }
}

/// Notes what `next` takes of what waits. The extent tree must be the caller's alone. Returns the data
/// without references: its checksums are to be deleted, too.
fn run(
    fs: &Filesystem,
    extent_tree: &mut StagedTree,
    mut next: impl FnMut() -> Option<(Logical, DelayedRef)>,
) -> Result<Vec<FreedData>> {
    let format = Format {
        nodesize: fs.volume().format().nodesize,
        is_skinny: fs.volume().superblock().has_incompat(SKINNY_METADATA),
        generation: fs.generation(),
    };
    let mut freed = Vec::new();
    while let Some((logical, change)) = next() {
        let (root, mut store) = extent_tree.parts(fs);
        if item::apply(root, &mut store, &format, logical, &change)? == Fate::InUse {
            continue;
        }
        let length = match change.kind {
            ExtentKind::Block { .. } => format.nodesize.into(),
            ExtentKind::Data { length } => length,
        };
        match change.new {
            Some(_) => fs.space().give_back(logical, length),
            None => fs.space().free(logical, length),
        }
        if let ExtentKind::Data { .. } = change.kind {
            freed.push(FreedData { logical, length });
        }
    }
    Ok(freed)
}
