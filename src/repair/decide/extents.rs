//! File extents that lead to the wrong extent: the extent tree still knows which one was meant, or one bit of the address tells.

use std::collections::BTreeMap;

use zerocopy::FromBytes;

use crate::block::BlockKind;
use crate::block::reference::{Reference, file_extent};
use crate::block::verify::Expected;
use crate::disk::flags::block_group::DATA;
use crate::disk::inode::{FileExtentDisk, FileExtentItem, file_extent_type};
use crate::disk::{Key, KeyType, Logical, objectid};
use crate::problem::{FreeSpaceProblem, Problem};
use crate::progress::Progress;
use crate::survey::{Coverage, Cursor, Extent, Job};
use crate::tree::{BlockPlace, Tree, Visit, Visitor};
use crate::volume::{ChunkMapping, Volume};

use super::super::edits::leaf_of;
use super::super::fix::Fix;
use super::super::plan::Plan;
use super::inode_items::items_of;

/// A file extent: its leaf, its key and its data.
type FileExtent = (Logical, Key, Vec<u8>);

/// Has file extents that no extent item knows of lead to the extents that only lack these very references. Those that lead to where
/// no data can be get a bit of their address or length put back, or become holes.
pub fn decide(plan: &mut Plan<'_>, problems: &[Problem], threads: usize, progress: &Progress) {
    let job = Job { volume: plan.volume, threads, progress };
    let Some(buckets) = plan.survey.claims.unequal_references(&plan.survey.found) else { return };
    let Ok(all) = plan.survey.references(&job, &buckets) else { return };
    // By reference: extents that claim it without its being found, and those that it leads to without being claimed.
    let mut claimed: BTreeMap<Reference, Vec<Logical>> = BTreeMap::new();
    let mut found: BTreeMap<Reference, Vec<Logical>> = BTreeMap::new();
    for extent in all.iter() {
        for record in extent.references.iter().filter(|record| record.reference.is_counted()) {
            match (record.claimed, record.found) {
                (1.., 0) => claimed.entry(record.reference).or_default().push(extent.extent),
                (0, 1..) => found.entry(record.reference).or_default().push(extent.extent),
                _ => {}
            }
        }
    }
    let mut is_any_astray = plan.survey.blocks.lack_of(objectid::EXTENT_TREE);
    for (reference, leads_to) in found {
        if let (Some([right]), [wrong]) = (claimed.get(&reference).map(Vec::as_slice), leads_to.as_slice())
            && let Some(right) = plan.survey.claims.extents.find(*right, &mut Cursor::default())
            && is_meant(plan, problems, right, *wrong)
        {
            redirect(plan, reference, *wrong, right);
            continue;
        }
        is_any_astray |= leads_to.iter().any(|extent| data_chunk(plan.volume, *extent, 0).is_none());
    }
    if is_any_astray {
        mend_astray(plan, &job);
    }
}

/// Whether it is the file that is wrong, not the key of the extent item: both say another address.
fn is_meant(plan: &Plan<'_>, problems: &[Problem], right: Extent, wrong: Logical) -> bool {
    let (length, extents) = (right.length, &plan.survey.claims.extents);
    if data_chunk(plan.volume, right.logical, length).is_none() || data_chunk(plan.volume, wrong, length).is_none() {
        return data_chunk(plan.volume, right.logical, length).is_some();
    }
    let has_csums = |logical: Logical| plan.survey.csums.is_any(logical, length);
    let is_of_others = |logical: Logical| {
        let end = Logical(logical.0.saturating_add(length));
        extents.over(logical, end).any(|extent| extent.logical != right.logical)
    };
    match (has_csums(right.logical), has_csums(wrong)) {
        (true, false) => return true,
        (false, true) => return false,
        _ => {}
    }
    match (is_of_others(right.logical), is_of_others(wrong)) {
        (false, true) => return true,
        (true, false) => return false,
        _ => {}
    }
    // Free space was noted by the extent item when it was in order.
    let has = |at: Logical, start: Logical, bytes: u64| {
        start < Logical(at.0.saturating_add(length)) && at < Logical(start.0.saturating_add(bytes))
    };
    !problems.iter().any(|problem| match *problem {
        Problem::FreeSpace(FreeSpaceProblem::Used { start, length, .. }) => has(right.logical, start, length),
        Problem::FreeSpace(FreeSpaceProblem::Lost { start, length, .. }) => has(wrong, start, length),
        _ => false,
    })
}

