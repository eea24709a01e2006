//! Extents and their back references.

use crate::block::reference::Reference;
use crate::disk::Logical;
use crate::disk::objectid::tree_name;
use crate::finding::findings;

findings! {
    /// Extents and their back references.
    ExtentProblem {
        /// Something refers to an extent that has no item.
        MissingItem("extent-item-missing", Error, "extent {extent} has no extent item, {reference} refers to it") {
            extent: Logical, reference: Reference,
        }
        /// Nothing refers to an extent: its space is lost.
        Unreferenced("extent-unreferenced", Error, "extent {extent} is not referred to by anything, refs {have}") {
            extent: Logical, have: u64,
        }
        /// A reference is not noted in the extent item.
        MissingReference("backref-missing", Error, "extent {extent}, back reference to {reference} is missing") {
            extent: Logical, reference: Reference, expect: u64,
        }
        /// An extent item notes a reference that does not exist.
        UnfoundedReference("backref-unfounded", Error, "extent {extent}, back reference to {reference} is unfounded") {
            extent: Logical, reference: Reference, have: u64,
        }
        /// An extent item notes a reference another number of times than it exists.
        ReferenceCount(
            "backref-count", Error,
            "extent {extent}, invalid count of back reference to {reference}, have {have} expect {expect}"
        ) {
            extent: Logical, reference: Reference, have: u64, expect: u64,
        }
        /// The number of references in an extent item is not the sum of its back references.
        Refs("extent-refs", Error, "extent {extent}, invalid refs, have {have} expect {expect}") {
            extent: Logical, have: u64, expect: u64,
        }
        /// Two extents share a range.
        Overlap("extent-overlap", Error, "extent {extent} of {length} bytes overlaps extent {other}") {
            extent: Logical, length: u64, other: Logical,
        }
        /// A tree block's extent item is that of data, or the other way round.
        Kind("extent-kind", Error, "extent {extent}, invalid flags {have:#x}, {reference} refers to it") {
            extent: Logical, have: u64, reference: Reference,
        }
        /// A tree block has another level than the extent item.
        Level("extent-level", Error, "extent {extent}, invalid level {have}, {reference} refers to level {expect}") {
            extent: Logical, have: u64, expect: u64, reference: Reference,
        }
        /// The flag for full back references is not as the header of the block says.
        BackrefFlag(
            "extent-backref-flag", Error,
            "extent {extent}, invalid flags {have:#x} of a block of tree {tree} with header flags {header_flags:#x}"
        ) {
            extent: Logical, tree: u64 as tree_name, have: u64, header_flags: u64,
        }
        /// A block of a tree that is never shared has full back references.
        FullBackref("extent-never-shared", Error, "extent {extent}, flags {have:#x} with FULL_BACKREF, {reference} refers to it") {
            extent: Logical, have: u64, reference: Reference,
        }
        /// A tree block was written in another generation than the extent item says.
        Generation(
            "extent-generation", Warning,
            "extent {extent}, invalid generation {have}, {reference} refers to generation {expect}"
        ) {
            extent: Logical, have: u64, expect: u64, reference: Reference,
        }
        /// A file's extent has another length than the extent item.
        Length("extent-length", Error, "extent {extent}, invalid length {have}, {reference} refers to {expect} bytes") {
            extent: Logical, have: u64, expect: u64, reference: Reference,
        }
    }
}
