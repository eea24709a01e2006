//! Records of free space.

use crate::disk::{Key, Logical};
use crate::finding::findings;

findings! {
    /// Records of free space.
    FreeSpaceProblem {
        /// A block group has no record in the free space tree.
        InfoMissing("free-space-info-missing", Error, "block group {logical} has no free space info") {
            logical: Logical,
        }
        /// A free space item has a value that is impossible.
        Item("free-space-item", Error, "free space item {key}: invalid {field}, have {have} expect {expect}") {
            key: Key, field: &'static str, have: u64, expect: u64,
        }
        /// The number of free extents of a block group is not what its record says.
        Count("free-space-count", Error, "block group {logical}: invalid free extent count, have {have} expect {expect}") {
            logical: Logical, have: u64, expect: u64,
        }
        /// The free space of a block group is not in the form that its record says.
        Form("free-space-form", Error, "block group {logical}: free space item {key} is not of the form in use") {
            logical: Logical, key: Key,
        }
        /// Two free space items share a range.
        Overlap("free-space-overlap", Error, "block group {logical}: {length} bytes at {start} are listed free twice") {
            logical: Logical, start: Logical, length: u64,
        }
        /// Space is in use and listed as free: it will be overwritten.
        Used("free-space-used", Error, "block group {logical}: {length} bytes at {start} are in use and listed free") {
            logical: Logical, start: Logical, length: u64,
        }
        /// Space is neither in use nor listed as free.
        Lost("free-space-lost", Error, "block group {logical}: {length} bytes at {start} are neither in use nor listed free") {
            logical: Logical, start: Logical, length: u64,
        }
        /// An item of the free space tree lies where the next block group may be.
        Orphan("free-space-orphan", Error, "free space item {key} lies in no block group") { key: Key }
        /// An item of the free space tree is that of a block group that is gone.
        Gone("free-space-gone", Warning, "free space item {key} lies where no block group is any more") { key: Key }
        /// Two free extents are one, which the kernel would have merged.
        Adjacent("free-space-adjacent", Warning, "block group {logical}: the free extent at {start} goes on where another one ends") {
            logical: Logical, start: Logical,
        }
        /// Items of block groups that mkfs removed are left behind; their addresses are not used again.
        Leftover("free-space-leftover", Note, "free space items of a block group at {logical}, which was removed, are left") {
            logical: Logical,
        }
        /// The free space tree is not valid: the next mount builds it anew.
        NotValid("free-space-tree-not-valid", Note, "the free space tree is not marked valid and will be built anew") {}
    }
}
