//! Superblocks: all copies are written anew, and fields that nothing else gives are set to what they always are.

use crate::disk::flags::{incompat, superblock as flags};
use crate::disk::objectid;
use crate::problem::SuperblockProblem;

use super::super::fix::Fix;
use super::super::options::{Force, SpaceCache};
use super::super::plan::{Plan, Space};

/// Has all superblocks written anew. What they count, and the system chunk array, is filled in then.
pub fn write(plan: &mut Plan<'_>) {
    if !plan.is_superblock_due {
        plan.is_superblock_due = true;
        plan.fix(Fix::Superblocks {});
    }
}

/// What is done whether it is damaged or not.
pub fn force(plan: &mut Plan<'_>, force: &Force) {
    if force.clear_log && plan.superblock.log_root.get() != 0 {
        (plan.superblock.log_root, plan.superblock.log_root_level) = (0.into(), 0);
        plan.fix(Fix::Log {});
        write(plan);
    }
    if force.extent_tree || force.clear_space_cache == Some(SpaceCache::V2) {
        plan.need(Space::All);
    }
    if force.uuid_tree {
        set(plan, "uuid_tree_generation", 0);
    }
    if force.clear_space_cache == Some(SpaceCache::V1) {
        set(plan, "cache_generation", 0);
    }
}

/// A problem of superblocks.
pub fn decide(plan: &mut Plan<'_>, problem: &SuperblockProblem) {
    use SuperblockProblem as P;
    match problem {
        P::Unreadable { .. }
        | P::Absent { .. }
        | P::Magic { .. }
        | P::Csum { .. }
        | P::Bytenr { .. }
        | P::Stale { .. }
        | P::Mirror { .. }
        | P::Device { .. }
        | P::DeviceFsid { .. }
        | P::ChunkGeneration { .. } => write(plan),
        P::Field { field, .. } => mend_field(plan, field),
        P::ErrorFlag {} => {
            let value = plan.superblock.flags.get() & !flags::ERROR;
            set(plan, "flags", value);
        }
        P::Feature { feature, .. } => {
            let bit = incompat::NAMES.iter().find(|(_, name)| name == feature).map(|(bit, _)| *bit);
            if let Some(bit) = bit {
                let value = plan.superblock.incompat_flags.get() | bit;
                set(plan, "incompat_flags", value);
            }
        }
        _ => {}
    }
}

/// Sets a field, if the plan does not do so already.
pub fn set_once(plan: &mut Plan<'_>, field: &'static str, value: u64) {
    let fix = Fix::SuperblockField { field, value };
    if !plan.fixes.contains(&fix) {
        set(plan, field, value);
    }
}

fn mend_field(plan: &mut Plan<'_>, field: &'static str) {
    let value = match field {
        "leafsize" => plan.superblock.nodesize.get().into(),
        "root_dir_objectid" => objectid::ROOT_TREE_DIR,
        "stripesize" => plan.superblock.sectorsize.get().into(),
        "log_root_level" if plan.superblock.log_root.get() == 0 => 0,
        "cache_generation" => 0,
        "uuid_tree_generation" => 0,
        "label" => {
            let last = plan.superblock.label.len() - 1;
            plan.superblock.label[last] = 0;
            0
        }
        // Roots and the system chunk array are filled in.
        _ => return write(plan),
    };
    set(plan, field, value);
}

fn set(plan: &mut Plan<'_>, field: &'static str, value: u64) {
    let superblock = &mut plan.superblock;
    match field {
        "leafsize" => superblock.__unused_leafsize = (value as u32).into(),
        "root_dir_objectid" => superblock.root_dir_objectid = value.into(),
        "stripesize" => superblock.stripesize = (value as u32).into(),
        "log_root_level" => superblock.log_root_level = value as u8,
        "cache_generation" => superblock.cache_generation = value.into(),
        "uuid_tree_generation" => superblock.uuid_tree_generation = value.into(),
        "flags" => superblock.flags = value.into(),
        "incompat_flags" => superblock.incompat_flags = value.into(),
        _ => {}
    }
    plan.fix(Fix::SuperblockField { field, value });
    write(plan);
}
