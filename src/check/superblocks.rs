//! The superblocks of each device, their mirrors, and what they say of the filesystem.

use std::fmt;

use zerocopy::IntoBytes;

use crate::disk::flags::{FlagNames, compat_ro, incompat, superblock as flags};
use crate::disk::superblock::{MAGIC, SUPER_INFO_SIZE, SUPER_OFFSETS};
use crate::disk::{Logical, Physical, Profile, Superblock, Transid, objectid};
use crate::finding::findings;
use crate::tree::stale_devices;
use crate::volume::{Device, Missed, StaleDevice, SuperblockCopy, Volume};

use super::findings::Findings;
use super::superblock_fields::differing;

findings! {
    /// Superblocks.
    SuperblockProblem {
        /// A superblock cannot be read from its device.
        Unreadable("super-unreadable", Fatal, "device {devid}, superblock at {offset}: {problem}") {
            devid: u64, offset: Physical, problem: String,
        }
        /// There is no superblock where one should be.
        Magic("super-magic", Fatal, "device {devid}, superblock at {offset}: invalid magic {have:#x}") {
            devid: u64, offset: Physical, have: u64,
        }
        /// A mirror of the superblock was never written, as in images that were restored from metadata dumps.
        Absent("super-mirror-absent", Note, "device {devid}: there is no superblock at {offset}") {
            devid: u64, offset: Physical,
        }
        /// A superblock's checksum is wrong.
        Csum("super-csum", Fatal, "device {devid}, superblock at {offset}: checksum mismatch") {
            devid: u64, offset: Physical,
        }
        /// A superblock names another place than its own.
        Bytenr("super-bytenr", Fatal, "device {devid}, superblock at {offset}: invalid bytenr {have}") {
            devid: u64, offset: Physical, have: u64,
        }
        /// A superblock is one generation behind another one of its device, as a crash leaves it. The next commit writes it.
        Behind(
            "super-behind", Note,
            "device {devid}, superblock at {offset}: generation is {have}, another has {expect}: a crash between two \
            superblock writes leaves that, and nothing is lost"
        ) {
            devid: u64, offset: Physical, have: Transid, expect: Transid,
        }
        /// A superblock is older than another one of its device by more than one generation.
        Stale(
            "super-stale", Error,
            "device {devid}, superblock at {offset}: stale, generation is {have}, another has {expect}"
        ) {
            devid: u64, offset: Physical, have: Transid, expect: Transid,
        }
        /// Two superblocks of a device that are of one generation differ.
        Mirror("super-mirror", Error, "device {devid}, superblock at {offset}: {field} differs from the others") {
            devid: u64, offset: Physical, field: &'static str,
        }
        /// The superblock of a device is behind those of others, but all that was written since is on the device.
        DeviceBehind(
            "device-behind", Note,
            "device {devid}: every block of the device is there, only its superblock is {behind} behind, generation is \
            {have}, that of others {expect}: a crash between two superblock writes leaves that, and nothing is lost"
        ) {
            devid: u64, have: Transid, expect: Transid, behind: Generations,
        }
        /// A device was left behind: it misses blocks or data that were written after its superblock.
        StaleDevice(
            "device-stale", Fatal,
            "device {devid} is stale and misses blocks: its superblock is of generation {have}, that of others {expect}, \
            and the first of what it misses is {what} {logical}: {problem}"
        ) {
            devid: u64, have: Transid, expect: Transid, what: &'static str, logical: Logical, problem: String,
        }
        /// The superblock of a device points to another log than those of others, or to none, as a crash leaves it.
        LogBehind(
            "super-log-behind", Note,
            "device {devid}: log_root in the superblock is {have}, that of others {expect}: a crash between two superblock \
            writes leaves that, and what the log was to save was not reported as saved"
        ) {
            devid: u64, have: Logical, expect: Logical,
        }
        /// The superblocks of two devices that are of one generation differ.
        Device("super-device", Fatal, "device {devid}: {field} in the superblock differs from that of others") {
            devid: u64, field: &'static str,
        }
        /// A field of the superblock has a value that is impossible.
        Field("super-field", Fatal, "superblock: invalid {field}, have {have} expect {expect}") {
            field: &'static str, have: u64, expect: String,
        }
        /// A bit of the superblock's flags is not known.
        UnknownFlags("super-flags", Fatal, "superblock: unknown bits {have:#x} in {field}") {
            field: &'static str, have: u64,
        }
        /// A feature is on that this program does not know and that does not keep it from reading.
        UnknownReadOnly("super-compat-ro", Warning, "superblock: unknown bits {have:#x} in compat_ro_flags") {
            have: u64,
        }
        /// A conversion of the whole filesystem was interrupted.
        Conversion("super-conversion", Fatal, "superblock: {flag} is set, a conversion was interrupted") {
            flag: &'static str,
        }
        /// The kernel met an error and noted it.
        ErrorFlag("super-error-flag", Warning, "superblock: the kernel noted that it had met an error") {}
        /// A feature is in use without another one that it needs, or without its bit.
        Feature("super-feature", Error, "superblock: {user} needs feature {feature}, which is not set") {
            user: String, feature: &'static str,
        }
        /// The chunk tree is newer than the filesystem.
        ChunkGeneration(
            "super-chunk-generation", Error, "superblock: chunk_root_generation {have} is above generation {expect}"
        ) {
            have: Transid, expect: Transid,
        }
        /// A superblock's device item has another fsid than the filesystem.
        DeviceFsid("super-dev-fsid", Fatal, "device {devid}: fsid of the device differs from that of the filesystem") {
            devid: u64,
        }
        /// Writes that were to survive a crash wait to be replayed by the next mount.
        LogTree("log-tree", Note, "there is a log tree at {log_root}, which the next mount will replay") {
            log_root: Logical,
        }
    }
}

/// A number of generations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(transparent)]
pub struct Generations(pub u64);

impl fmt::Display for Generations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            1 => f.write_str("one generation"),
            count => write!(f, "{count} generations"),
        }
    }
}

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
            // A log is written to the primary superblock only, or to all.
            let logged = |name: &&str| !name.starts_with("log_root") || superblock.log_root.get() != 0;
            for field in differing(&superblock, reference).into_iter().filter(logged) {
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
    let field = |field, have, expect| findings.report(SuperblockProblem::Field { field, have, expect });
    let nodesize = superblock.nodesize.get();
    if superblock.__unused_leafsize.get() != nodesize {
        field("leafsize", superblock.__unused_leafsize.get().into(), nodesize.to_string());
    }
    let root_dir = superblock.root_dir_objectid.get();
    if root_dir != objectid::ROOT_TREE_DIR {
        field("root_dir_objectid", root_dir, objectid::ROOT_TREE_DIR.to_string());
    }
    if !superblock.stripesize.get().is_power_of_two() {
        field("stripesize", superblock.stripesize.get().into(), "a power of two".to_owned());
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
    let need = |user: &str, feature: &'static str, set: bool| {
        if !set {
            findings.report(SuperblockProblem::Feature { user: user.to_owned(), feature });
        }
    };
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
