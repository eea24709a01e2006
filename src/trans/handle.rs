//! Taking part in the transaction.

use crate::disk::flags::block_group;
use crate::disk::{BlockGroupFlags, Logical};
use crate::error::{Error, Result};
use crate::space::SpaceInfo;
use crate::tree::reservation::{to_delete_items, to_insert_items};

use super::filesystem::Filesystem;

/// What one thread does in the transaction, from the reservation of space to its end. A handle that is dropped without being
/// ended has left something half done: the transaction cannot be committed then.
#[derive(Debug)]
pub struct Handle<'f> {
    /// The filesystem that it changes.
    pub fs: &'f Filesystem,
    /// Bytes of METADATA space that it has reserved.
    reserved: u64,
    /// Block groups that this handle made and whose items it has yet to insert, in the order in which they came.
    pub new_groups: Vec<Logical>,
    /// Bytes of SYSTEM space that it has reserved.
    pub system_reserved: u64,
    is_ended: bool,
}

const METADATA: BlockGroupFlags = BlockGroupFlags(block_group::METADATA);
const SYSTEM: BlockGroupFlags = BlockGroupFlags(block_group::SYSTEM);

impl Filesystem {
    /// Begins to change `items` items of trees other than the chunk tree.
    pub fn begin(&self, items: u64) -> Result<Handle<'_>> {
        self.begin_with(self.to_insert(items), SpaceInfo::reserve, SpaceInfo::available)
    }

    /// As [`Filesystem::begin`], for changes that make space: they may take of the global reserve.
    pub fn begin_to_free(&self, items: u64) -> Result<Handle<'_>> {
        self.begin_with(self.to_insert(items), SpaceInfo::reserve_with_global, SpaceInfo::unreserved)
    }

    /// As [`Filesystem::begin_to_free`], for changes that delete items only: it reserves what the trees need as high as they are,
    /// and not as high as any may be. The caller holds no tree.
    pub fn begin_to_delete(&self, items: u64) -> Result<Handle<'_>> {
        let level = self.trees.highest_level();
        let bytes = to_delete_items(self.volume().format().nodesize, items, level);
        self.begin_with(bytes, SpaceInfo::reserve_with_global, SpaceInfo::unreserved)
    }

    fn to_insert(&self, items: u64) -> u64 {
        to_insert_items(self.volume().format().nodesize, items)
    }

    fn begin_with(
        &self,
        bytes: u64,
        reserve: fn(&mut SpaceInfo, u64) -> bool,
        available: fn(&SpaceInfo) -> u64,
    ) -> Result<Handle<'_>> {
        let mut space = self.space();
        let info = space.info_mut(METADATA);
        if !reserve(info, bytes) {
            return Err(Error::NoSpace { what: "metadata", wanted: bytes, left: available(info) });
        }
        let (new_groups, system_reserved) = Default::default();
        Ok(Handle { fs: self, reserved: bytes, new_groups, system_reserved, is_ended: false })
    }
}

impl Handle<'_> {
    /// Releases the SYSTEM space that it has reserved.
    pub fn release_system(&mut self) {
        let bytes = std::mem::take(&mut self.system_reserved);
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
        self.fs.space().info_mut(METADATA).release(self.reserved);
        if !self.is_ended {
            self.fs.poison();
        }
    }
}
