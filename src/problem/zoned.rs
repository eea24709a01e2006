//! Zones.

use crate::disk::Physical;
use crate::finding::findings;

findings! {
    /// Zones.
    ZonedProblem {
        /// Features exclude each other.
        Mixed("zoned-mixed", Fatal, "superblock: mixed block groups cannot be in zones") {}
        /// The first device extent, from which the size of zones is known, is as long as no zone is.
        ZoneSize("zoned-zone-size", Fatal, "device extent {devid} at {offset}: no zone has {length} bytes") {
            devid: u64, offset: Physical, length: u64,
        }
        /// A device extent is not made of whole zones.
        Unaligned(
            "zoned-extent-unaligned", Error,
            "device extent {devid} at {offset} of {length} bytes is not aligned to zones of {zone_size} bytes"
        ) {
            devid: u64, offset: Physical, length: u64, zone_size: u64,
        }
        /// A device extent lies where superblocks are written, one after the other where zones are sequential.
        OverSuperblock(
            "zoned-extent-over-superblock", Error,
            "device extent {devid} at {offset} of {length} bytes lies over the superblocks at {superblock}"
        ) {
            devid: u64, offset: Physical, length: u64, superblock: Physical,
        }
    }
}
