//! The trees of a transaction, each behind its lock.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::disk::fields::Uuid;
use crate::sync::Mutex;

use super::staged::StagedTree;

/// Trees that are opened on demand, by id: subvolumes, the checksum tree, the quota tree.
pub type OpenedTrees = BTreeMap<u64, Arc<Mutex<StagedTree>>>;

/// All trees but the chunk tree, which [`super::Chunks`] has.
#[derive(Debug)]
pub struct Trees {
    pub extent: Mutex<StagedTree>,
    pub block_group: Option<Mutex<StagedTree>>,
    pub device: Mutex<StagedTree>,
    /// `None` where there is none, or where the kernel does not trust it.
    pub free_space: Option<Mutex<StagedTree>>,
    pub root: Mutex<StagedTree>,
    pub opened: Mutex<OpenedTrees>,
    /// What blocks and device extents carry as the uuid of the chunk tree.
    pub chunk_tree_uuid: Uuid,
}

impl Trees {
    /// The trees that the transaction changes by itself and that have root items.
    fn own(&self) -> impl Iterator<Item = &Mutex<StagedTree>> {
        [&self.extent, &self.device].into_iter().chain(&self.block_group).chain(&self.free_space)
    }

    /// The trees that were opened on demand until now.
    fn opened(&self) -> Vec<Arc<Mutex<StagedTree>>> {
        self.opened.lock().values().cloned().collect()
    }

    /// Calls `work` with each tree that has a root item, one after the other.
    pub fn for_each(&self, mut work: impl FnMut(&mut StagedTree)) {
        self.own().for_each(|tree| work(&mut tree.lock()));
        self.opened().iter().for_each(|tree| work(&mut tree.lock()));
    }

    /// The highest level of the trees that the transaction changes by itself. The caller holds none of them.
    pub fn highest_level(&self) -> u8 {
        self.own().chain([&self.root]).map(|tree| tree.lock().root.level).max().unwrap_or_default()
    }

    /// The tree that block group items stand in.
    pub fn block_group_items(&self) -> &Mutex<StagedTree> {
        self.block_group.as_ref().unwrap_or(&self.extent)
    }
}
