//! The superblocks of each device, their mirrors, and what they say of the filesystem.

use zerocopy::IntoBytes;

use crate::disk::flags::{FlagNames, compat_ro, incompat, superblock as flags};
use crate::disk::superblock::{MAGIC, SUPER_INFO_SIZE, SUPER_OFFSETS};
use crate::disk::{MAX_LEVEL, Physical, Profile, Superblock, Transid, objectid};
use crate::problem::{Expect, Generations, SuperblockProblem};
use crate::survey::NOT_UNDERSTOOD;
use crate::tree::stale_devices;
use crate::volume::sys_chunk_array::entry_size;
use crate::volume::{Device, Missed, StaleDevice, SuperblockCopy, Volume};

use super::findings::Findings;
use super::superblock_fields::differing;

/// What mkfs.btrfs wrote whatever the size of sectors.
const STRIPESIZE: u32 = 4096;

pub fn check(volume: &Volume, findings: &Findings) {
    check_devices_behind(volume, findings);
    check_alone(volume, findings);
}

/// What superblocks say without any block of a tree.
pub fn check_alone(volume: &Volume, findings: &Findings) {
    for device in volume.devices() {
        check_copies(device, findings);
        check_device(volume, device, findings);
    }
    check_fields(volume.stored_superblock(), findings);
    check_features(volume, findings);
}

/// All copies on one device against the one that it is known by.
fn check_copies(device: &Device, findings: &Findings) {
    let devid = device.devid();
    let reference = device.superblock();
    let mut newest = reference.generation();
    for (mirror, offset) in SUPER_OFFSETS.into_iter().enumerate() {
        let end = offset.checked_add(SUPER_INFO_SIZE as u64).map_or(u64::MAX, |end| end.0);
        if mirror > 0 && (end > device.image().size() || end > device.total_bytes()) {
            break;
        }
        let superblock = match SuperblockCopy::read(device.image(), offset) {
            Ok(copy) => copy.superblock,
            Err(error) => {
                let problem = error.to_string();
                findings.report(SuperblockProblem::Unreadable { devid, offset, problem });
                continue;
            }
        };
        if mirror > 0 && superblock.as_bytes().iter().all(|byte| *byte == 0) {
            findings.report(SuperblockProblem::Absent { devid, offset });
        } else if superblock.magic.get() != MAGIC {
            findings.report(SuperblockProblem::Magic { devid, offset, have: superblock.magic.get() });
        } else if !superblock.is_intact() {
            findings.report(SuperblockProblem::Csum { devid, offset });
        } else if superblock.bytenr.get() != offset.0 {
            findings.report(SuperblockProblem::Bytenr { devid, offset, have: superblock.bytenr.get() });
        } else if superblock.generation() < reference.generation() {
            findings.report(behind(devid, offset, superblock.generation(), reference.generation()));
        } else if superblock.generation() > reference.generation() {
            newest = newest.max(superblock.generation());
        } else {
            // An fsync writes its log to the primary superblock alone (`btrfs_sync_log`).
            if superblock.log_root != reference.log_root && superblock.log_root.get() != 0 {
                let (have, expect) = (superblock.log_root.into(), reference.log_root.into());
                findings.report(SuperblockProblem::MirrorLog { devid, offset, have, expect });
            }
            let comparable = |name: &&str| !name.starts_with("log_root");
            for field in differing(&superblock, reference).into_iter().filter(comparable) {
                findings.report(SuperblockProblem::Mirror { devid, offset, field });
            }
        }
    }
    if newest > reference.generation() {
        let (offset, have) = (device.superblock_offset(), reference.generation());
        findings.report(behind(devid, offset, have, newest));
    }
}

fn behind(devid: u64, offset: Physical, have: Transid, expect: Transid) -> SuperblockProblem {
    match expect.0.saturating_sub(have.0) {
        0 | 1 => SuperblockProblem::Behind { devid, offset, have, expect },
        _ => SuperblockProblem::Stale { devid, offset, have, expect },
    }
}

