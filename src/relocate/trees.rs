//! Which trees there are, and whether what they hold may be moved.

use crate::disk::flags::superblock;
use crate::disk::{Key, objectid};
use crate::error::{Error, RelocationProblem, Result};
use crate::survey::tree_of;
use crate::tree::{Tree, TreeRoot};
use crate::volume::Volume;

/// The trees that root items lead to, but for those that a transaction changes by itself.
#[derive(Debug, Default)]
pub struct Trees {
    /// Trees of files, whose blocks may be shared. Those that are being dropped come last: of a node on the way to what is left of
    /// them not all counts.
    pub files: Vec<Tree>,
    /// Ids of the others.
    pub others: Vec<u64>,
}

impl Trees {
    /// Reads the root items.
    ///
    /// # Errors
    /// A relocation by the kernel that was cut off; a root tree that cannot be read.
    pub fn read(volume: &Volume) -> Result<Self> {
        let mut trees = Self::default();
        let mut relocating = None;
        TreeRoot::root_tree(volume).range(volume, Key::MIN, Key::MAX, |item| {
            let Some(tree) = tree_of(&item) else { return };
            match tree.id() {
                objectid::TREE_RELOC => relocating = relocating.or(Some(tree.root.key.offset)),
                id if objectid::may_share_blocks(id) => trees.files.push(tree),
                objectid::EXTENT_TREE
                | objectid::DEV_TREE
                | objectid::FREE_SPACE_TREE
                | objectid::BLOCK_GROUP_TREE
                | objectid::ROOT_TREE
                | objectid::CHUNK_TREE => {}
                id => trees.others.push(id),
            }
        })?;
        trees.files.sort_by_key(|tree| tree.drop_progress.is_some());
        match relocating {
            Some(tree) => Err(RelocationProblem::Relocating { tree }.into()),
            None => Ok(trees),
        }
    }
}

/// Refuses what cannot be moved. A balance that the kernel would go on with is for the caller to refuse, or to go on with.
///
/// # Errors
/// Why nothing is moved.
pub fn refuse(volume: &Volume) -> Result<()> {
    let flags = volume.superblock().flags.get();
    let problem = if flags & (superblock::METADUMP | superblock::METADUMP_V2) != 0 {
        RelocationProblem::MetadataDump
    } else if volume.superblock().is_changing_csums() {
        RelocationProblem::ChangingCsums
    } else {
        return Trees::read(volume).map(drop);
    };
    Err(Error::from(problem))
}
