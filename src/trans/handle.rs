//! Taking part in the transaction.

use crate::disk::flags::block_group;
use crate::disk::{BlockGroupFlags, Logical};
use crate::error::{Error, Result};
use crate::space::SpaceInfo;
use crate::sync::lock;
use crate::tree::reservation::{to_delete_items, to_insert_items};

use super::Filesystem;

/// What one thread does in the transaction, from a promise of space to its end. One that is dropped without being ended
/// has left something half done: the transaction cannot be committed then.
#[derive(Debug)]
pub struct Handle<'f> {
    pub fs: &'f Filesystem,
    /// Metadata that was promised, in bytes.
    promised: u64,
    /// Block groups that this handle made and whose items it has yet to insert, in the order in which they came.
    pub new_groups: Vec<Logical>,
    /// System space that was promised, in bytes.
    pub system_promised: u64,
    is_ended: bool,
}

const METADATA: BlockGroupFlags = BlockGroupFlags(block_group::METADATA);
const SYSTEM: BlockGroupFlags = BlockGroupFlags(block_group::SYSTEM);

impl Filesystem {
    /// Begins to change `items` items of trees other than the chunk tree.
    pub fn begin(&self, items: u64) -> Result<Handle<'_>> {
        self.begin_with(self.to_insert(items), SpaceInfo::reserve, SpaceInfo::left)
    }

    /// As [`Filesystem::begin`], for changes that make space: they may take of what is kept for the commit.
    pub fn begin_to_free(&self, items: u64) -> Result<Handle<'_>> {
        self.begin_with(self.to_insert(items), SpaceInfo::reserve_kept, SpaceInfo::unpromised)
    }

    /// As [`Filesystem::begin_to_free`], for changes that delete items only: promised is what the trees need as high as they
    /// are, and not as high as any may be. The caller holds no tree.
    pub fn begin_to_delete(&self, items: u64) -> Result<Handle<'_>> {
        let trees = [&self.extent_tree, &self.device_tree, &self.root_tree].into_iter();
        let trees = trees.chain(&self.block_group_tree).chain(&self.free_space_tree);
        let level = trees.map(|tree| lock(tree).root.level).max().unwrap_or_default();
        let bytes = to_delete_items(self.volume().format().nodesize, items, level);
        self.begin_with(bytes, SpaceInfo::reserve_kept, SpaceInfo::unpromised)
    }

    fn to_insert(&self, items: u64) -> u64 {
        to_insert_items(self.volume().format().nodesize, items)
    }

    fn begin_with(
        &self,
        bytes: u64,
        reserve: fn(&mut SpaceInfo, u64) -> bool,
        left: fn(&SpaceInfo) -> u64,
    ) -> Result<Handle<'_>> {
        let mut space = self.space();
        let info = space.info_mut(METADATA);
        if !reserve(info, bytes) {
            return Err(Error::NoSpace { what: "metadata", wanted: bytes, left: left(info) });
        }
        let (new_groups, system_promised) = Default::default();
        Ok(Handle { fs: self, promised: bytes, new_groups, system_promised, is_ended: false })
    }
}

impl Handle<'_> {
    /// Gives promised system space back.
    pub fn release_system(&mut self) {
        let bytes = std::mem::take(&mut self.system_promised);
        self.fs.space().info_mut(SYSTEM).release(bytes);
    }

    /// Ends the handle, which must have no new block groups left.
    pub fn end(mut self) {
        self.release_system();
        self.is_ended = self.new_groups.is_empty();
    }
}

impl Drop for Handle<'_> {
    fn drop(&mut self) {
        self.fs.space().info_mut(METADATA).release(self.promised);
        if !self.is_ended {
            self.fs.poison();
        }
    }
}
