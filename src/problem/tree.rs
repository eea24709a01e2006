//! Trees that must be there.

use crate::finding::findings;

findings! {
    /// Trees that must be there.
    StructureProblem {
        /// A tree has no root item.
        TreeMissing("tree-missing", Fatal, "tree {tree} ({name}) is missing") { tree: u64, name: &'static str }
    }
}
