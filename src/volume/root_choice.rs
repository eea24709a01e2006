//! Which superblock and which roots a filesystem is read from, where not from the usual ones.

use crate::disk::Logical;

/// What a person chose of the places where a filesystem can be begun to be read.
#[derive(Clone, Copy, Debug, Default)]
pub struct RootChoice {
    /// Index of the superblock copy in `SUPER_OFFSETS`, on every device.
    pub mirror: Option<usize>,
    /// The newest backup roots older than the superblock's own, of which the tree root can be read.
    pub backup: bool,
    /// Logical address of the root tree's root block, in place of the superblock's.
    pub tree_root: Option<Logical>,
    /// Logical address of the chunk tree's root block, in place of the superblock's.
    pub chunk_root: Option<Logical>,
}
