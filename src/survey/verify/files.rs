//! Which files hold data that is lost.

use crate::block::{ItemRef, Leaf};
use crate::disk::inode::{FileExtentDisk, FileExtentItem, compression, file_extent_type};
use crate::disk::{KeyType, objectid};
use crate::tree::{Tree, Visit};

use super::super::blocks::SecondLook;
use super::super::job::Job;

/// A range of a file, from `start` to before `end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FileRange {
    /// Id of the tree.
    pub tree: u64,
    /// Number of the inode.
    pub inode: u64,
    /// First byte in the file.
    pub start: u64,
    /// Byte behind the last.
    pub end: u64,
}

/// The files that refer to `lost`, which are sorted ranges of addresses. A leaf that trees share is told of the first of
/// them.
pub fn lost_files(job: &Job<'_>, file_trees: &[Tree], lost: &[(u64, u64)]) -> Vec<FileRange> {
    let trees: Vec<Tree> = file_trees.iter().filter(|tree| objectid::is_fs_tree(tree.id())).copied().collect();
    let look = SecondLook::new(|ranges: &mut Vec<FileRange>, tree: &Tree, visit: Visit<'_>| {
        if let Visit::Leaf(leaf) = visit {
            lost_of_leaf(tree.id(), leaf, lost, ranges);
        }
    });
    let found = job.scan().run(&trees, &look);
    let mut ranges: Vec<FileRange> = found.into_iter().flat_map(|(_, ranges)| ranges).collect();
    ranges.sort_unstable();
    let joins = |a: &FileRange, b: &FileRange| (a.tree, a.inode) == (b.tree, b.inode) && b.start <= a.end;
    let join = |run: &[FileRange]| {
        let end = run.iter().map(|range| range.end).max().unwrap_or_default();
        run.first().map(|first| FileRange { end, ..*first })
    };
    ranges.chunk_by(joins).filter_map(join).collect()
}

fn lost_of_leaf(tree: u64, leaf: Leaf<'_>, lost: &[(u64, u64)], ranges: &mut Vec<FileRange>) {
    for item in leaf.items().flatten().filter(|item| item.key.key_type == KeyType::EXTENT_DATA) {
        let inode = item.key.objectid;
        lost_of_item(&item, lost, |start, end| ranges.push(FileRange { tree, inode, start, end }));
    }
}

/// Hands the ranges of a file that an item takes from lost data to `visit`. What is compressed is lost as a whole; what is
/// preallocated holds no data.
fn lost_of_item(item: &ItemRef<'_>, lost: &[(u64, u64)], mut visit: impl FnMut(u64, u64)) {
    let Some((extent, rest)) = FileExtentItem::read_prefix(item.data) else { return };
    let Some((disk, _)) = FileExtentDisk::read_prefix(rest) else { return };
    if extent.r#type != file_extent_type::REG || disk.disk_bytenr.get() == 0 {
        return;
    }
    let is_compressed = extent.compression != compression::NONE;
    let (offset, length) = match is_compressed {
        true => (0, disk.disk_num_bytes.get()),
        false => (disk.offset.get(), disk.num_bytes.get()),
    };
    let first = disk.disk_bytenr.get().saturating_add(offset);
    let last = first.saturating_add(length);
    let begin = lost.partition_point(|(_, end)| *end <= first);
    for (start, end) in lost[begin..].iter().take_while(|(start, _)| *start < last) {
        let whole = item.key.offset.saturating_add(disk.num_bytes.get());
        if is_compressed {
            return visit(item.key.offset, whole);
        }
        let in_file = |address: u64| item.key.offset.saturating_add(address.clamp(first, last) - first);
        visit(in_file(*start), in_file(*end));
    }
}
