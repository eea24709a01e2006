//! Problems become a plan: each kind has a fix, or a stated reason why there is none.

mod astray;
mod blocks;
mod chunks;
mod contested;
mod csums;
mod data;
mod devices;
mod entries;
mod extents;
mod file_extents;
mod files;
mod flips;
mod inode_items;
mod items;
mod lost;
mod names;
mod offsets;
mod parents;
mod quotas;
mod root_tree;
mod subvolumes;
mod superblock;

use crate::disk::flags::{compat_ro, header};
use crate::disk::{KeyType, Logical, objectid};
use crate::error::{Error, Result};
use crate::finding::Finding;
use crate::problem::{
    BlockGroupProblem, ChecksumProblem, ChunkProblem, DeviceExtentProblem, DeviceProblem, ExtentProblem, Problem,
    SpaceCacheProblem, StructureProblem,
};
use crate::survey::Survey;
use crate::volume::Volume;

use crate::progress::Progress;

use super::fix::Fix;
use super::options::Force;
use super::plan::{Plan, Space};
use chunks::ChunkDecider;
use csums::Checksums;
use devices::DeviceDecider;
use files::Files;
use items::Decider;
use lost::Otherwise;
use names::Names;

/// What a step begins with that is to be written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begin {
    /// Nothing: the images are as their superblocks say.
    AsIs,
    /// A superblock that was made.
    Superblock,
    /// Roots that were chosen.
    OtherRoot,
}

/// Decides what the next step does about `problems`.
///
/// # Errors
/// A log is pending, which only a mount can replay.
pub fn decide<'p>(
    volume: &'p Volume,
    survey: &'p Survey,
    problems: &[Problem],
    force: &Force,
    begin: Begin,
    (threads, progress): (usize, &Progress),
) -> Result<Plan<'p>> {
    let mut plan = Plan::new(volume, survey);
    match begin {
        Begin::AsIs => {}
        Begin::Superblock => superblock::write(&mut plan),
        Begin::OtherRoot => {
            superblock::write(&mut plan);
            plan.need(Space::All);
        }
    }
    superblock::force(&mut plan, force);
    blocks::mend_copies(&mut plan);
    let is_unread = survey.blocks.unread.iter().any(|unread| unread.tree != objectid::TREE_LOG);
    if is_unread {
        // What is below them is not known before they are back.
        lost::decide(&mut plan, Otherwise::GivenUp, threads, progress)?;
        if plan.changes_trees() {
            return defer_space(plan);
        }
    }
    let flipped = flips::decide(&mut plan, threads);
    let damage = || problems.iter().filter(|problem| problem.is_damage());
    if flipped.is_empty() {
        decide_structure(&mut plan, damage());
    }
    let are_extents_known = plan.space != Space::All && !damage().any(|problem| matches!(problem, Problem::Extent(_)));
    if !plan.changes_trees() && !are_extents_known {
        extents::decide(&mut plan, problems, threads, progress)?;
    }
    if plan.changes_trees() {
        return defer_space(plan);
    }
    let (mut files, mut names, mut csums) = (Files::default(), Names::default(), Checksums::default());
    for problem in damage() {
        match problem {
            Problem::Extent(problem) => decide_extent(&mut plan, problem),
            // The data may be there that the extent tree does not know of.
            Problem::Checksum(ChecksumProblem::WithoutExtent { .. }) if !are_extents_known => {}
            Problem::Checksum(problem) => csums.decide(&mut plan, problem),
            Problem::Data(problem) => data::decide(&mut plan, &mut csums, problem),
            Problem::Subvolume(problem) => subvolumes::decide(&mut plan, &mut names, problem),
            Problem::Quota(problem) => quotas::decide(&mut plan, problem),
            Problem::Name(problem) => names.decide(&mut plan, problem),
            Problem::File(problem) => files.decide(&mut plan, &mut names, &mut csums, problem),
            _ => {}
        }
    }
    csums.settle(&mut plan, force.csum_tree);
    settle(&mut plan);
    refuse_log(plan)
}

