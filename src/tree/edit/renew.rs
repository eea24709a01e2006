//! Taking a tree out of some places: blocks there are copied, as if they were to be changed.

use crate::block::BlockKind;
use crate::block::edit::EditError;
use crate::block::verify::Expected;
use crate::disk::{Key, Logical, MAX_LEVEL};
use crate::error::Result;

use super::blocks::{Blocks, malformed};
use super::editor::Editor;
use super::path::view;

impl<S: Blocks> Editor<'_, S> {
    /// Makes all blocks editable whose addresses `is_left` names, and those above them. The store gives a copy of each of them
    /// another address. Returns how many there were.
    ///
    /// # Errors
    /// Those of the store, after which some of them may be where they were.
    pub fn leave(&mut self, is_left: &dyn Fn(Logical) -> bool) -> Result<u64> {
        let mut found = Vec::new();
        let root = self.root.expected();
        if is_left(root.logical) {
            found.push((Key::MIN, usize::from(self.root.level)));
        }
        self.find_left(&root, usize::from(self.root.level), is_left, &mut found)?;
        for (key, level) in &found {
            self.editable_path(*key, *level)?;
        }
        Ok(found.len() as u64)
    }

    /// First key and level of each block below a node that is to be left.
    fn find_left(
        &self,
        expected: &Expected,
        level: usize,
        is_left: &dyn Fn(Logical) -> bool,
        found: &mut Vec<(Key, usize)>,
    ) -> Result<()> {
        if level == 0 {
            return Ok(());
        }
        if level >= MAX_LEVEL {
            return Err(malformed(expected.logical, EditError::Malformed("level")));
        }
        let children: Vec<Expected> = {
            let bytes = self.store.read(expected)?;
            let block = view(&bytes, expected.logical, level)?;
            let BlockKind::Node(node) = block.kind() else { return Ok(()) };
            node.ptrs().iter().map(|ptr| Expected::child(ptr, block.level())).collect()
        };
        for child in &children {
            if is_left(child.logical) {
                found.push((child.first_key.unwrap_or_default(), level - 1));
            }
            self.find_left(child, level - 1, is_left, found)?;
        }
        Ok(())
    }
}
