//! The way from the root to a key.

use crate::block::edit::{EditError, LeafMut, NodeMut, check_layout, clear_unused};
use crate::block::verify::Expected;
use crate::block::{Block, BlockKind};
use crate::disk::node::KeyPtr;
use crate::disk::{Key, Logical, MAX_LEVEL, Transid};
use crate::error::Result;
use crate::tree::TreeRoot;

use super::{Blocks, Editor, malformed};

/// The way from the root to the place of a key on some level. Arrays are indexed by level.
#[derive(Default)]
pub(super) struct Path {
    /// Where it ends.
    pub level: usize,
    /// The level of the root.
    pub top: usize,
    pub blocks: [Logical; MAX_LEVEL],
    /// Where it ends the slot of the first key that is not below the wanted one, above that the slots of its blocks.
    pub slots: [usize; MAX_LEVEL],
    /// Whether the wanted key is there.
    pub exact: bool,
    /// The first key of the next block on the level where it ends.
    pub limit: Option<Key>,
}

impl Path {
    /// The block where it ends.
    pub fn block(&self) -> Logical {
        self.blocks[self.level]
    }

    /// The slot where it ends.
    pub fn slot(&self) -> usize {
        self.slots[self.level]
    }

    /// Finds the place of `key` on `level`, and the block where it is.
    pub fn find<'s, S: Blocks>(root: &TreeRoot, store: &'s S, key: Key, level: usize) -> Result<(Self, S::Bytes<'s>)> {
        let top = usize::from(root.level);
        if top >= MAX_LEVEL || level > top {
            return Err(malformed(root.logical, EditError::Malformed("level")));
        }
        let mut path = Path { level, top, ..Path::default() };
        let mut expected = root.expected();
        let mut at = top;
        loop {
            let bytes = store.read(&expected)?;
            let block = view(&bytes, expected.logical, at)?;
            path.blocks[at] = expected.logical;
            let slot = block.slot_of(key);
            let exact = block.key(slot) == Some(key);
            if at == level {
                path.slots[at] = slot;
                path.exact = exact;
                return Ok((path, bytes));
            }
            let slot = if exact { slot } else { slot.saturating_sub(1) };
            path.slots[at] = slot;
            path.limit = block.key(slot + 1).or(path.limit);
            // Whoever goes on from there must come to an end, also where nobody looked at the order of keys.
            if path.limit.is_some_and(|limit| limit <= key) {
                return Err(malformed(expected.logical, EditError::KeyOrder { key }));
            }
            expected = child(block, slot)?;
            at -= 1;
        }
    }
}

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

/// A block, which is of `level`.
pub(super) fn view(bytes: &[u8], logical: Logical, level: usize) -> Result<Block<'_>> {
    match Block::new(bytes).filter(|block| usize::from(block.level()) == level) {
        Some(block) => Ok(block),
        None => Err(malformed(logical, EditError::Malformed("level"))),
    }
}

/// What a pointer of a node promises.
pub(super) fn child(block: Block<'_>, slot: usize) -> Result<Expected> {
    let ptr = match block.kind() {
        BlockKind::Node(node) => node.ptrs().get(slot),
        BlockKind::Leaf(_) => None,
    };
    let no_slot = EditError::NoSlot { slot, count: block.count() };
    ptr.map(|ptr| Expected::child(ptr, block.level())).ok_or(malformed(block.logical(), no_slot))
}
