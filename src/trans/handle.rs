//! Taking part in the transaction.

use crate::disk::flags::block_group;
use crate::disk::{BlockGroupFlags, Logical};
use crate::error::{Error, Result};
use crate::space::SpaceInfo;
use crate::tree::reservation::to_insert_items;

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
        self.begin_with(items, SpaceInfo::reserve)
    }

    /// As [`Filesystem::begin`], for changes that make space: they may take of what is kept for the commit.
    pub fn begin_to_free(&self, items: u64) -> Result<Handle<'_>> {
        self.begin_with(items, SpaceInfo::reserve_kept)
    }

    fn begin_with(&self, items: u64, reserve: fn(&mut SpaceInfo, u64) -> bool) -> Result<Handle<'_>> {
        let bytes = to_insert_items(self.volume().format().nodesize, items);
        let mut space = self.space();
        let info = space.info_mut(METADATA);
        if !reserve(info, bytes) {
            return Err(Error::NoSpace { what: "metadata", wanted: bytes, left: info.left() });
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
