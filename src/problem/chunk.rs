//! Chunk items and their stripes.

use crate::disk::fields::Uuid;
use crate::disk::{Logical, Physical};
use crate::finding::findings;

use super::value::Expect;

findings! {
    /// Chunk items and their stripes.
    ChunkProblem {
        /// A chunk item has a value that is impossible.
        Item("chunk-item", Fatal, "chunk {logical}: invalid {field}, have {have} expect {expect}") {
            logical: Logical, field: &'static str, have: u64, expect: Expect,
        }
        /// A chunk has another length than its block group and its device extents.
        Length("chunk-length", Fatal, "chunk {logical}: invalid length, have {have} expect {expect}") {
            logical: Logical, have: u64, expect: u64,
        }
        /// A block group and its device extents have no chunk.
        Missing("chunk-missing", Fatal, "chunk {logical} of {length} bytes is missing") { logical: Logical, length: u64 }
        /// Two chunks share logical addresses.
        Overlap("chunk-overlap", Fatal, "chunk {logical} overlaps chunk {other}") { logical: Logical, other: Logical }
        /// A stripe lies on a device that does not exist.
        StripeDevice("stripe-device", Fatal, "chunk {logical} stripe {stripe}: there is no device {devid}") {
            logical: Logical, stripe: usize, devid: u64,
        }
        /// A stripe names another uuid than its device has.
        StripeUuid(
            "stripe-uuid", Fatal, "chunk {logical} stripe {stripe}: invalid uuid of device {devid}, have {have} expect {expect}"
        ) {
            logical: Logical, stripe: usize, devid: u64, have: Uuid, expect: Uuid,
        }
        /// Stripes that are to survive each other lie on one device.
        StripeTwice("stripe-twice", Fatal, "chunk {logical} stripe {stripe}: device {devid} holds another stripe") {
            logical: Logical, stripe: usize, devid: u64,
        }
        /// Two stripes share a range of a device.
        StripeOverlap(
            "stripe-overlap", Fatal, "chunk {logical}: the stripe on device {devid} at {offset} overlaps one of chunk {other}"
        ) {
            logical: Logical, devid: u64, offset: Physical, other: Logical,
        }
        /// A stripe does not begin at a sector.
        StripeUnaligned(
            "stripe-unaligned", Fatal, "chunk {logical}: the stripe on device {devid} at {offset} is not aligned to sectors"
        ) {
            logical: Logical, devid: u64, offset: Physical,
        }
        /// A stripe begins within the first MiB of a device, as mkfs made them long ago.
        StripeReserved(
            "stripe-reserved", Note, "chunk {logical}: the stripe on device {devid} at {offset} lies in the first MiB"
        ) {
            logical: Logical, devid: u64, offset: Physical,
        }
        /// A chunk's length cannot be spread evenly over its stripes.
        Uneven("chunk-uneven", Error, "chunk {logical}: length {length} is no multiple of {data_stripes} data stripes") {
            logical: Logical, length: u64, data_stripes: u64,
        }
        /// There is no chunk of a type that every filesystem has.
        NoType("chunk-type-missing", Error, "there is no {kind} chunk") { kind: &'static str }
        /// Chunks for data and metadata together stand beside others.
        Mixed("chunk-not-mixed", Error, "chunk {logical}: type {have:#x} in a filesystem with mixed block groups") {
            logical: Logical, have: u64,
        }
        /// More devices of a chunk are missing than it can do without.
        Unavailable(
            "chunk-unavailable", Warning, "chunk {logical}: lacks {missing} of its devices, it tolerates the loss of {tolerated}"
        ) {
            logical: Logical, missing: usize, tolerated: u16,
        }
    }
}