/// Devices whose superblock is older than the newest: their blocks tell whether anything is lost.
fn check_devices_behind(volume: &Volume, findings: &Findings) {
    let expect = volume.stored_superblock().generation();
    let stale = stale_devices(volume);
    for device in volume.devices_behind() {
        let (devid, have) = (device.devid(), device.superblock().generation());
        let is_this = |stale: &&StaleDevice| stale.uuid == device.uuid();
        findings.report(match stale.iter().find(is_this).map(|stale| stale.missed.clone()) {
            Some(Missed { what, logical, problem }) => {
                SuperblockProblem::StaleDevice { devid, have, expect, what, logical, problem }
            }
            None => {
                let behind = Generations(expect.0.saturating_sub(have.0));
                SuperblockProblem::DeviceBehind { devid, have, expect, behind }
            }
        });
    }
}

/// A device against the filesystem.
fn check_device(volume: &Volume, device: &Device, findings: &Findings) {
    let devid = device.devid();
    let (superblock, reference) = (device.superblock(), volume.stored_superblock());
    // A change of the fsid that was cut is all that is to say.
    let is_changing = superblock.has_flag(flags::CHANGING_FSID);
    if !is_changing && superblock.dev_item.fsid != superblock.metadata_fsid() {
        findings.report(SuperblockProblem::DeviceFsid { devid });
    }
    if device.fsid() != reference.fsid {
        return;
    }
    if superblock.generation() != reference.generation() {
        return;
    }
    // The log may be missing from a mirror that stands in for the primary superblock.
    let from_primary = device.superblock_offset() == SUPER_OFFSETS[0];
    if from_primary && superblock.log_root != reference.log_root {
        let (have, expect) = (superblock.log_root.into(), reference.log_root.into());
        findings.report(SuperblockProblem::LogBehind { devid, have, expect });
    }
    let comparable = |name: &&str| *name != "dev_item" && !name.starts_with("log_root");
    for field in differing(superblock, reference).into_iter().filter(comparable) {
        findings.report(SuperblockProblem::Device { devid, field });
    }
}

fn unknown_bits(have: u64, names: FlagNames) -> u64 {
    names.iter().fold(have, |rest, (bit, _)| rest & !bit)
}

fn check_fields(superblock: &Superblock, findings: &Findings) {
    let field = |field, have, expect: Expect| findings.report(SuperblockProblem::Field { field, have, expect });
    let nodesize = superblock.nodesize.get();
    if superblock.__unused_leafsize.get() != nodesize {
        field("leafsize", superblock.__unused_leafsize.get().into(), u64::from(nodesize).into());
    }
    let root_dir = superblock.root_dir_objectid.get();
    if root_dir != objectid::ROOT_TREE_DIR {
        field("root_dir_objectid", root_dir, objectid::ROOT_TREE_DIR.into());
    }
    // The kernel wants a power of two (`btrfs_validate_super`); of these btrfs-progs takes the two that were ever written.
    if ![STRIPESIZE, superblock.sectorsize.get()].contains(&superblock.stripesize.get()) {
        field("stripesize", superblock.stripesize.get().into(), Expect::Rule("4096, or the sectorsize"));
    }
    for (name, level) in [
        ("root_level", superblock.root_level),
        ("chunk_root_level", superblock.chunk_root_level),
        ("log_root_level", superblock.log_root_level),
    ] {
        if usize::from(level) >= MAX_LEVEL {
            field(name, level.into(), Expect::Rule("less than 8"));
        }
    }
    let sectorsize = superblock.sectorsize.get();
    for (name, root) in
        [("root", superblock.root()), ("chunk_root", superblock.chunk_root()), ("log_root", superblock.log_root.into())]
    {
        if !root.is_aligned(sectorsize) {
            field(name, root.0, Expect::MultipleOf(sectorsize.into()));
        }
    }
    let have = u64::from(superblock.sys_chunk_array_size.get());
    // Less than a chunk of one stripe takes.
    if have < entry_size(1) as u64 {
        field("sys_chunk_array_size", have, Expect::Rule("room for a chunk"));
    }
    let (have, generation) = (superblock.cache_generation.get(), superblock.generation.get());
    if have > generation && have != u64::MAX {
        field("cache_generation", have, Expect::Rule("no more than the generation, or -1"));
    }
    let have = superblock.uuid_tree_generation.get();
    if have > generation {
        field("uuid_tree_generation", have, Expect::Rule("no more than the generation"));
    }
    if !superblock.label.contains(&0) {
        field("label", superblock.label.len() as u64, Expect::Rule("less than 256 bytes"));
    }
    check_reserved(superblock, findings);
    for (field, have, names) in [
        ("flags", superblock.flags.get(), flags::NAMES),
        ("incompat_flags", superblock.incompat_flags.get(), incompat::NAMES),
    ] {
        let have = unknown_bits(have, names);
        if have != 0 {
            findings.report(SuperblockProblem::UnknownFlags { field, have });
        }
    }
    let have = unknown_bits(superblock.compat_ro_flags.get(), compat_ro::NAMES);
    if have != 0 {
        findings.report(SuperblockProblem::UnknownReadOnly { have });
    }
    for (bit, flag) in flags::NAMES.iter().filter(|(_, name)| name.starts_with("CHANGING_")) {
        if superblock.flags.get() & bit != 0 {
            findings.report(SuperblockProblem::Conversion { flag });
        }
    }
    if superblock.flags.get() & flags::ERROR != 0 {
        findings.report(SuperblockProblem::ErrorFlag {});
    }
    let (have, expect) = (superblock.chunk_root_generation.into(), superblock.generation());
    if have > expect {
        findings.report(SuperblockProblem::ChunkGeneration { have, expect });
    }
    if superblock.log_root.get() != 0 {
        findings.report(SuperblockProblem::LogTree { log_root: superblock.log_root.into() });
    }
}

