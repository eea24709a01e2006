//! File extents as a repair finds and changes them: in their leaves, for all trees that share these.

use zerocopy::FromBytes;

use crate::block::reference::file_extent;
use crate::disk::inode::{FileExtentDisk, FileExtentItem, file_extent_type};
use crate::disk::{Key, Logical, objectid};
use crate::survey::Job;
use crate::tree::{BlockPlace, Tree, Visit, Visitor};

use super::super::fix::Fix;
use super::super::plan::Plan;

/// A file extent that is not inline and not a hole.
#[derive(Clone, Debug)]
pub struct FoundExtent {
    /// The tree that reaches the leaf first.
    pub tree: u64,
    pub leaf: Logical,
    pub key: Key,
    pub data: Vec<u8>,
}

impl FoundExtent {
    /// The parts of the item, to be changed.
    pub fn parts(&mut self) -> Option<(&mut FileExtentItem, &mut FileExtentDisk)> {
        let (item, rest) = FileExtentItem::mut_from_prefix(&mut self.data).ok()?;
        Some((item, FileExtentDisk::mut_from_prefix(rest).ok()?.0))
    }

    /// Has the leaf hold the item as it is now.
    pub fn put(self, plan: &mut Plan<'_>, what: &'static str) {
        let Self { tree, leaf, key, data } = self;
        if plan.edits.set_for_all(leaf, key, Some(data)) {
            plan.fix(Fix::Item { tree, key, what });
        }
    }

    /// Has a hole take the place of the extent.
    pub fn give_up(mut self, plan: &mut Plan<'_>, why: String) {
        let Some((item, disk)) = self.parts() else { return };
        item.r#type = file_extent_type::REG;
        (item.compression, item.ram_bytes) = (0, disk.num_bytes);
        (disk.disk_bytenr, disk.disk_num_bytes, disk.offset) = (0.into(), 0.into(), 0.into());
        let Self { tree, leaf, key, data } = self;
        if plan.edits.set_for_all(leaf, key, Some(data)) {
            plan.fix(Fix::ItemGone { tree, key, why });
        }
    }
}

/// Whether the extent can have `length` bytes on the disk: the range of the file lies within them unless the data is compressed.
pub fn can_have_length(item: &FileExtentItem, disk: &FileExtentDisk, length: u64) -> bool {
    let used = disk.offset.get().checked_add(disk.num_bytes.get());
    item.compression != 0 || used.is_some_and(|used| used <= length)
}

/// The file extents of all subvolumes that `is_wanted` picks by address and length of the extent. Each leaf is read once.
pub fn find_all(plan: &Plan<'_>, job: &Job<'_>, is_wanted: impl Fn(Logical, u64) -> bool + Sync) -> Vec<FoundExtent> {
    let of_files = |tree: &&Tree| objectid::is_fs_tree(tree.id());
    let trees: Vec<Tree> = plan.survey.trees.others.iter().filter(of_files).copied().collect();
    let mut found: Vec<FoundExtent> = job.scan().run(&trees, &Finder { is_wanted }).into_iter().flatten().collect();
    // The order does not depend on the threads.
    found.sort_by_key(|extent| (extent.tree, extent.key, extent.leaf));
    found.retain(|extent| !is_edited(plan, extent));
    found
}

/// Whether this step changes the item already.
pub fn is_edited(plan: &Plan<'_>, extent: &FoundExtent) -> bool {
    plan.edits.of_item(extent.tree, extent.leaf, extent.key).is_some()
}

struct Finder<W> {
    is_wanted: W,
}

impl<W: Fn(Logical, u64) -> bool + Sync> Visitor for Finder<W> {
    type Part = Vec<FoundExtent>;

    fn visit(&self, part: &mut Self::Part, place: &BlockPlace<'_>, visit: Visit<'_>) {
        let Visit::Leaf(leaf) = visit else { return };
        for item in leaf.items().flatten() {
            if file_extent(&item, 0).is_some_and(|extent| (self.is_wanted)(extent.extent, extent.length)) {
                let (tree, leaf) = (place.tree.id(), leaf.block().logical());
                part.push(FoundExtent { tree, leaf, key: item.key, data: item.data.to_vec() });
            }
        }
    }
}

/// The range of a file that an extent covers, inline or not, and its generation.
pub fn covers(key: Key, data: &[u8], sectorsize: u64) -> Option<(u64, u64, u64)> {
    let (extent, rest) = FileExtentItem::read_prefix(data)?;
    let generation = extent.generation.get();
    if extent.r#type == file_extent_type::INLINE {
        return Some((key.offset, extent.ram_bytes.get().checked_next_multiple_of(sectorsize)?, generation));
    }
    let (disk, _) = FileExtentDisk::read_prefix(rest)?;
    Some((key.offset, key.offset.checked_add(disk.num_bytes.get())?, generation))
}

/// Where a file extent ends, and what it counts for in nbytes.
pub fn extent_reach(key: Key, data: &[u8]) -> (u64, u64) {
    let Some((extent, rest)) = FileExtentItem::read_prefix(data) else { return (0, 0) };
    if extent.r#type == file_extent_type::INLINE {
        let ram_bytes = extent.ram_bytes.get();
        return (ram_bytes, ram_bytes);
    }
    let Some((disk, _)) = FileExtentDisk::read_prefix(rest) else { return (0, 0) };
    let length = disk.num_bytes.get();
    // Preallocated ranges may lie behind the end of the file.
    let end = if extent.r#type == file_extent_type::PREALLOC { 0 } else { key.offset.saturating_add(length) };
    (end, if disk.disk_bytenr.get() == 0 { 0 } else { length })
}
