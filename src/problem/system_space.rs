//! Room in system chunks.

use crate::finding::findings;

findings! {
    /// Room in system chunks.
    SystemSpaceProblem {
        /// The next chunk may find no room in the chunk tree, and there is none for another system chunk.
        Short(
            "system-space-short", Note,
            "system chunks have {free} bytes left, the next chunk may need {need}, and no system chunk can be added"
        ) {
            free: u64, need: u64,
        }
    }
}
