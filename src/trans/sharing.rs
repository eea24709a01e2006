//! What becomes of the references of a block that trees share when one of them gets a copy of it
//! (`update_ref_for_cow` and `btrfs_block_can_be_shared` in fs/btrfs/ctree.c).

use crate::block::extent_item::ExtentKind;
use crate::block::reference::{file_extents, node_children};
use crate::block::{Block, BlockKind};
use crate::disk::Transid;
use crate::disk::flags::extent::FULL_BACKREF;
use crate::disk::flags::header::RELOC;
use crate::error::{Addressed, Error, ExtentProblem, Result};

use super::delayed_refs::{DelayedRefs, Sharing};

/// Whether other trees may refer to a block of a tree whose last snapshot was made in the generation `last_snapshot`: in
/// no later generation was it made, or a relocation put it in the place of one that may be shared.
pub fn may_be_shared(block: Block<'_>, last_snapshot: Transid) -> bool {
    block.generation() <= last_snapshot || block.header().flag_bits() & RELOC != 0
}

/// Notes that `tree` refers to a copy instead of `block`: what the block refers to has the copy as another source, and
/// the references that the tree's name stood for are from now on those of the block where others still refer to it.
/// `noted` is how the extent tree has the block shared.
pub fn update_ref_for_cow(refs: &mut DelayedRefs, tree: u64, block: Block<'_>, noted: Sharing) -> Result<()> {
    let (logical, level) = (block.logical(), block.level());
    let error = |problem: ExtentProblem| Error::Block { what: Addressed::TreeBlock, logical, problem: problem.into() };
    let owner = block.header().owner.get();
    let sharing = refs.sharing(logical, noted)?;
    match (sharing.refs, sharing.has_full_backref) {
        (0, _) => return Err(error(ExtentProblem::NoReference)),
        (1, false) if owner != tree => return Err(error(ExtentProblem::OtherTree)),
        (1, false) => {}
        (1, true) => {
            count(refs, tree, block, 0, 1)?;
            count(refs, tree, block, FULL_BACKREF, -1)?;
        }
        (_, false) if owner == tree => {
            count(refs, tree, block, FULL_BACKREF, 1)?;
            refs.set_full_backref(logical, level)?;
        }
        _ => count(refs, tree, block, 0, 1)?,
    }
    refs.drop_block(logical, level, tree)
}

/// Adds the references of a block to all that it refers to, by the name of the tree or by its address where `flags` say so;
/// drops them if `by` is negative (`__btrfs_mod_ref` in fs/btrfs/extent-tree.c).
pub fn count(refs: &mut DelayedRefs, tree: u64, block: Block<'_>, flags: u64, by: i64) -> Result<()> {
    let mut result = Ok(());
    match block.kind() {
        BlockKind::Leaf(leaf) => file_extents(leaf, tree, flags, |file| {
            if result.is_ok() {
                result = refs.count(file.extent, ExtentKind::Data { length: file.length }, file.reference, by);
            }
        }),
        BlockKind::Node(node) => node_children(node, tree, 0, flags, |ptr, reference| {
            if result.is_ok() {
                result = refs.count(ptr.blockptr.into(), ExtentKind::Block { level: block.level() - 1 }, reference, by);
            }
        }),
    }
    result
}
