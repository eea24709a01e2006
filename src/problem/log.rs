//! Log trees.

use crate::disk::objectid::tree_name;
use crate::disk::{Logical, Transid};
use crate::finding::findings;

findings! {
    /// Log trees: what the next mount adds to the filesystem.
    LogProblem {
        /// The tree of log trees is not of the generation after the superblock's: it cannot be mounted without `nologreplay`.
        Generation("log-generation", Fatal, "log root tree: invalid generation, have {have} expect {expect}") {
            have: Transid, expect: Transid,
        }
        /// A block of a log tree lies in a chunk that is not for metadata.
        BlockOutside("log-block-outside", Error, "log tree block {block} lies in a chunk of type {chunk_type:#x}") {
            block: Logical, chunk_type: u64,
        }
        /// A block of a log tree lies where an extent is that is in use.
        BlockUsed("log-block-used", Error, "log tree block {block} lies over extent {extent}") {
            block: Logical, extent: Logical,
        }
        /// Logged data does not lie within one chunk for data.
        ExtentOutside(
            "log-extent-outside", Error,
            "logged extent {extent} of {length} bytes of inode {inode} in tree {tree} lies in no data chunk"
        ) {
            tree: u64 as tree_name, inode: u64, extent: Logical, length: u64,
        }
        /// Logged data lies partly over an extent that is in use.
        ExtentUsed(
            "log-extent-used", Error,
            "logged extent {extent} of {length} bytes of inode {inode} in tree {tree} overlaps extent {other}"
        ) {
            tree: u64 as tree_name, inode: u64, extent: Logical, length: u64, other: Logical,
        }
        /// Logged data has no checksums: once it is replayed it cannot be read.
        Csums(
            "log-csum-missing", Error,
            "logged data of inode {inode} in tree {tree} from {start} to {end} has no checksums, in the log or else"
        ) {
            tree: u64 as tree_name, inode: u64, start: Logical, end: Logical,
        }
    }
}