/// Decides which copies of blocks are written anew, and nothing else.
pub fn decide_copies<'p>(volume: &'p Volume, survey: &'p Survey) -> Plan<'p> {
    let mut plan = Plan::new(volume, survey);
    blocks::mend_copies(&mut plan);
    plan
}

/// Decides what takes the place of blocks that are lost, or in which a bit has flipped, and nothing else: what is still lost stays
/// so.
///
/// # Errors
/// Work that was stopped, temporary files that cannot be used.
pub fn decide_blocks<'p>(
    volume: &'p Volume,
    survey: &'p Survey,
    is_other_root: bool,
    (threads, progress): (usize, &Progress),
) -> Result<Plan<'p>> {
    let mut plan = Plan::new(volume, survey);
    lost::decide(&mut plan, Otherwise::Stays, threads, progress)?;
    if !plan.changes_trees() {
        flips::decide(&mut plan, threads);
    }
    if is_other_root && plan.changes_trees() {
        superblock::write(&mut plan);
    }
    plan.space = Space::Sound;
    plan.devices = false;
    Ok(plan)
}

/// Superblocks, chunks, devices, blocks and single items: what files, names and extents are told by.
fn decide_structure<'a>(plan: &mut Plan<'_>, problems: impl Iterator<Item = &'a Problem>) {
    let (mut chunks, mut devices, mut items) = (ChunkDecider::default(), DeviceDecider::default(), Decider::default());
    for problem in problems {
        match problem {
            Problem::Superblock(problem) => superblock::decide(plan, problem),
            Problem::SysChunkArray(_) | Problem::Totals(_) => superblock::write(plan),
            Problem::Chunk(problem) => decide_chunk(plan, &mut chunks, problem),
            Problem::Device(problem) => decide_device(plan, &mut devices, problem),
            Problem::DeviceExtent(DeviceExtentProblem::Elsewhere { logical, .. }) => chunks.mend(plan, *logical),
            Problem::DeviceExtent(_) => plan.devices = true,
            Problem::Structure(StructureProblem::TreeMissing { tree, .. }) => decide_missing(plan, *tree),
            Problem::BlockGroup(problem) => decide_group(plan, &mut chunks, problem),
            Problem::FreeSpace(_) if !plan.superblock.has_compat_ro(compat_ro::FREE_SPACE_TREE) => {
                subvolumes::drop_caches(plan);
            }
            Problem::FreeSpace(_) => plan.need(Space::Groups),
            Problem::SpaceCache(SpaceCacheProblem::File { logical, .. } | SpaceCacheProblem::Orphan { logical }) => {
                subvolumes::drop_cache(plan, *logical);
            }
            Problem::Block(problem) => blocks::decide(plan, problem),
            Problem::Item(problem) => match problem.place.key {
                Some(key) if problem.place.tree == objectid::CHUNK_TREE && key.key_type == KeyType::DEV_ITEM => {
                    devices.mend(plan, key.offset);
                }
                Some(key) if problem.place.tree == objectid::CHUNK_TREE && chunks::logical_of(key).is_some() => {
                    chunks.mend(plan, Logical(key.offset));
                }
                _ => items.decide(plan, problem),
            },
            _ => {}
        }
    }
}