/// The chunk for data that a range lies in, if there is one.
fn data_chunk(volume: &Volume, logical: Logical, length: u64) -> Option<&ChunkMapping> {
    let chunk = volume.chunks().find(logical).filter(|chunk| chunk.flags.contains(DATA))?;
    logical.checked_add(length).is_some_and(|end| end <= chunk.end()).then_some(chunk)
}

fn redirect(plan: &mut Plan<'_>, reference: Reference, wrong: Logical, right: Extent) {
    edit(plan, reference, wrong, "it leads to the extent that knows of it", |_, disk| {
        disk.disk_bytenr = right.logical.0.into();
        disk.disk_num_bytes = right.length.into();
    });
}

/// Has file extents say the length that the extent item of their extent has.
pub fn mend_length(plan: &mut Plan<'_>, extent: Logical, length: u64, reference: Reference) {
    edit(plan, reference, extent, "it has the length of its extent", |_, disk| disk.disk_num_bytes = length.into());
}

/// File extents that lead to where no data can be, and of which no extent item knows where they led to.
fn mend_astray(plan: &mut Plan<'_>, job: &Job<'_>) {
    let trees: Vec<Tree> =
        plan.survey.trees.others.iter().filter(|tree| objectid::is_fs_tree(tree.id())).copied().collect();
    let chunks_are_known = !plan.survey.blocks.lack_of(objectid::CHUNK_TREE);
    for (tree, (leaf, key, mut data)) in job.scan().run(&trees, &Astray { volume: plan.volume }).into_iter().flatten() {
        let is_edited = plan.edits.leaves.get(&leaf).is_some_and(|items| items.contains_key(&key));
        let Some((item, disk)) = parts(&mut data).filter(|_| !is_edited) else { continue };
        let fix = match unflipped(plan, item, disk) {
            Some((bytenr, length)) => {
                (disk.disk_bytenr, disk.disk_num_bytes) = (bytenr.0.into(), length.into());
                let what = "a bit of the address or length of its extent is put back: data is there";
                Fix::Item { tree, key, what }
            }
            None if chunks_are_known => {
                let why = format!("{} holds no data, a hole takes its place", Logical::from(disk.disk_bytenr));
                item.r#type = file_extent_type::REG;
                (item.compression, item.ram_bytes) = (0, disk.num_bytes);
                (disk.disk_bytenr, disk.disk_num_bytes, disk.offset) = (0.into(), 0.into(), 0.into());
                Fix::ItemGone { tree, key, why }
            }
            None => continue,
        };
        set(plan, leaf, key, data, fix);
    }
}

/// Finds file extents that lead to where no data can be.
struct Astray<'v> {
    volume: &'v Volume,
}

impl Visitor for Astray<'_> {
    /// With the tree that reaches the leaf first.
    type Part = Vec<(u64, FileExtent)>;

    fn visit(&self, part: &mut Self::Part, place: &BlockPlace<'_>, visit: Visit<'_>) {
        let Visit::Leaf(leaf) = visit else { return };
        for item in leaf.items().flatten() {
            let Some(extent) = file_extent(&item, 0) else { continue };
            if data_chunk(self.volume, extent.extent, extent.length).is_none() {
                part.push((place.tree.id(), (leaf.block().logical(), item.key, item.data.to_vec())));
            }
        }
    }
}