/// What is zero in every filesystem: later kernels may know better.
fn check_reserved(superblock: &Superblock, findings: &Findings) {
    let has_remap_tree = superblock.has_incompat(incompat::REMAP_TREE);
    let of_remap_tree =
        [superblock.remap_root.get(), superblock.remap_root_generation.get(), superblock.remap_root_level.into()];
    for (field, is_set) in [
        ("compat_flags", superblock.compat_flags.get() != 0),
        ("reserved", superblock.reserved.iter().any(|byte| *byte != 0)),
        ("remap_root", !has_remap_tree && of_remap_tree != [0; 3]),
        ("padding", superblock.padding.iter().any(|byte| *byte != 0)),
        ("log_root_transid", superblock.__unused_log_root_transid.get() != 0),
    ] {
        if is_set {
            findings.report(SuperblockProblem::Reserved { field });
        }
    }
}

fn check_features(volume: &Volume, findings: &Findings) {
    let superblock = volume.superblock();
    let need = |user: &'static str, feature: &'static str, set: bool| {
        if !set {
            findings.report(SuperblockProblem::Feature { user, feature });
        }
    };
    for (bit, feature) in incompat::NAMES.iter().filter(|(bit, _)| NOT_UNDERSTOOD & bit != 0) {
        if superblock.has_incompat(*bit) {
            findings.report(SuperblockProblem::NotUnderstood { feature });
        }
    }
    for profile in Profile::ALL {
        if let Some(bit) = profile.feature()
            && volume.chunks().iter().any(|chunk| chunk.profile == profile)
        {
            let name = incompat::NAMES.iter().find(|(flag, _)| *flag == bit).map_or("", |(_, name)| *name);
            need(profile.name(), name, superblock.has_incompat(bit));
        }
    }
    if superblock.has_compat_ro(compat_ro::BLOCK_GROUP_TREE) {
        let valid = superblock.has_compat_ro(compat_ro::FREE_SPACE_TREE_VALID);
        need("BLOCK_GROUP_TREE", "FREE_SPACE_TREE_VALID", valid);
        need("BLOCK_GROUP_TREE", "NO_HOLES", superblock.has_incompat(incompat::NO_HOLES));
    }
    if superblock.has_compat_ro(compat_ro::FREE_SPACE_TREE_VALID) {
        need("FREE_SPACE_TREE_VALID", "FREE_SPACE_TREE", superblock.has_compat_ro(compat_ro::FREE_SPACE_TREE));
    }
}
