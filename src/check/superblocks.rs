//! The superblocks of each device, their mirrors, and what they say of the filesystem.

use zerocopy::IntoBytes;

use crate::disk::flags::{FlagNames, compat_ro, incompat, superblock as flags};
use crate::disk::superblock::{MAGIC, SUPER_INFO_SIZE, SUPER_OFFSETS};
use crate::disk::{Physical, Profile, Superblock, Transid, objectid};
use crate::problem::{Expect, Generations, SuperblockProblem};
use crate::survey::NOT_UNDERSTOOD;
use crate::tree::stale_devices;
use crate::volume::{Device, Missed, StaleDevice, SuperblockCopy, Volume};

use super::findings::Findings;
use super::superblock_fields::differing;

pub fn check(volume: &Volume, findings: &Findings) {
    check_devices_behind(volume, findings);
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
    if superblock.dev_item.fsid != superblock.metadata_fsid() {
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
    if !superblock.stripesize.get().is_power_of_two() {
        field("stripesize", superblock.stripesize.get().into(), Expect::Rule("a power of two"));
    }
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
