//! Transactions: changes of an unmounted filesystem that become real together or not at all.
//!
//! Lock order, outermost first: the trees that [`Filesystem::tree`] opens, which are those of files, of several the one
//! with the lower id first, then others, such as the checksum tree; extent tree, block group tree, device tree, free space
//! tree, the list of opened trees, root tree; [`Chunks`], which are the chunk tree and all that goes with it; then, of
//! which nobody holds two, space and references. Who changes chunks needs no other tree, and who holds another tree may
//! ask for chunks: a copy of its blocks may need one.

mod chunks;
mod commit;
mod data;
pub mod free_space_tree;
mod handle;
mod open;
mod quotas;
pub mod references;
mod rows;
mod sharing;
mod space_cache;
mod staged;
mod trees;

use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use crate::block::Block;
use crate::block::extent_item::ExtentKind as Kind;
use crate::block::verify::Expected;
use crate::disk::fields::Uuid;
use crate::disk::flags::block_group;
use crate::disk::{BlockGroupFlags, Key, KeyType, Logical, Transid, objectid};
use crate::error::{Error, Result};
use crate::space::{BlockGroup, FreeExtents, Payer, Space, excluded, free_extents, without_excluded, without_extents};
use crate::sync::{AtomicBool, Condvar, Mutex, MutexGuard, lock};
use crate::tree::TreeRoot;
use crate::volume::{ChunkMapping, Volume, WritableVolume};

pub use chunks::{Chunks, DeviceState, device_key};
pub use data::Checksums;
pub use handle::Handle;
pub use staged::{StagedTree, Store};

use references::{Changes, item};
use trees::OpenedTrees;

/// A filesystem that is being changed: one transaction, which any number of threads take part in by [`Handle`]s of their
/// own. Nothing is written before [`Filesystem::commit`].
#[derive(Debug)]
pub struct Filesystem {
    volume: WritableVolume,
    generation: Transid,
    chunk_tree_uuid: Uuid,
    /// As the last commit has it.
    extent_root: TreeRoot,
    extent_tree: Mutex<StagedTree>,
    block_group_tree: Option<Mutex<StagedTree>>,
    device_tree: Mutex<StagedTree>,
    free_space_tree: Option<Mutex<StagedTree>>,
    root_tree: Mutex<StagedTree>,
    /// Those that somebody asked for.
    opened_trees: Mutex<OpenedTrees>,
    chunks: Mutex<Chunks>,
    space: Mutex<Space>,
    /// Some thread is done with allocating a chunk.
    chunk_alloc_ended: Condvar,
    references: Mutex<Changes>,
    /// What the commit writes anew first, by address.
    mended: rows::Mended,
    /// Flags of the quota tree in the last commit.
    quota_status: u64,
    /// Whether what quota groups count was changed.
    is_recount_due: AtomicBool,
    /// Whether some change was left half done.
    is_poisoned: AtomicBool,
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