/// Address and length with one bit of one of them put back, if there is one way alone to have data there.
fn unflipped(plan: &Plan<'_>, item: &FileExtentItem, disk: &FileExtentDisk) -> Option<(Logical, u64)> {
    let (bytenr, length) = (disk.disk_bytenr.get(), disk.disk_num_bytes.get());
    let sectorsize = u64::from(plan.volume.format().sectorsize);
    let is_long_enough = |length: u64| {
        let used = disk.offset.get().checked_add(disk.num_bytes.get());
        length > 0 && (item.compression != 0 || used.is_some_and(|used| used <= length))
    };
    let all = (0..u64::BITS).flat_map(|bit| [(bytenr ^ 1 << bit, length), (bytenr, length ^ 1 << bit)]);
    let places: Vec<(Logical, u64)> = all
        .filter(|(bytenr, length)| bytenr % sectorsize == 0 && length % sectorsize == 0 && is_long_enough(*length))
        .map(|(bytenr, length)| (Logical(bytenr), length))
        .filter(|(bytenr, length)| data_chunk(plan.volume, *bytenr, *length).is_some())
        .collect();
    let has_csums = |(bytenr, length): &&(Logical, u64)| plan.survey.csums.coverage(bytenr.0, *length) == Coverage::All;
    let is_unused = |(bytenr, length): &&(Logical, u64)| {
        let end = Logical(bytenr.0.saturating_add(*length));
        !plan.survey.csums.is_any(*bytenr, *length) && plan.survey.claims.extents.over(*bytenr, end).next().is_none()
    };
    let with_csums: Vec<_> = places.iter().filter(has_csums).collect();
    // Data that is preallocated, or of a file without checksums.
    let without: Vec<_> = places.iter().filter(is_unused).collect();
    match (with_csums.as_slice(), without.as_slice()) {
        ([only], _) | ([], [only]) => Some(**only),
        _ => None,
    }
}

fn edit(
    plan: &mut Plan<'_>,
    reference: Reference,
    extent: Logical,
    what: &'static str,
    edit: impl Fn(&mut FileExtentItem, &mut FileExtentDisk),
) {
    for (leaf, key, mut data) in file_extents(plan, reference, extent) {
        if let Some((item, disk)) = parts(&mut data) {
            edit(item, disk);
            let tree = tree_of(plan, reference, leaf);
            set(plan, leaf, key, data, Fix::Item { tree, key, what });
        }
    }
}

/// All trees that share the leaf have the same extent there.
fn set(plan: &mut Plan<'_>, leaf: Logical, key: Key, data: Vec<u8>, fix: Fix) {
    if plan.edits.instead.contains_key(&leaf) {
        return;
    }
    plan.edits.leaves.entry(leaf).or_default().insert(key, Some(data));
    plan.fix(fix);
}

fn parts(data: &mut [u8]) -> Option<(&mut FileExtentItem, &mut FileExtentDisk)> {
    let (item, rest) = FileExtentItem::mut_from_prefix(data).ok()?;
    Some((item, FileExtentDisk::mut_from_prefix(rest).ok()?.0))
}

/// The tree that is named in a report.
fn tree_of(plan: &Plan<'_>, reference: Reference, leaf: Logical) -> u64 {
    let owner = || {
        let mut buffer = Vec::new();
        let read = plan.volume.read_block(&Expected::at(leaf), &mut buffer).ok()?;
        Some(read.block.header().owner.get())
    };
    match reference {
        Reference::ExtentData { root, .. } => root,
        _ => owner().unwrap_or_default(),
    }
}

/// The file extents that are such a reference to `extent`.
fn file_extents(plan: &Plan<'_>, reference: Reference, extent: Logical) -> Vec<FileExtent> {
    let mut all: Vec<FileExtent> = match reference {
        Reference::ExtentData { root: tree, objectid: inode, .. } if objectid::is_fs_tree(tree) => {
            let Some(root) = plan.root(tree) else { return Vec::new() };
            let items = items_of(plan, &root, inode).into_iter();
            items.filter_map(|(key, data)| Some((leaf_of(plan.volume, &root, key)?, key, data))).collect()
        }
        Reference::SharedData { parent } => {
            let mut buffer = Vec::new();
            let Ok(read) = plan.volume.read_block(&Expected::at(parent), &mut buffer) else { return Vec::new() };
            let BlockKind::Leaf(leaf) = read.block.kind() else { return Vec::new() };
            leaf.items().flatten().map(|item| (parent, item.key, item.data.to_vec())).collect()
        }
        _ => return Vec::new(),
    };
    all.retain_mut(|(_, key, data)| {
        key.key_type == KeyType::EXTENT_DATA
            && parts(data).is_some_and(|(item, disk)| {
                item.r#type != file_extent_type::INLINE && disk.disk_bytenr.get() == extent.0
            })
    });
    all
}
