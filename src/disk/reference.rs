//! Back references of extents.

use std::fmt;

use super::Logical;

/// A back reference of an extent: the tree, the block or the file that refers to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
pub enum Reference {
    /// A block of the tree, or its root item (`TREE_BLOCK_REF`).
    #[serde(rename = "tree")]
    TreeBlock {
        /// Id of the tree.
        root: u64,
    },
    /// The node at this address (`SHARED_BLOCK_REF`).
    #[serde(rename = "node")]
    SharedBlock {
        /// Logical address of the node.
        parent: Logical,
    },
    /// A file of the tree; `offset` is where in the file the whole extent would begin (`EXTENT_DATA_REF`).
    #[serde(rename = "file")]
    ExtentData {
        /// Id of the tree.
        root: u64,
        /// Inode of the file.
        objectid: u64,
        /// Offset in the file in bytes; it wraps below zero.
        offset: u64,
    },
    /// The leaf at this address (`SHARED_DATA_REF`).
    #[serde(rename = "leaf")]
    SharedData {
        /// Logical address of the leaf.
        parent: Logical,
    },
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reference::TreeBlock { root } => write!(f, "tree {root}"),
            Reference::SharedBlock { parent } => write!(f, "node {parent}"),
            Reference::ExtentData { root, objectid, offset } => {
                write!(f, "tree {root} inode {objectid} offset {offset}")
            }
            Reference::SharedData { parent } => write!(f, "leaf {parent}"),
        }
    }
}
