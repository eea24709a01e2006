//! Finding items, and going from one to the next.

use crate::block::edit::EditError;
use crate::block::{Block, BlockKind, ItemRef};
use crate::disk::Key;
use crate::error::Result;
use crate::tree::TreeRoot;

use super::blocks::{Blocks, malformed};
use super::path::{Path, view};

/// An item of a tree, and the leaf in which it stands.
pub struct Cursor<'s, S: Blocks> {
    root: TreeRoot,
    store: &'s S,
    leaf: S::Bytes<'s>,
    path: Path,
}

impl<'s, S: Blocks> Cursor<'s, S> {
    /// The item with this key.
    pub fn at(root: &TreeRoot, store: &'s S, key: Key) -> Result<Option<Self>> {
        let cursor = Self::seek(root, store, key)?;
        Ok(cursor.path.exact.then_some(cursor))
    }

    /// The first item whose key is not below `key`.
    pub fn at_or_after(root: &TreeRoot, store: &'s S, key: Key) -> Result<Option<Self>> {
        let mut cursor = Self::seek(root, store, key)?;
        while cursor.path.slot() >= cursor.count()? {
            // Separators ascend, so that this comes to an end.
            let Some(limit) = cursor.path.limit else { return Ok(None) };
            cursor = Self::seek(root, store, limit)?;
        }
        Ok(Some(cursor))
    }

    /// The last item whose key is not above `key`.
    pub fn at_or_before(root: &TreeRoot, store: &'s S, key: Key) -> Result<Option<Self>> {
        let mut cursor = Self::seek(root, store, key)?;
        if !cursor.path.exact {
            // Leaves begin with the keys by which they are found: nothing stands before the first slot.
            let Some(slot) = cursor.path.slot().checked_sub(1) else { return Ok(None) };
            cursor.path.slots[0] = slot;
        }
        Ok(Some(cursor))
    }

    /// The item that the cursor stands at.
    pub fn item(&self) -> Result<ItemRef<'_>> {
        let slot = self.path.slot();
        let item = match self.block()?.kind() {
            BlockKind::Leaf(leaf) => leaf.item(slot),
            BlockKind::Node(_) => None,
        };
        item.ok_or(malformed(self.path.block(), EditError::Malformed("item data outside of the leaf")))
    }

    /// Goes to the next item; stays where it is if there is none.
    pub fn to_next(&mut self) -> Result<bool> {
        if self.path.slot() + 1 < self.count()? {
            self.path.slots[0] += 1;
            return Ok(true);
        }
        match self.path.limit {
            Some(limit) => self.go(Self::at_or_after(&self.root, self.store, limit)?),
            None => Ok(false),
        }
    }

    fn seek(root: &TreeRoot, store: &'s S, key: Key) -> Result<Self> {
        let (path, leaf) = Path::find(root, store, key, 0)?;
        Ok(Self { root: *root, store, leaf, path })
    }

    fn go(&mut self, to: Option<Self>) -> Result<bool> {
        let found = to.is_some();
        if let Some(to) = to {
            *self = to;
        }
        Ok(found)
    }

    fn block(&self) -> Result<Block<'_>> {
        view(&self.leaf, self.path.block(), 0)
    }

    fn count(&self) -> Result<usize> {
        Ok(self.block()?.count())
    }
}
