//! The state of a transaction, which threads share.

use std::sync::atomic::Ordering;

use crate::block::verify::Expected;
use crate::disk::fields::Uuid;
use crate::disk::{Key, KeyType, Logical, Transid};
use crate::error::Result;
use crate::space::Space;
use crate::sync::{AtomicBool, Condvar, Mutex, MutexGuard};
use crate::volume::{Volume, WritableVolume};

use super::chunks::Chunks;
use super::delayed_refs::DelayedRefs;
use super::quotas::Quotas;
use super::staged::StagedTree;
use super::trees::Trees;
use super::trust::Trust;

/// A filesystem that is being changed: one transaction, which any number of threads take part in by [`super::Handle`]s of
/// their own. Nothing is written before [`Filesystem::commit`].
#[derive(Debug)]
pub struct Filesystem {
    pub(super) volume: WritableVolume,
    pub(super) generation: Transid,
    pub(super) trust: Trust,
    pub(super) trees: Trees,
    pub(super) chunks: Mutex<Chunks>,
    pub(super) space: Mutex<Space>,
    /// Some thread is done with allocating a chunk.
    pub(super) chunk_alloc_ended: Condvar,
    pub(super) delayed_refs: Mutex<DelayedRefs>,
    pub(super) quotas: Quotas,
    /// Good bytes by address, which the commit writes in the place of bad ones before anything else.
    pub(super) mended: Vec<(Logical, Vec<u8>)>,
    /// Whether some change was left half done.
    pub(super) is_poisoned: AtomicBool,
}

impl Filesystem {
    /// The filesystem as the last commit has it.
    pub fn volume(&self) -> &Volume {
        self.volume.volume()
    }

    /// The number of this transaction.
    pub fn generation(&self) -> Transid {
        self.generation
    }

    /// The uuid that blocks and device extents carry.
    pub fn chunk_tree_uuid(&self) -> Uuid {
        self.trees.chunk_tree_uuid
    }

    /// Locks the chunk tree and what goes with it.
    pub fn chunks(&self) -> MutexGuard<'_, Chunks> {
        self.chunks.lock()
    }

    /// Locks the block groups.
    pub fn space(&self) -> MutexGuard<'_, Space> {
        self.space.lock()
    }

    /// Locks the device tree.
    pub fn device_tree(&self) -> MutexGuard<'_, StagedTree> {
        self.trees.device.lock()
    }

    /// Locks the tree that block group items stand in.
    pub fn block_group_items(&self) -> MutexGuard<'_, StagedTree> {
        self.trees.block_group_items().lock()
    }

    /// Locks the free space tree. `None` where there is none, or where the kernel does not trust it.
    pub fn free_space_tree(&self) -> Option<MutexGuard<'_, StagedTree>> {
        self.trees.free_space.as_ref().map(Mutex::lock)
    }

    /// Whether the transaction cannot be committed any more.
    pub fn is_poisoned(&self) -> bool {
        self.is_poisoned.load(Ordering::Relaxed)
    }

    /// Keeps the transaction from being committed.
    pub fn poison(&self) {
        self.is_poisoned.store(true, Ordering::Relaxed);
    }

    /// A verified block of the last commit.
    pub(super) fn read_committed(&self, expected: &Expected) -> Result<Vec<u8>> {
        let mut buffer = Vec::new();
        let read = self.volume().read_block(expected, &mut buffer)?;
        Ok(read.block.bytes().to_vec())
    }
}

/// The key of the root item of a tree.
pub(super) fn root_key(tree: u64) -> Key {
    Key::new(tree, KeyType::ROOT_ITEM, 0)
}
