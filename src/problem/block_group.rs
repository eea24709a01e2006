//! Block groups, and where extents lie.

use crate::disk::Logical;
use crate::disk::objectid::tree_name;
use crate::finding::findings;

findings! {
    /// Block groups, and where extents lie.
    BlockGroupProblem {
        /// A chunk has no block group.
        Missing("block-group-missing", Error, "block group {logical} of {length} bytes is missing") {
            logical: Logical, length: u64,
        }
        /// A block group has no chunk.
        Orphan("block-group-orphan", Error, "block group {logical} of {length} bytes has no chunk") {
            logical: Logical, length: u64,
        }
        /// A block group has another length than its chunk.
        Length("block-group-length", Error, "block group {logical}: invalid length, have {have} expect {expect}") {
            logical: Logical, have: u64, expect: u64,
        }
        /// The used bytes of a block group are not those of its extents.
        Used("block-group-used", Error, "block group {logical}: invalid used, have {have} expect {expect}") {
            logical: Logical, have: u64, expect: u64,
        }
        /// A block group has another type or profile than its chunk.
        Flags("block-group-flags", Error, "block group {logical}: invalid flags, have {have:#x} expect {expect:#x}") {
            logical: Logical, have: u64, expect: u64,
        }
        /// A block group item has a value that is impossible.
        Item("block-group-item", Error, "block group {logical}: invalid {field}, have {have} expect {expect}") {
            logical: Logical, field: &'static str, have: u64, expect: u64,
        }
        /// A block group item stands in a tree where the kernel does not look for it.
        Tree("block-group-tree", Error, "block group {logical}: its item is in tree {have}, expect tree {expect}") {
            logical: Logical, have: u64 as tree_name, expect: u64 as tree_name,
        }
        /// An extent does not lie within one chunk.
        Outside("extent-outside", Fatal, "extent {logical} of {length} bytes does not lie within one chunk") {
            logical: Logical, length: u64,
        }
        /// An extent lies in a chunk for something else.
        Type("extent-type", Error, "extent {logical} with flags {have:#x} lies in a chunk of type {chunk_type:#x}") {
            logical: Logical, have: u64, chunk_type: u64,
        }
        /// A block of the chunk tree lies in a chunk that is not found without the chunk tree.
        ChunkTree("chunk-tree-block-outside", Fatal, "chunk tree block {logical} lies in a chunk of type {chunk_type:#x}") {
            logical: Logical, chunk_type: u64,
        }
        /// A block of another tree lies in a chunk for the chunk tree.
        Foreign("system-chunk-foreign", Error, "block {logical} of tree {owner} lies in a system chunk") {
            logical: Logical, owner: u64 as tree_name,
        }
        /// An extent lies below the address of the primary superblock, where none is ever allocated.
        Low("extent-low", Error, "extent {logical} of {length} bytes begins below address {limit}, where nothing may be") {
            logical: Logical, length: u64, limit: Logical,
        }
        /// An extent lies where a superblock is written.
        Superblock("extent-over-superblock", Error, "extent {logical} of {length} bytes lies over a superblock") {
            logical: Logical, length: u64,
        }
    }
}
