//! Which trees there are, and whether what they hold may be moved.

use crate::disk::flags::superblock;
use crate::disk::{Key, objectid};
use crate::error::{RelocationProblem, Result};
use crate::survey::tree_of;
use crate::trans::Filesystem;
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
    /// Relocation trees that the kernel left when it was cut off.
    pub relocating: Vec<Tree>,
}

impl Trees {
    /// Reads the root items.
    ///
    /// # Errors
    /// A root tree that cannot be read.
    pub fn read(volume: &Volume) -> Result<Self> {
        let mut trees = Self::default();
        TreeRoot::root_tree(volume).range(volume, Key::MIN, Key::MAX, |item| {
            let Some(tree) = tree_of(&item) else { return };
            match tree.id() {
                objectid::TREE_RELOC => trees.relocating.push(tree),
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
        Ok(trees)
    }
}

/// Refuses what cannot be moved. A balance that the kernel would go on with is for the caller to refuse, or to go on with.
///
/// # Errors
/// Why nothing is moved.
pub fn refuse(volume: &Volume) -> Result<()> {
    let flags = volume.superblock().flags.get();
    if flags & (superblock::METADUMP | superblock::METADUMP_V2) != 0 {
        return Err(RelocationProblem::MetadataDump.into());
    }
    match volume.superblock().is_changing_csums() {
        true => Err(RelocationProblem::ChangingCsums.into()),
        false => Ok(()),
    }
}

/// Blocks of a relocation tree that go in one transaction, about: what refers to data in them is in memory.
const TOGETHER: usize = 2048;

/// Drops the relocation trees that the kernel left when it was cut off: what they alone refer to goes, and what they share stays with
/// the trees of files. Returns how many transactions it took; a crash leaves a part of them, which another run drops.
///
/// # Errors
/// Simple quotas, damage, too little room: the last commit stands.
pub fn drop_relocation_trees(fs: &mut Filesystem) -> Result<u64> {
    let mut transactions = 0;
    loop {
        let relocating = Trees::read(fs.volume())?.relocating;
        if relocating.is_empty() {
            return Ok(transactions);
        }
        let mut left = TOGETHER;
        for tree in relocating {
            if !fs.drop_relocation_tree(&tree, &mut left)? {
                break;
            }
        }
        fs.commit()?;
        transactions += 1;
    }
}
