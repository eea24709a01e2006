//! Checksums of data.

use crate::disk::Logical;
use crate::finding::findings;

findings! {
    /// Checksums of data.
    ChecksumProblem {
        /// Two checksum items cover the same data.
        Overlap("csum-overlap", Error, "checksums from {start} to {end} overlap those from {other} on") {
            start: Logical, end: Logical, other: Logical,
        }
        /// There are checksums of space that no data extent holds.
        WithoutExtent("csum-without-extent", Error, "checksums from {start} to {end}, but no data extent is there") {
            start: Logical, end: Logical,
        }
    }
}
