//! Superblocks: copies of one device, those of several devices, and their fields.

use std::fmt;

use crate::disk::{Logical, Physical, Transid};
use crate::finding::findings;

use super::value::Expect;

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
        /// A mirror of the superblock points to another log than the primary one, as a crash leaves it.
        MirrorLog(
            "super-mirror-log", Note,
            "device {devid}, superblock at {offset}: log_root is {have}, in the primary one {expect}: a crash between two \
            superblock writes leaves that"
        ) {
            devid: u64, offset: Physical, have: Logical, expect: Logical,
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
            field: &'static str, have: u64, expect: Expect,
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
            user: &'static str, feature: &'static str,
        }
        /// A feature changes how extents are noted or where data lies, in a way that is not understood.
        NotUnderstood(
            "super-not-understood", Note,
            "superblock: {feature} is not understood: extents, block groups, chunks and free space are not checked"
        ) {
            feature: &'static str,
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
