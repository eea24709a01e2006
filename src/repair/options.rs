//! What a person wants of a repair.

use crate::progress::Progress;
use crate::volume::{MissingDevices, RootChoice};

/// How to repair.
#[derive(Clone)]
pub struct Options<'a> {
    /// How many threads read.
    pub threads: usize,
    /// Bytes that records may take of the memory.
    pub memory: u64,
    /// Told of the work, and able to stop it until something is published.
    pub progress: &'a Progress,
    /// Verify data, and mend copies of it, too.
    pub check_data_csum: bool,
    /// What is done where devices are missing.
    pub missing: MissingDevices,
    /// Where to begin.
    pub choice: RootChoice,
    /// What is built anew or given up in any case.
    pub force: Force,
    /// Whether only bad copies of tree blocks are written, from good ones: that loses nothing, whatever else is wrong.
    pub copies_only: bool,
}

/// What a person wants built anew or given up, whether it is damaged or not.
#[derive(Clone, Copy, Debug, Default)]
pub struct Force {
    /// The trees that tell of extents and of free space.
    pub extent_tree: bool,
    /// All checksums of data.
    pub csum_tree: bool,
    /// The log trees.
    pub clear_log: bool,
    /// Which space cache: the free space tree, or the hidden files of v1.
    pub clear_space_cache: Option<SpaceCache>,
    /// The tree of uuids of subvolumes.
    pub uuid_tree: bool,
}

/// The kinds of caches of free space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpaceCache {
    /// Hidden files in the root tree.
    V1,
    /// The free space tree.
    V2,
}
