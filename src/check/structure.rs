//! The structure below the trees of files: superblocks, chunks, devices, block groups, free space, totals, log trees.

use crate::disk::objectid;
use crate::problem::StructureProblem;
use crate::survey::{Structure, Survey};
use crate::volume::Volume;

use super::block_groups::BlockGroups;
use super::chunks::Chunks;
use super::device_extents::DeviceExtents;
use super::devices::Devices;
use super::findings::Findings;
use super::free_space::{self, Space};
use super::{
    backup_roots, block_groups, chunk_checks, device_checks, log_trees, space_cache, superblocks, sys_chunk_array,
    system_space, totals, zoned,
};

/// Checks superblocks, chunks, devices, block groups and free space against each other and the extents. What stands in blocks
/// that cannot be read is taken for unknown.
pub fn check(volume: &Volume, survey: &Survey, findings: &Findings) {
    superblocks::check(volume, findings);
    backup_roots::check(volume.stored_superblock(), findings);
    let Some(structure) = &survey.structure else { return };
    for tree in structure.missing.iter().copied() {
        let name = objectid::name(tree).unwrap_or_default();
        findings.report(StructureProblem::TreeMissing { tree, name });
    }
    let Structure { chunk_tree, root_tree, extent_tree, .. } = structure;
    let extents = &survey.claims.extents;
    let devices = Devices::read(volume, chunk_tree, findings);
    let mut chunks = Chunks::read(volume, chunk_tree, findings);
    sys_chunk_array::check(volume, &mut chunks, findings);
    let groups = BlockGroups::read(volume, extent_tree, &structure.block_group_tree, findings);
    let mut device_extents = DeviceExtents::read(&structure.device_tree, findings);
    block_groups::separate(&mut chunks, &groups, findings);
    device_extents.correct(&mut chunks, &groups, findings);
    let misplaced = device_extents.check(&chunks, &devices, findings);
    chunk_checks::check(volume, &chunks, &devices, &misplaced, findings);
    device_checks::check(volume, &devices, &chunks, &device_extents, findings);
    block_groups::check(volume, &chunks, &groups, extent_tree, extents, findings);
    block_groups::check_chunk_tree(volume, &structure.chunk_tree_blocks, &chunks, &groups, extents, findings);
    system_space::check(volume, &chunks, &groups, &devices, findings);
    zoned::check(volume, &device_extents, findings);
    let space = Space { chunks: &chunks, groups: &groups, extent_tree, extents };
    free_space::check(volume, &structure.free_space_tree, &space, findings);
    space_cache::check(volume, root_tree, &space, findings);
    totals::check(volume, &devices, &groups, extent_tree, extents, findings);
    log_trees::check(volume, survey.log_root.as_ref(), &survey.logs, &space, &survey.csums, findings);
}
