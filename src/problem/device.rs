//! Device items, devices, and the errors that are counted for them.

use crate::disk::Transid;
use crate::disk::fields::Uuid;
use crate::finding::findings;

findings! {
    /// Device items, devices, and errors counted on them.
    DeviceProblem {
        /// A device is missing.
        Missing("device-missing", Note, "device {devid} ({uuid}) is missing") { devid: u64, uuid: Uuid }
        /// A device that was given does not belong to the filesystem.
        Unknown("device-unknown", Error, "device {devid} ({uuid}) has no device item") { devid: u64, uuid: Uuid }
        /// A device item has a value that is impossible.
        Item("device-item", Error, "device {devid}: invalid {field} in the device item, have {have} expect {expect}") {
            devid: u64, field: &'static str, have: u64, expect: u64,
        }
        /// A device item names another uuid than its device has.
        Uuid("device-uuid", Error, "device {devid}: invalid uuid in the device item, have {have} expect {expect}") {
            devid: u64, have: Uuid, expect: Uuid,
        }
        /// A device item names another fsid than its device has.
        Fsid("device-fsid", Error, "device {devid}: invalid fsid in the device item, have {have} expect {expect}") {
            devid: u64, have: Uuid, expect: Uuid,
        }
        /// A device is smaller than its device item says.
        Truncated("device-truncated", Error, "device {devid}: has {have} bytes, the device item says {expect}") {
            devid: u64, have: u64, expect: u64,
        }
        /// A device's size is not a number of sectors.
        Unaligned("device-size-unaligned", Error, "device {devid}: total_bytes {have} is not aligned to {sectorsize}") {
            devid: u64, have: u64, sectorsize: u32,
        }
        /// A chunk reaches past the end of a device.
        Short("device-size-short", Error, "device {devid}: total_bytes is {have}, chunks reach {expect}") {
            devid: u64, have: u64, expect: u64,
        }
        /// The used bytes of a device are not those of its chunks.
        BytesUsed("device-bytes-used", Error, "device {devid}: invalid bytes_used, have {have} expect {expect}") {
            devid: u64, have: u64, expect: u64,
        }
        /// More bytes of a device are in use than it has.
        Overfull("device-overfull", Error, "device {devid}: bytes_used {have} is above total_bytes {expect}") {
            devid: u64, have: u64, expect: u64,
        }
        /// The superblock's copy of a device item differs from the chunk tree's, which counts: the next commit writes it anew.
        SuperItem("super-dev-item", Note, "device {devid}: {field} in the superblock is {have}, in the tree {expect}") {
            devid: u64, field: &'static str, have: u64, expect: u64,
        }
        /// A seed was written after other devices were added to it.
        SeedGeneration("seed-generation", Error, "seed device {devid}: generation is {have}, expect {expect}") {
            devid: u64, have: Transid, expect: Transid,
        }
        /// Errors are counted for a device that was removed.
        Stats("device-stats-orphan", Note, "errors are counted for device {devid}, which does not exist") { devid: u64 }
    }
}