    pub fn chunks(&self) -> MutexGuard<'_, Chunks> {
        lock(&self.chunks)
    }

    pub fn space(&self) -> MutexGuard<'_, Space> {
        lock(&self.space)
    }

    /// Sleeps until no thread is allocating a chunk of this type. The caller holds no chunks.
    pub fn wait_for_chunk_alloc<'s>(
        &self,
        space: MutexGuard<'s, Space>,
        flags: BlockGroupFlags,
    ) -> MutexGuard<'s, Space> {
        let is_allocating = |space: &mut Space| space.info(flags).chunk_alloc;
        self.chunk_alloc_ended.wait_while(space, is_allocating).unwrap_or_else(PoisonError::into_inner)
    }

    /// The thread that allocated a chunk of this type is done.
    pub fn end_chunk_alloc(&self, flags: BlockGroupFlags) {
        self.space().info_mut(flags).chunk_alloc = false;
        self.chunk_alloc_ended.notify_all();
    }

    pub fn device_tree(&self) -> MutexGuard<'_, StagedTree> {
        lock(&self.device_tree)
    }

    /// The tree that block group items stand in.
    pub fn block_group_items(&self) -> MutexGuard<'_, StagedTree> {
        lock(self.block_group_tree.as_ref().unwrap_or(&self.extent_tree))
    }

    /// Nothing where there is none, or where the kernel does not trust it.
    pub fn free_space_tree(&self) -> Option<MutexGuard<'_, StagedTree>> {
        self.free_space_tree.as_ref().map(lock)
    }

    pub fn is_poisoned(&self) -> bool {
        self.is_poisoned.load(Ordering::Relaxed)
    }

    /// Keeps the transaction from being committed.
    pub fn poison(&self) {
        self.is_poisoned.store(true, Ordering::Relaxed);
    }

    /// The uuid that blocks and device extents carry.
    pub fn chunk_tree_uuid(&self) -> Uuid {
        self.chunk_tree_uuid
    }

    /// Deletes what the free space tree says of a block group.
    pub fn remove_free_space(&self, logical: Logical, length: u64) -> Result<()> {
        let Some(mut tree) = self.free_space_tree() else { return Ok(()) };
        let (root, mut store) = tree.parts(self);
        free_space_tree::remove(root, &mut store, logical, length)
    }

    /// Whether the extent tree, too, says that a chunk of the last commit is empty: the item of its block group may be wrong.
    pub fn verify_empty(&self, chunk: &ChunkMapping) -> Result<()> {
        let is_committed = self.volume().chunks().find(chunk.logical).is_some();
        if is_committed && free_extents(self.volume(), &self.extent_root, chunk)? != (without_excluded(chunk), 0) {
            let (what, logical) = ("chunk", chunk.logical);
            return Err(Error::Block { what, logical, problem: "has extents, its block group says none".to_owned() });
        }
        Ok(())
    }

    fn read_committed(&self, expected: &Expected) -> Result<Vec<u8>> {
        let mut buffer = Vec::new();
        match self.volume().read_block(expected, &mut buffer) {
            Ok(read) => Ok(read.block.bytes().to_vec()),
            Err(bad) => {
                let (what, logical) = ("tree block", expected.logical);
                Err(Error::Block { what, logical, problem: bad.to_string() })
            }
        }
    }

    /// Space for a new block of a tree.
    fn take_block(&self, tree: u64, payer: Payer) -> Result<Logical> {
        let flags = BlockGroupFlags(match tree {
            objectid::CHUNK_TREE => block_group::SYSTEM,
            _ => block_group::METADATA,
        });
        let mut space = self.space();
        let profile = space.info(flags).profile(u64::MAX);
        let taken = space.allocate_block_for(payer, flags, profile, |group| self.committed_free(group))?;
        let nodesize = u64::from(self.volume().format().nodesize);
        let what = if tree == objectid::CHUNK_TREE { "system" } else { "metadata" };
        taken.ok_or_else(|| Error::NoSpace { what, wanted: nodesize, left: space.info(flags).left() })
    }

    /// Whether blocks of the chunk tree can be made of all system space that is promised, and of so many bytes more.
    pub fn has_system_blocks(&self, bytes: u64) -> Result<bool> {
        let flags = BlockGroupFlags(block_group::SYSTEM);
        let mut space = self.space();
        let promised = space.info(flags).reserve.reserved;
        space.has_blocks(flags, promised.saturating_add(bytes), |group| self.committed_free(group))
    }

    /// What is free in a block group of the last commit. Where an extent item is missing, what its item counts tells:
    /// bytes that are in use would be handed out.
    fn committed_free(&self, group: &BlockGroup) -> Result<FreeExtents> {
        let error = |problem: String| Error::Block { what: "block group", logical: group.logical, problem };
        let chunk = self.volume().chunks().find(group.logical).ok_or_else(|| error("has no chunk".to_owned()))?;
        let (free, used) = free_extents(self.volume(), &self.extent_root, chunk)?;
        // Of what the last commit had in use, this transaction has freed what is pinned.
        match group.used.saturating_add(group.pinned()) {
            expected if expected == used => Ok(free),
            expected => Err(error(format!("says that {expected} bytes are in use, its extents have {used}"))),
        }
    }

    /// What of a chunk is never given out and was not in use in the last commit.
    fn excluded_free(&self, chunk: &ChunkMapping) -> Result<FreeExtents> {
        let excluded = excluded(chunk);
        match self.volume().chunks().find(chunk.logical) {
            Some(chunk) if excluded.bytes() > 0 => {
                without_extents(self.volume(), &self.extent_root, chunk, excluded).map(|(free, _)| free)
            }
            _ => Ok(excluded),
        }
    }

    /// A tree gives up a block for a copy of it, and others may share the block: see [`sharing::give_up`].
    fn give_up_shared(&self, tree: u64, block: Block<'_>) -> Result<()> {
        let kind = Kind::Block { level: block.level() };
        let nodesize = self.volume().format().nodesize;
        // Until all is noted: another tree may give it up at the same time, and what waits may be brought into the tree.
        let mut extent_tree = lock(&self.extent_tree);
        let noted = item::sharing(block.logical(), kind, nodesize, |key| extent_tree.find(self, key))?;
        sharing::give_up(&mut lock(&self.references), tree, block, noted)
    }

    /// A new block is no longer in use. What of it the extent tree says already goes away like that of others.
    fn give_back_block(&self, logical: Logical, tree: u64, level: u8) {
        let mut changes = lock(&self.references);
        if changes.forget_block(logical) {
            drop(changes);
            self.space().give_back(logical, self.volume().format().nodesize.into());
        } else if changes.drop_block(logical, level, tree).is_err() {
            self.poison();
        }
    }
}

/// The key of the root item of a tree.
fn root_key(tree: u64) -> Key {
    Key::new(tree, KeyType::ROOT_ITEM, 0)
}
