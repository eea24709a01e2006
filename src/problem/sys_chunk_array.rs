//! The system chunk array.

use crate::disk::Logical;
use crate::finding::findings;
use crate::volume::sys_chunk_array::BadEntryProblem;

use super::value::{Expect, Value};

findings! {
    /// The chunks in the superblock, through which the chunk tree is found.
    SysChunkArrayProblem {
        /// The array cannot be read on at some place.
        Entry("sys-array-entry", Fatal, "system chunk array: {problem} at offset {offset}") {
            offset: usize, problem: BadEntryProblem,
        }
        /// A chunk in the array has a value that is impossible.
        Chunk("sys-array-chunk", Fatal, "system chunk array: chunk {logical}: invalid {field}, have {have} expect {expect}") {
            logical: Logical, field: &'static str, have: u64, expect: Expect,
        }
        /// Two chunks of the array share logical addresses.
        Overlap("sys-array-overlap", Fatal, "system chunk array: chunk {logical} overlaps chunk {other}") {
            logical: Logical, other: Logical,
        }
        /// The array and the chunk tree disagree about what `read_one_chunk` (fs/btrfs/volumes.c) reads of a chunk.
        Mismatch(
            "sys-array-mismatch", Fatal,
            "system chunk array: chunk {logical}: {field} is {have}, in the chunk tree {expect}"
        ) {
            logical: Logical, field: &'static str, have: Value, expect: Value,
        }
        /// The array and the chunk tree disagree about what `read_one_chunk` passes by.
        Difference(
            "sys-array-difference", Note,
            "system chunk array: chunk {logical}: {field} is {have}, in the chunk tree {expect}"
        ) {
            logical: Logical, field: &'static str, have: Value, expect: Value,
        }
        /// A chunk of the array is not in the chunk tree.
        Orphan("sys-array-orphan", Fatal, "system chunk array: chunk {logical} is not in the chunk tree") {
            logical: Logical,
        }
        /// A system chunk is not in the array: if the chunk tree moves there, it cannot be found.
        Missing("sys-array-missing", Fatal, "system chunk array: system chunk {logical} is missing") { logical: Logical }
        /// The next system chunk will not fit in the array, as from the beginning where there are many devices.
        Full("sys-array-full", Note, "system chunk array: {left} bytes are left, the next chunk needs {needed}") {
            left: usize, needed: usize,
        }
        /// Bytes of chunks that were removed are left behind the array's end.
        Tail("sys-array-tail", Note, "system chunk array: bytes are left behind its end at {size}") { size: usize }
    }
}
