//! Totals in the superblock.

use std::fmt;

use serde::Serialize;

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
        /// Devices that exceed together what the superblock can say: no kernel mounts them.
        TotalOverflow("super-total-bytes-overflow", Fatal, "the sizes of the devices together are above all numbers: {sizes}") {
            sizes: Sizes,
        }
        /// The superblock's used bytes are not those of the extents.
        BytesUsed("super-bytes-used", Error, "superblock: invalid bytes_used, have {have} expect {expect}") {
            have: u64, expect: u64,
        }
    }
}

/// The sizes of several devices, in bytes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct Sizes(pub Vec<u64>);

impl fmt::Display for Sizes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sizes: Vec<String> = self.0.iter().map(u64::to_string).collect();
        f.write_str(&sizes.join(" + "))
    }
}