/// The trees of space are built once all else is known.
fn defer_space(mut plan: Plan<'_>) -> Result<Plan<'_>> {
    plan.space = Space::Sound;
    plan.devices = false;
    refuse_log(plan)
}

/// A log goes on from the state that it was written for.
fn refuse_log(plan: Plan<'_>) -> Result<Plan<'_>> {
    match !plan.is_empty() && plan.superblock.log_root.get() != 0 {
        true => Err(Error::PendingLog),
        false => Ok(plan),
    }
}

fn decide_chunk(plan: &mut Plan<'_>, chunks: &mut ChunkDecider, problem: &ChunkProblem) {
    use ChunkProblem as P;
    match *problem {
        P::Item { logical, .. }
        | P::Length { logical, .. }
        | P::Missing { logical, .. }
        | P::StripeDevice { logical, .. }
        | P::StripeUuid { logical, .. }
        | P::StripeTwice { logical, .. }
        | P::StripeOverlap { logical, .. }
        | P::StripeUnaligned { logical, .. }
        | P::Uneven { logical, .. }
        | P::Mixed { logical, .. } => chunks.mend(plan, logical),
        P::Overlap { logical, other } => {
            chunks.mend(plan, logical);
            chunks.mend(plan, other);
        }
        P::StripeReserved { .. } | P::NoType { .. } | P::Unavailable { .. } => {}
    }
}

/// Of a block group and a chunk that differ the one is wrong that what lies there does not fit.
fn decide_group(plan: &mut Plan<'_>, chunks: &mut ChunkDecider, problem: &BlockGroupProblem) {
    use BlockGroupProblem as P;
    let of_type = match *problem {
        P::Flags { logical, .. }
        | P::Type { logical, .. }
        | P::Foreign { logical, .. }
        | P::ChunkTree { logical, .. } => chunks::of_other_type(plan, logical),
        _ => None,
    };
    match of_type {
        Some(chunk) => chunks.mend(plan, chunk),
        None => plan.need(Space::Groups),
    }
}

fn decide_device(plan: &mut Plan<'_>, devices: &mut DeviceDecider, problem: &DeviceProblem) {
    use DeviceProblem as P;
    match *problem {
        P::Unknown { devid, .. }
        | P::Item { devid, .. }
        | P::Uuid { devid, .. }
        | P::Fsid { devid, .. }
        | P::Truncated { devid, .. }
        | P::Unaligned { devid, .. }
        | P::Short { devid, .. }
        | P::BytesUsed { devid, .. }
        | P::Overfull { devid, .. } => devices.mend(plan, devid),
        P::Devid { devid, .. } => devices::renumber(plan, devid),
        P::SeedGeneration { devid, .. } => devices::mend_seed_generation(plan, devid),
        P::Missing { .. } | P::SuperItem { .. } | P::Replacing { .. } | P::Stats { .. } => {}
    }
}

fn decide_extent(plan: &mut Plan<'_>, problem: &ExtentProblem) {
    plan.need(Space::All);
    // No relocation makes a block the root of a tree of files (`merge_reloc_root`): the kernel does not look at the flag there, and
    // takes the blocks below for those of the tree.
    if let ExtentProblem::BackrefFlag { extent, tree, header_flags, .. } = *problem
        && header_flags & header::RELOC != 0
        && let Some(root) = plan.root(tree).filter(|root| root.logical == extent)
    {
        blocks::write_anew(plan, tree, extent, root.level);
    }
    // Where the longer one of two lengths reaches into another extent, it is the file that is wrong.
    if let ExtentProblem::Length { extent, have, expect, reference } = *problem
        && have < expect
        && plan
            .survey
            .claims
            .extents
            .range(Logical(extent.0 + 1), Logical(extent.0.saturating_add(expect)))
            .next()
            .is_some()
    {
        extents::mend_length(plan, extent, have, reference);
    }
}

/// A tree without a root item.
fn decide_missing(plan: &mut Plan<'_>, tree: u64) {
    match tree {
        objectid::DEV_TREE => plan.devices = true,
        objectid::EXTENT_TREE | objectid::FREE_SPACE_TREE | objectid::BLOCK_GROUP_TREE => plan.need(Space::All),
        objectid::CSUM_TREE => plan.new_trees.push(tree),
        _ => {}
    }
}

/// What follows from the rest of the plan.
fn settle(plan: &mut Plan<'_>) {
    if plan.changes_trees() || plan.devices {
        plan.need(Space::All);
    }
    if plan.space == Space::All && !plan.superblock.has_compat_ro(compat_ro::FREE_SPACE_TREE) {
        subvolumes::drop_caches(plan);
    }
    match plan.space {
        Space::Sound => {}
        Space::Groups => plan.fix(Fix::FreeSpace {}),
        Space::All => plan.fix(Fix::Space {}),
    }
    if plan.devices {
        plan.fix(Fix::DeviceTree {});
    }
}
