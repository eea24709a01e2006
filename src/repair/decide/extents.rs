//! File extents that lead to the wrong extent: the extent tree still knows which one was meant.

use std::collections::BTreeMap;

use crate::block::reference::{Reference, file_extent};
use crate::block::verify::Expected;
use crate::block::{BlockKind, ItemRef};
use crate::disk::flags::compat_ro;
use crate::disk::inode::FileExtentDisk;
use crate::disk::{Key, Logical, objectid};
use crate::error::Result;
use crate::problem::{FreeSpaceProblem, Problem};
use crate::progress::Progress;
use crate::survey::{Cursor, Extent, Job};

use super::super::edits::leaf_of;
use super::super::plan::{Doubt, Plan};
use super::astray::{self, data_chunk};
use super::contested;
use super::file_extents::{FoundExtent, is_edited};
use super::inode_items::items_of;
use super::offsets;

/// Has file extents that no extent item knows of lead to the extents that only lack these very references. Then settles the file extents
/// that lead to where no data can be, and those that contradict each other.
///
/// # Errors
/// Temporary files that cannot be used.
pub fn decide(plan: &mut Plan<'_>, problems: &[Problem], threads: usize, progress: &Progress) -> Result<()> {
    let job = Job { volume: plan.volume, threads, progress };
    let Some(buckets) = plan.survey.claims.unequal_references(&plan.survey.found) else { return Ok(()) };
    let all = plan.survey.references(&job, &buckets)?;
    // By reference: extents that claim it without its being found, and those that it leads to without being claimed.
    let mut claimed: BTreeMap<Reference, Vec<Logical>> = BTreeMap::new();
    let mut found: BTreeMap<Reference, Vec<Logical>> = BTreeMap::new();
    let mut moved = Vec::new();
    for extent in all.iter() {
        moved.extend(offsets::moved(&extent));
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
        {
            match is_meant(plan, problems, right, *wrong) {
                Some(true) => {
                    redirect(plan, reference, *wrong, right);
                    continue;
                }
                Some(false) => {}
                None => {
                    for found in file_extents(plan, reference, *wrong) {
                        plan.doubts.push(Doubt::of_inode(found.tree, found.key.objectid));
                    }
                }
            }
        }
        is_any_astray |= leads_to.iter().any(|extent| data_chunk(plan.volume, *extent, 0).is_none());
    }
    for moved in moved {
        let of_file = file_extents(plan, moved.found, moved.extent);
        offsets::put_back(plan, &moved, of_file);
    }
    if is_any_astray {
        astray::decide(plan, problems, &job);
    }
    contested::decide(plan, &job);
    Ok(())
}

/// Whether it is the file that is wrong, not the key of the extent item: both say another address. Nothing where nothing tells.
fn is_meant(plan: &Plan<'_>, problems: &[Problem], right: Extent, wrong: Logical) -> Option<bool> {
    let (length, extents) = (right.length, &plan.survey.claims.extents);
    let may_be = |logical: Logical| data_chunk(plan.volume, logical, length).is_some();
    let is_of_others = |logical: Logical| {
        let end = Logical(logical.0.saturating_add(length));
        extents.over(logical, end).any(|extent| extent.logical != right.logical)
    };
    let has_csums = |logical: Logical| plan.survey.csums.is_any(logical, length);
    let witnesses = [
        (may_be(right.logical), may_be(wrong)),
        (!is_of_others(right.logical), !is_of_others(wrong)),
        (has_csums(right.logical), has_csums(wrong)),
    ];
    if let Some((is_right, _)) = witnesses.into_iter().find(|(right, wrong)| right != wrong) {
        return Some(is_right);
    }
    if !may_be(right.logical) {
        return Some(false);
    }
    // Free space was noted by the extent item when it was in order.
    let has = |at: Logical, start: Logical, bytes: u64| {
        start < Logical(at.0.saturating_add(length)) && at < Logical(start.0.saturating_add(bytes))
    };
    let is_noted_elsewhere = problems.iter().any(|problem| match *problem {
        Problem::FreeSpace(FreeSpaceProblem::Used { start, length, .. }) => has(right.logical, start, length),
        Problem::FreeSpace(FreeSpaceProblem::Lost { start, length, .. }) => has(wrong, start, length),
        _ => false,
    });
    let is_noted = plan.superblock.has_compat_ro(compat_ro::FREE_SPACE_TREE_VALID)
        && !plan.survey.blocks.lack_of(objectid::FREE_SPACE_TREE);
    is_noted.then_some(!is_noted_elsewhere)
}

fn redirect(plan: &mut Plan<'_>, reference: Reference, wrong: Logical, right: Extent) {
    edit(plan, reference, wrong, "it leads to the extent that knows of it", |disk| {
        disk.disk_bytenr = right.logical.0.into();
        disk.disk_num_bytes = right.length.into();
    });
}

/// Has file extents say the length that the extent item of their extent has.
pub fn mend_length(plan: &mut Plan<'_>, extent: Logical, length: u64, reference: Reference) {
    edit(plan, reference, extent, "it has the length of its extent", |disk| disk.disk_num_bytes = length.into());
}

fn edit(
    plan: &mut Plan<'_>,
    reference: Reference,
    extent: Logical,
    what: &'static str,
    edit: impl Fn(&mut FileExtentDisk),
) {
    for mut found in file_extents(plan, reference, extent) {
        if let Some((_, disk)) = found.parts() {
            edit(disk);
            found.put(plan, what);
        }
    }
}

/// The file extents that are such a reference to `extent`, but for those that this step changes already.
fn file_extents(plan: &Plan<'_>, reference: Reference, extent: Logical) -> Vec<FoundExtent> {
    let of_extent = |item: &ItemRef<'_>, owner| file_extent(item, owner).filter(|file| file.extent == extent);
    let mut all: Vec<FoundExtent> = match reference {
        Reference::ExtentData { root: tree, objectid: inode, .. } if objectid::is_fs_tree(tree) => {
            let Some(root) = plan.root(tree) else { return Vec::new() };
            let is_reference = |(key, data): &(Key, Vec<u8>)| {
                let item = ItemRef { slot: 0, key: *key, offset: 0, data };
                of_extent(&item, tree).is_some_and(|file| file.reference == reference)
            };
            let found = |(key, data)| Some(FoundExtent { tree, leaf: leaf_of(plan.volume, &root, key)?, key, data });
            let of_inode = items_of(plan, &root, inode).into_iter().filter(is_reference).filter_map(found);
            of_inode.filter(|found| owner_of(plan, found.leaf) == Some(tree)).collect()
        }
        Reference::SharedData { parent: leaf } => {
            let mut buffer = Vec::new();
            let Ok(read) = plan.volume.read_block(&Expected::at(leaf), &mut buffer) else { return Vec::new() };
            let (tree, BlockKind::Leaf(items)) = (read.block.header().owner.get(), read.block.kind()) else {
                return Vec::new();
            };
            let found = |item: ItemRef<'_>| FoundExtent { tree, leaf, key: item.key, data: item.data.to_vec() };
            items.items().flatten().filter(|item| of_extent(item, tree).is_some()).map(found).collect()
        }
        _ => return Vec::new(),
    };
    all.retain(|found| !is_edited(plan, found));
    all
}

fn owner_of(plan: &Plan<'_>, block: Logical) -> Option<u64> {
    let mut buffer = Vec::new();
    let read = plan.volume.read_block(&Expected::at(block), &mut buffer).ok()?;
    Some(read.block.header().owner.get())
}
