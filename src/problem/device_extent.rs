//! Device extents.

use crate::disk::{Logical, Physical};
use crate::finding::findings;

findings! {
    /// Device extents.
    DeviceExtentProblem {
        /// A device extent has a value that is impossible.
        Item(
            "device-extent-item", Error,
            "device extent {devid} at {offset}: invalid {field}, have {have} expect {expect}"
        ) {
            devid: u64, offset: Physical, field: &'static str, have: u64, expect: u64,
        }
        /// A device extent belongs to no stripe of a chunk.
        Orphan(
            "device-extent-orphan", Error,
            "device extent {devid} at {offset} of {length} bytes: chunk {chunk} has no such stripe"
        ) {
            devid: u64, offset: Physical, length: u64, chunk: Logical,
        }
        /// A device extent has another length than its stripe.
        Length("device-extent-length", Error, "device extent {devid} at {offset}: invalid length, have {have} expect {expect}") {
            devid: u64, offset: Physical, have: u64, expect: u64,
        }
        /// A device extent names another chunk than the one whose stripe lies there.
        Chunk("device-extent-chunk", Error, "device extent {devid} at {offset}: invalid chunk, have {have} expect {expect}") {
            devid: u64, offset: Physical, have: Logical, expect: Logical,
        }
        /// A stripe has no device extent: its space seems to be free.
        Missing(
            "device-extent-missing", Error,
            "chunk {logical} stripe {stripe}: device extent {devid} at {offset} of {length} bytes is missing"
        ) {
            logical: Logical, stripe: usize, devid: u64, offset: Physical, length: u64,
        }
        /// A stripe lies elsewhere than its device extent.
        Elsewhere(
            "stripe-elsewhere", Fatal,
            "chunk {logical} stripe {stripe}: is on device {devid} at {offset}, \
             its device extent on device {expect_devid} at {expect_offset}"
        ) {
            logical: Logical, stripe: usize, devid: u64, offset: Physical, expect_devid: u64, expect_offset: Physical,
        }
    }
}
