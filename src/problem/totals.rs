//! Totals in the superblock.

use crate::finding::findings;

findings! {
    /// Totals in the superblock.
    TotalsProblem {
        /// The superblock counts another number of devices than there are.
        NumDevices("super-num-devices", Error, "superblock: invalid num_devices, have {have} expect {expect}") {
            have: u64, expect: u64,
        }
        /// The superblock's size of the filesystem is below that of its devices: it cannot be mounted.
        TotalShort("super-total-bytes-short", Fatal, "superblock: total_bytes is too small, have {have} expect {expect}") {
            have: u64, expect: u64,
        }
        /// The superblock's size of the filesystem is above that of its devices.
        TotalLong("super-total-bytes-long", Warning, "superblock: total_bytes is too large, have {have} expect {expect}") {
            have: u64, expect: u64,
        }
        /// The superblock's used bytes are not those of the extents.
        BytesUsed("super-bytes-used", Error, "superblock: invalid bytes_used, have {have} expect {expect}") {
            have: u64, expect: u64,
        }
    }
}
