//! Which files hold data that is lost.

use crate::block::{ItemRef, Leaf};
use crate::disk::inode::{FileExtentDisk, FileExtentItem, compression, file_extent_type};
use crate::disk::{KeyType, objectid};

use super::super::Job;
use super::super::findings::Findings;
use super::super::scan::{Scan, Tree, Visit};
use super::DataProblem;

/// A range of a file.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Part {
    tree: u64,
    inode: u64,
    start: u64,
    end: u64,
}

/// Reports the files that refer to `lost`, which are sorted ranges of addresses. A leaf that trees share is reported of
/// the first of them.
pub fn report(job: &Job<'_>, file_trees: &[Tree], lost: &[(u64, u64)]) {
    // What the walk itself finds was reported by the first one.
    let heard_before = Findings::default();
    let scan = Scan::new(&Job { findings: &heard_before, ..*job });
    let mut parts: Vec<Part> = Vec::new();
    for tree in file_trees.iter().filter(|tree| objectid::is_fs_tree(tree.root.key.objectid)) {
        let found = scan.run(std::slice::from_ref(tree), |parts: &mut Vec<Part>, tree: &Tree, visit| {
            if let Visit::Leaf(leaf) = visit {
                lost_of_leaf(tree.root.key.objectid, leaf, lost, parts);
            }
        });
        parts.extend(found.into_iter().flatten());
    }
    parts.sort_unstable();
    let joins = |a: &Part, b: &Part| (a.tree, a.inode) == (b.tree, b.inode) && b.start <= a.end;
    for run in parts.chunk_by(joins) {
        let Part { tree, inode, start: offset, .. } = run[0];
        let end = run.iter().map(|part| part.end).max().unwrap_or(offset);
        job.findings.report(DataProblem::LostFile { tree, inode, offset, length: end - offset });
    }
}

fn lost_of_leaf(tree: u64, leaf: Leaf<'_>, lost: &[(u64, u64)], parts: &mut Vec<Part>) {
    for item in leaf.items().flatten().filter(|item| item.key.key_type == KeyType::EXTENT_DATA) {
        let inode = item.key.objectid;
        lost_of_item(&item, lost, |start, end| parts.push(Part { tree, inode, start, end }));
    }
}

/// Hands the ranges of a file that an item takes from lost data to `hear`. What is compressed is lost as a whole; what is
/// preallocated holds no data.
fn lost_of_item(item: &ItemRef<'_>, lost: &[(u64, u64)], mut hear: impl FnMut(u64, u64)) {
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
            return hear(item.key.offset, whole);
        }
        let in_file = |address: u64| item.key.offset.saturating_add(address.clamp(first, last) - first);
        hear(in_file(*start), in_file(*end));
    }
}
