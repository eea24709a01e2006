//! File extents that lead to the wrong extent: the extent tree still knows which one was meant.

use std::collections::BTreeMap;

use zerocopy::FromBytes;

use crate::block::reference::Reference;
use crate::disk::inode::{FileExtentDisk, FileExtentItem};
use crate::disk::{Key, KeyType, Logical, objectid};
use crate::progress::Progress;
use crate::survey::{Cursor, Job};

use super::super::fix::Fix;
use super::super::plan::Plan;
use super::inode_items::items_of;

/// Has file extents that no extent item knows of lead to the extents that only lack these very references.
pub fn decide(plan: &mut Plan<'_>, threads: usize, progress: &Progress) {
    let job = Job { volume: plan.volume, threads, progress };
    let Some(buckets) = plan.survey.claims.unequal_references(&plan.survey.found) else { return };
    let Ok(all) = plan.survey.references(&job, &buckets) else { return };
    // By reference: extents that claim it without its being found, and those that it leads to without being claimed.
    let mut claimed: BTreeMap<Reference, Vec<Logical>> = BTreeMap::new();
    let mut found: BTreeMap<Reference, Vec<Logical>> = BTreeMap::new();
    for extent in all.iter() {
        for record in &extent.references {
            if !matches!(record.reference, Reference::ExtentData { .. }) {
                continue;
            }
            match (record.claimed, record.found) {
                (1.., 0) => claimed.entry(record.reference).or_default().push(extent.extent),
                (0, 1..) => found.entry(record.reference).or_default().push(extent.extent),
                _ => {}
            }
        }
    }
    for (reference, wrong) in found {
        let (Some([right]), [wrong]) = (claimed.get(&reference).map(Vec::as_slice), wrong.as_slice()) else { continue };
        redirect(plan, reference, *wrong, *right);
    }
}

fn redirect(plan: &mut Plan<'_>, reference: Reference, wrong: Logical, right: Logical) {
    let Reference::ExtentData { root: tree, objectid: inode, .. } = reference else { return };
    if !objectid::is_fs_tree(tree) {
        return;
    }
    let Some(extent) = plan.survey.claims.extents.find(right, &mut Cursor::default()) else { return };
    edit_extents(plan, tree, inode, wrong, "it leads to the extent that knows of it", |disk| {
        disk.disk_bytenr = right.0.into();
        disk.disk_num_bytes = extent.length.into();
    });
}

/// Has file extents say the length that the extent item of their extent has.
pub fn mend_length(plan: &mut Plan<'_>, extent: Logical, length: u64, reference: Reference) {
    let Reference::ExtentData { root: tree, objectid: inode, .. } = reference else { return };
    if objectid::is_fs_tree(tree) {
        edit_extents(plan, tree, inode, extent, "it has the length of its extent", |disk| {
            disk.disk_num_bytes = length.into();
        });
    }
}

fn edit_extents(
    plan: &mut Plan<'_>,
    tree: u64,
    inode: u64,
    extent: Logical,
    what: &'static str,
    edit: impl Fn(&mut FileExtentDisk),
) {
    let Some(root) = plan.root(tree) else { return };
    let items = items_of(plan, &root, inode);
    for (key, mut data) in items.into_iter().filter(|(key, _): &(Key, _)| key.key_type == KeyType::EXTENT_DATA) {
        let Some(rest) = data.get_mut(size_of::<FileExtentItem>()..) else { continue };
        let Ok((disk, _)) = FileExtentDisk::mut_from_prefix(rest) else { continue };
        if disk.disk_bytenr.get() != extent.0 {
            continue;
        }
        edit(disk);
        if plan.edits.set(plan.volume, &root, key, Some(data)) {
            plan.fix(Fix::Item { tree, key, what });
        }
    }
}
