//! Space for what a transaction makes, out of what the last commit left free.

use crate::disk::flags::block_group;
use crate::disk::{BlockGroupFlags, Logical, objectid};
use crate::error::{AddressProblem, Addressed, Error, Result};
use crate::space::{BlockGroup, FreeExtents, Payer, Space, excluded, without_excluded};
use crate::sync::MutexGuard;
use crate::volume::ChunkMapping;

use super::filesystem::Filesystem;

impl Filesystem {
    /// Sleeps until no thread allocates a chunk of this type. The caller does not hold the chunks.
    pub fn wait_for_chunk_alloc<'s>(
        &self,
        space: MutexGuard<'s, Space>,
        flags: BlockGroupFlags,
    ) -> MutexGuard<'s, Space> {
        space.wait_while(&self.chunk_alloc_ended, |space| space.info(flags).chunk_alloc)
    }

    /// The thread that allocated a chunk of this type is done.
    pub fn end_chunk_alloc(&self, flags: BlockGroupFlags) {
        self.space().info_mut(flags).chunk_alloc = false;
        self.chunk_alloc_ended.notify_all();
    }

    /// Whether blocks of the chunk tree can be made of all SYSTEM space that is reserved, and of `bytes` more.
    ///
    /// # Errors
    /// An extent tree that cannot be read or that contradicts the block groups.
    pub fn has_system_blocks(&self, bytes: u64) -> Result<bool> {
        let flags = BlockGroupFlags(block_group::SYSTEM);
        let mut space = self.space();
        let reserved = space.info(flags).reserve.reserved;
        space.has_blocks(flags, reserved.saturating_add(bytes), |group| self.committed_free(group))
    }

    /// Verifies that a chunk of the last commit is empty not only by the item of its block group, which may be wrong.
    ///
    /// # Errors
    /// Extents in the chunk, and those of [`Filesystem::has_system_blocks`].
    pub fn verify_empty(&self, chunk: &ChunkMapping) -> Result<()> {
        let is_committed = self.volume().chunks().find(chunk.logical).is_some();
        let all = without_excluded(chunk);
        if !is_committed {
            return Ok(());
        }
        match self.trust.without_used(self.volume(), chunk, all.clone())? {
            (free, 0) if free == all => Ok(()),
            (_, have) => {
                let problem = AddressProblem::NotEmpty { have };
                Err(Error::Block { what: Addressed::Chunk, logical: chunk.logical, problem })
            }
        }
    }

    /// Allocates a new block of a tree.
    pub(super) fn take_block(&self, tree: u64, payer: Payer) -> Result<Logical> {
        let flags = BlockGroupFlags(match tree {
            objectid::CHUNK_TREE => block_group::SYSTEM,
            _ => block_group::METADATA,
        });
        let mut space = self.space();
        let profile = space.info(flags).profile(u64::MAX);
        let taken = space.allocate_block_for(payer, flags, profile, |group| self.committed_free(group))?;
        let nodesize = u64::from(self.volume().format().nodesize);
        let what = if tree == objectid::CHUNK_TREE { "system" } else { "metadata" };
        taken.ok_or_else(|| Error::NoSpace { what, wanted: nodesize, left: space.info(flags).available() })
    }

    /// What was free in a block group of the last commit. Where an extent item is missing, the count of the block group
    /// tells: bytes that are in use would be handed out.
    pub(super) fn committed_free(&self, group: &BlockGroup) -> Result<FreeExtents> {
        let error = |problem| Error::Block { what: Addressed::BlockGroup, logical: group.logical, problem };
        let chunk = self.volume().chunks().find(group.logical).ok_or_else(|| error(AddressProblem::NoChunk))?;
        let (free, have) = self.trust.without_used(self.volume(), chunk, without_excluded(chunk))?;
        // What is pinned was in use in the last commit.
        match group.used.saturating_add(group.pinned()) {
            used if used == have => Ok(free),
            used => Err(error(AddressProblem::Used { used, have })),
        }
    }

    /// What of a chunk is never given out and was not in use in the last commit.
    pub(super) fn excluded_free(&self, chunk: &ChunkMapping) -> Result<FreeExtents> {
        let excluded = excluded(chunk);
        match self.volume().chunks().find(chunk.logical) {
            Some(chunk) if excluded.bytes() > 0 => {
                self.trust.without_used(self.volume(), chunk, excluded).map(|(free, _)| free)
            }
            _ => Ok(excluded),
        }
    }

    /// Gives back the space of a new block, which is no longer in use. What the extent tree says of it already goes away as
    /// that of other blocks does.
    pub(super) fn give_back_block(&self, logical: Logical, tree: u64, level: u8) {
        let mut refs = self.delayed_refs.lock();
        if refs.forget_block(logical) {
            drop(refs);
            self.space().give_back(logical, self.volume().format().nodesize.into());
        } else if refs.drop_block(logical, level, tree).is_err() {
            self.poison();
        }
    }
}
