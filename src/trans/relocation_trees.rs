//! Relocation trees that a balance by the kernel left when it was cut off: they go as snapshots go (`btrfs_drop_snapshot` in
//! fs/btrfs/extent-tree.c).

use crate::block::extent_item::ExtentKind;
use crate::block::reference::Reference;
use crate::block::verify::Expected;
use crate::block::{Block, BlockKind};
use crate::disk::flags::extent::FULL_BACKREF;
use crate::disk::root::RootItem;
use crate::disk::{Key, Logical, MAX_LEVEL};
use crate::error::{AddressProblem, Addressed, EditError, Error, ExtentProblem, RelocationProblem, Result};
use crate::tree::Tree;

use super::filesystem::Filesystem;
use super::sharing::count;
use super::staged::ByCommit;

/// What is left of a tree begins with the pointer to this key, in a node of this level.
type Progress = (Key, u8);

impl Filesystem {
    /// Drops a relocation tree of the last commit, with all that nothing else refers to: about `left` of its blocks, which are
    /// counted down, and its root item with the last of them. Returns whether it is gone; else the rest is for another transaction.
    ///
    /// # Errors
    /// Simple quotas, which count the blocks for the tree that was moved; a block that cannot be read or whose references are not
    /// what the extent tree says: nothing can be committed then.
    pub fn drop_relocation_tree(&self, tree: &Tree, left: &mut usize) -> Result<bool> {
        if self.quotas.simple_since().is_some() {
            return Err(RelocationProblem::Relocating { tree: tree.root.key.offset }.into());
        }
        let dropped = self.drop_some(tree, left);
        if dropped.is_err() {
            self.poison();
        }
        dropped
    }

    fn drop_some(&self, tree: &Tree, left: &mut usize) -> Result<bool> {
        let mut descent = Descent { fs: self, tree, left };
        let root = tree.root.expected();
        // Nothing but itself leads to the root: its item has the block as its own parent (`btrfs_alloc_tree_block`).
        let itself = Reference::SharedBlock { parent: root.logical };
        let progress = descent.drop(&root, itself, tree.drop_progress.is_some(), MAX_LEVEL)?;
        let mut root_tree = ByCommit::new(self.trees.root.lock());
        let Some((key, level)) = progress else {
            root_tree.edit(self, |editor| editor.delete(tree.root.key))?;
            return Ok(true);
        };
        let change = |item: &mut RootItem| {
            item.refs = 0.into();
            (item.drop_progress, item.drop_level) = (key.into(), level);
            true
        };
        self.update_root_item(&mut root_tree, tree.root.key, change)?;
        Ok(false)
    }
}

/// A tree that is walked down and dropped.
struct Descent<'d> {
    fs: &'d Filesystem,
    tree: &'d Tree,
    /// Blocks that may still be looked at.
    left: &'d mut usize,
}

impl Descent<'_> {
    /// Takes the reference to a block away, and with the last one the block and its own references. Returns where it stopped, if
    /// it did before the end.
    fn drop(
        &mut self,
        expected: &Expected,
        reference: Reference,
        on_dropped_path: bool,
        below: usize,
    ) -> Result<Option<Progress>> {
        let logical = expected.logical;
        let error = |problem| Error::Block { what: Addressed::TreeBlock, logical, problem };
        let is_below = |level: &u8| usize::from(*level) < below;
        let level = expected.level.filter(is_below).ok_or_else(|| error(EditError::Malformed("level").into()))?;
        *self.left = self.left.saturating_sub(1);
        let sharing = {
            let mut extent_tree = self.fs.trees.extent.lock();
            let noted = extent_tree.noted_sharing(self.fs, logical, level)?;
            self.fs.delayed_refs.lock().sharing(logical, noted)?
        };
        match sharing.refs {
            0 => return Err(error(ExtentProblem::NoReference.into())),
            1 => {}
            _ if on_dropped_path => return Err(error(ExtentProblem::PartlyDropped.into())),
            _ => return self.drop_reference(logical, level, reference),
        }
        // What only a relocation tree refers to was made for one, or its tree has given it up (`update_ref_for_cow` in
        // fs/btrfs/ctree.c).
        if !sharing.has_full_backref {
            return Err(error(ExtentProblem::NoFullBackref.into()));
        }
        let bytes = self.fs.read_committed(expected)?;
        let block = Block::new(&bytes).ok_or_else(|| error(AddressProblem::TooShort))?;
        match block.kind() {
            BlockKind::Leaf(_) => {
                count(&mut self.fs.delayed_refs.lock(), self.tree.id(), block, FULL_BACKREF, -1)?;
            }
            BlockKind::Node(node) => {
                let kept = self.tree.kept(node.ptrs(), level, on_dropped_path);
                for (slot, ptr) in node.ptrs().iter().enumerate().skip(kept.first) {
                    if slot > kept.first && *self.left == 0 {
                        return Ok(Some((Key::from(&ptr.key), level)));
                    }
                    let (child, parent) = (Expected::child(ptr, level), Reference::SharedBlock { parent: logical });
                    let progress = self.drop(&child, parent, kept.is_on_path(slot), level.into())?;
                    if progress.is_some() {
                        return Ok(progress);
                    }
                }
            }
        }
        self.drop_reference(logical, level, reference)
    }

    fn drop_reference(&self, logical: Logical, level: u8, reference: Reference) -> Result<Option<Progress>> {
        let kind = ExtentKind::Block { level };
        self.fs.delayed_refs.lock().count(logical, kind, reference, -1)?;
        Ok(None)
    }
}
