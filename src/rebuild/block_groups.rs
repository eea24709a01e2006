//! Block group items, and the free space tree.

use zerocopy::IntoBytes;

use crate::disk::volume::BlockGroupItem;
use crate::disk::{BlockGroupFlags, Key, Logical};
use crate::error::Result;
use crate::space::FreeExtents;
use crate::space::free_space_items::{Group, Items};
use crate::volume::chunk_items::block_group_item;

/// A block group and what of it is in use.
#[derive(Clone, Copy, Debug)]
pub struct GroupSpace<'a> {
    /// Logical address of the block group.
    pub logical: Logical,
    /// In bytes.
    pub length: u64,
    /// Type and profile.
    pub flags: BlockGroupFlags,
    /// Bytes of its extents.
    pub used: u64,
    /// What the free space tree lists. The kernel lists what it never gives out (the ranges over superblocks), too.
    pub free: &'a FreeExtents,
}

/// The block group items of groups, in the order of the groups.
pub fn block_group_items<'g>(groups: impl Iterator<Item = GroupSpace<'g>>) -> impl Iterator<Item = (Key, GroupItem)> {
    groups.map(|group| {
        let (key, item) = block_group_item(group.logical, group.length, group.flags, group.used);
        (key, GroupItem(item))
    })
}

/// The data of a block group item.
pub struct GroupItem(BlockGroupItem);

impl AsRef<[u8]> for GroupItem {
    fn as_ref(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

/// Calls `emit` with all items of the free space tree. `groups` are in the order of their addresses; the form of each, free
/// extents or bitmaps, is that of a new group.
///
/// # Errors
/// Groups that are not made of whole sectors, free ranges outside of them, and those of `emit`.
pub fn free_space_tree_items<'g>(
    groups: impl Iterator<Item = GroupSpace<'g>>,
    sectorsize: u32,
    mut emit: impl FnMut(Key, &[u8]) -> Result<()>,
) -> Result<()> {
    let new = Items::new();
    for GroupSpace { logical, length, free, .. } in groups {
        let items = Group { logical, length }.items(&new, free, sectorsize)?;
        items.iter().try_for_each(|(key, data)| emit(*key, data))?;
    }
    Ok(())
}
