//! The way from the root to a key.

use crate::block::edit::EditError;
use crate::block::verify::Expected;
use crate::block::{Block, BlockKind};
use crate::disk::{Key, Logical, MAX_LEVEL};
use crate::error::Result;
use crate::tree::TreeRoot;

use super::blocks::{Blocks, malformed};

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

/// A block, which is of `level`.
pub(super) fn view(bytes: &[u8], logical: Logical, level: usize) -> Result<Block<'_>> {
    match Block::new(bytes).filter(|block| usize::from(block.level()) == level) {
        Some(block) => Ok(block),
        None => Err(malformed(logical, EditError::Malformed("level"))),
    }
}

/// What a pointer of a node says of its block.
pub(super) fn child(block: Block<'_>, slot: usize) -> Result<Expected> {
    let ptr = match block.kind() {
        BlockKind::Node(node) => node.ptrs().get(slot),
        BlockKind::Leaf(_) => None,
    };
    let no_slot = EditError::NoSlot { slot, count: block.count() };
    ptr.map(|ptr| Expected::child(ptr, block.level())).ok_or(malformed(block.logical(), no_slot))
}
