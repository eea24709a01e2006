//! The structure below the trees of files: superblocks, chunks, devices, block groups, free space, totals.

use crate::disk::flags::{compat_ro, incompat};
use crate::disk::root::RootItem;
use crate::disk::{Key, KeyType, objectid};
use crate::finding::findings;
use crate::tree::{Levels, TreeRoot, Walk};
use crate::volume::Volume;

use super::block_groups::BlockGroups;
use super::checksums::Checksums;
use super::chunks::Chunks;
use super::device_extents::DeviceExtents;
use super::devices::Devices;
use super::extent_list::ExtentList;
use super::findings::Findings;
use super::free_space::{self, Space};
use super::items::Items;
use super::{
    backup_roots, block_groups, chunks, devices, log_trees, space_cache, superblocks, system_array, system_space,
    totals, zoned,
};

findings! {
    /// Trees that must be there.
    StructureProblem {
        /// A tree has no root item.
        TreeMissing("tree-missing", Fatal, "tree {tree} ({name}) is missing") { tree: u64, name: &'static str }
    }
}

/// Checks superblocks, chunks, devices, block groups and free space against each other and the extents. Blocks that
/// cannot be read are not reported; what stands in them is taken for unknown. Returns the data that log trees add, start and
/// end of each extent.
pub fn check_structure(
    volume: &Volume,
    extents: &ExtentList,
    checksums: &Checksums,
    findings: &Findings,
) -> Vec<(u64, u64)> {
    superblocks::check(volume, findings);
    let superblock = volume.superblock();
    backup_roots::check(volume.stored_superblock(), findings);
    // Their block groups and extents are laid out in another way.
    if superblock.has_incompat(incompat::EXTENT_TREE_V2 | incompat::REMAP_TREE) {
        return Vec::new();
    }
    let chunk_root = TreeRoot::chunk_tree(volume);
    let chunk_tree = Items::of_tree(volume, &chunk_root, |_| true);
    let root_tree = Items::of_tree(volume, &TreeRoot::root_tree(volume), |key| {
        key.key_type == KeyType::ROOT_ITEM || space_cache::is_part(key)
    });
    let is_block_group = |key: Key| key.key_type == KeyType::BLOCK_GROUP_ITEM;
    let tree = |tree, wanted: &dyn Fn(Key) -> bool| read_tree(volume, &root_tree, tree, wanted, findings);
    let optional = |feature, id, wanted: &dyn Fn(Key) -> bool| match superblock.has_compat_ro(feature) {
        true => tree(id, wanted),
        false => Items::default(),
    };
    let device_tree = tree(objectid::DEV_TREE, &|_| true);
    let extent_tree = tree(objectid::EXTENT_TREE, &is_block_group);
    let block_group_tree = optional(compat_ro::BLOCK_GROUP_TREE, objectid::BLOCK_GROUP_TREE, &is_block_group);
    let free_space_tree = optional(compat_ro::FREE_SPACE_TREE_VALID, objectid::FREE_SPACE_TREE, &|_| true);

    let devices = Devices::read(volume, &chunk_tree, findings);
    let mut chunks = Chunks::read(volume, &chunk_tree, findings);
    system_array::check(volume, &mut chunks, findings);
    let groups = BlockGroups::read(volume, &extent_tree, &block_group_tree, findings);
    let mut device_extents = DeviceExtents::read(&device_tree, findings);
    chunks.separate(&groups, findings);
    device_extents.correct(&mut chunks, &groups, findings);
    let misplaced = device_extents.check(&chunks, &devices, findings);
    chunks::check(volume, &chunks, &devices, &misplaced, findings);
    devices::check(volume, &devices, &chunks, &device_extents, findings);
    block_groups::check(volume, &chunks, &groups, &extent_tree, extents, findings);
    let chunk_tree_blocks = Walk::new(volume, chunk_root.expected(), Levels::All).map(|block| block.logical);
    block_groups::check_chunk_tree(volume, chunk_tree_blocks, &chunks, &groups, extents, findings);
    system_space::check(volume, &chunks, &groups, &devices, findings);
    zoned::check(volume, &device_extents, findings);
    let space = Space { chunks: &chunks, groups: &groups, extent_tree: &extent_tree, extents };
    free_space::check(volume, &free_space_tree, &space, findings);
    space_cache::check(volume, &root_tree, &space, findings);
    totals::check(volume, &devices, &groups, &extent_tree, extents, findings);
    log_trees::check(volume, &space, checksums, findings)
}

/// The wanted items of a tree that must exist. One that is missing is as one that cannot be read.
fn read_tree(
    volume: &Volume,
    root_tree: &Items,
    tree: u64,
    wanted: &dyn Fn(Key) -> bool,
    findings: &Findings,
) -> Items {
    let key = Key::new(tree, KeyType::ROOT_ITEM, 0);
    match root_tree.get(key).and_then(RootItem::read) {
        Some(item) => Items::of_tree(volume, &TreeRoot::of_item(key, &item), wanted),
        None => {
            if root_tree.lacks(key) {
                let name = objectid::name(tree).unwrap_or_default();
                findings.report(StructureProblem::TreeMissing { tree, name });
            }
            Items::unread()
        }
    }
}
