//! The blocks on the way to an edit, made editable from the root down.

use crate::block::Block;
use crate::block::edit::{EditError, LeafMut, NodeMut, check_layout, clear_unused};
use crate::disk::node::KeyPtr;
use crate::disk::{Key, Logical, Transid};
use crate::error::Result;

use super::blocks::{Blocks, malformed};
use super::editor::Editor;
use super::path::{Path, child, view};

impl<S: Blocks> Editor<'_, S> {
    /// Finds the place of `key` on `level`, and makes the way to it editable.
    pub(super) fn editable_path(&mut self, key: Key, level: usize) -> Result<Path> {
        let (mut path, _) = Path::find(self.root, self.store, key, level)?;
        self.make_editable(&mut path)?;
        Ok(path)
    }

    /// Makes all blocks of a path editable.
    pub(super) fn make_editable(&mut self, path: &mut Path) -> Result<()> {
        let logical = self.store.make_editable(self.tree(), &self.root.expected(), None)?;
        if logical != self.root.logical {
            self.adopt(logical, path.top)?;
            self.set_root(logical, path.top)?;
        }
        path.blocks[path.top] = logical;
        for level in (path.level..path.top).rev() {
            path.blocks[level] = self.make_child_editable(path.blocks[level + 1], level + 1, path.slots[level + 1])?;
        }
        Ok(())
    }

    /// Makes the child at `slot` of an editable node of `level` editable.
    pub(super) fn make_child_editable(&mut self, node: Logical, level: usize, slot: usize) -> Result<Logical> {
        let expected = child(self.block(node, level)?, slot)?;
        let logical = self.store.make_editable(self.tree(), &expected, Some(node))?;
        if logical != expected.logical {
            let generation = self.adopt(logical, level - 1)?;
            self.edit_node(node, |node| node.set_ptr(slot, logical, generation))?;
        }
        Ok(logical)
    }

    /// Makes sure that a copy can be edited, and returns its generation. What was verified when the block was read need
    /// not include its layout.
    fn adopt(&mut self, logical: Logical, level: usize) -> Result<Transid> {
        let [bytes] = self.store.bytes_mut([logical])?;
        let block = view(bytes, logical, level)?;
        let generation = block.generation();
        check_layout(block).and_then(|()| clear_unused(bytes)).map_err(|problem| malformed(logical, problem))?;
        Ok(generation)
    }

    /// A view of an editable block.
    pub(super) fn block(&mut self, logical: Logical, level: usize) -> Result<Block<'_>> {
        let [bytes] = self.store.bytes_mut([logical])?;
        view(bytes, logical, level)
    }

    /// What a pointer to an editable block says.
    pub(super) fn ptr_to(&mut self, logical: Logical, level: usize) -> Result<KeyPtr> {
        let block = self.block(logical, level)?;
        let generation = block.header().generation;
        match block.first_key() {
            Some(key) => Ok(KeyPtr { key: key.into(), blockptr: logical.0.into(), generation }),
            None => Err(malformed(logical, EditError::NoSlot { slot: 0, count: 0 })),
        }
    }

    pub(super) fn edit_node<T>(
        &mut self,
        logical: Logical,
        edit: impl FnOnce(&mut NodeMut<'_>) -> Result<T, EditError>,
    ) -> Result<T> {
        let [bytes] = self.store.bytes_mut([logical])?;
        NodeMut::new(bytes).and_then(|mut node| edit(&mut node)).map_err(|problem| malformed(logical, problem))
    }

    pub(super) fn edit_leaf<T>(
        &mut self,
        logical: Logical,
        edit: impl FnOnce(&mut LeafMut<'_>) -> Result<T, EditError>,
    ) -> Result<T> {
        let [bytes] = self.store.bytes_mut([logical])?;
        LeafMut::new(bytes).and_then(|mut leaf| edit(&mut leaf)).map_err(|problem| malformed(logical, problem))
    }
}
