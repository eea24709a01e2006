//! What keeps the blocks of a tree neither too full nor too empty, and the pointers to them right.

use std::ops::Range;

use crate::block::Block;
use crate::block::edit::transfer;
use crate::disk::node::KeyPtr;
use crate::disk::{Key, Logical, MAX_LEVEL};
use crate::error::{EditProblem, Result};

use super::blocks::{Blocks, malformed};
use super::editor::Editor;
use super::path::{Path, child, view};

/// The neighbours that a block has below the same parent.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Left,
    Right,
}

/// A neighbour: its slot in the parent, and the bytes that its elements take.
struct Sibling {
    slot: usize,
    used: usize,
}

impl<S: Blocks> Editor<'_, S> {
    /// Makes room for an element of `need` bytes where an editable path ends: its place is to be looked for again.
    /// False if nothing was changed, and the element is to begin a block of its own.
    pub(super) fn make_room(&mut self, path: &Path, need: usize) -> Result<bool> {
        if self.push(path, need, Side::Right)? || self.push(path, need, Side::Left)? {
            return Ok(true);
        }
        let slot = path.slot();
        let block = self.block(path.block(), path.level)?;
        // What comes in order fills block after block.
        if slot == 0 || slot == block.count() {
            return Ok(false);
        }
        // If the element fits on neither side of any cut, then between the halves.
        let cut = best_cut(block, slot, need, (0, 0), block.capacity()).unwrap_or(slot);
        self.split(path, cut)?;
        Ok(true)
    }

    /// Moves elements to a sibling so that both have room, for an element of `need` bytes and for some more: a sibling is
    /// not worth changing for a few bytes.
    fn push(&mut self, path: &Path, need: usize, side: Side) -> Result<bool> {
        let Some(sibling) = self.sibling(path, path.level, side)? else { return Ok(false) };
        let (level, at) = (path.level, path.block());
        let (parent, parent_slot) = (path.blocks[level + 1], path.slots[level + 1]);
        let block = self.block(at, level)?;
        let (count, limit) = (block.count(), block.capacity() - block.capacity() / 8);
        let beside = if side == Side::Left { (sibling.used, 0) } else { (0, sibling.used) };
        let Some(cut) = best_cut(block, path.slot(), need, beside, limit) else { return Ok(false) };
        let logical = self.make_child_editable(parent, level + 1, sibling.slot)?;
        let (right, right_slot) = match side {
            Side::Left => {
                let end = self.block(logical, level)?.count();
                self.transfer(logical, end, at, 0..cut)?;
                (at, parent_slot)
            }
            Side::Right => {
                self.transfer(logical, 0, at, cut..count)?;
                (logical, sibling.slot)
            }
        };
        let key = self.first_key(right, level)?;
        self.edit_node(parent, |node| node.set_key(right_slot, key))?;
        Ok(true)
    }

    /// Moves the elements from `cut` on to a new block on the right.
    fn split(&mut self, path: &Path, cut: usize) -> Result<()> {
        let (level, at) = (path.level, path.block());
        let block = self.block(at, level)?;
        let (count, key) = (block.count(), block.key(cut).unwrap_or_default());
        let right = self.allocate(level, key)?;
        self.transfer(right, 0, at, cut..count)?;
        self.link(right, level)
    }

    /// Puts a block, which has elements, into the tree.
    pub(super) fn link(&mut self, logical: Logical, level: usize) -> Result<()> {
        let ptr = self.ptr_to(logical, level)?;
        let key = Key::from(&ptr.key);
        let level = level + 1;
        if level > usize::from(self.root.level) {
            return self.grow(ptr);
        }
        loop {
            let path = self.editable_path(key, level)?;
            if self.block(path.block(), level)?.room() >= size_of::<KeyPtr>() {
                self.edit_node(path.block(), |node| node.insert(path.slot(), &[ptr]))?;
                return self.fix_keys(&path, level, path.slot());
            }
            if !self.make_room(&path, size_of::<KeyPtr>())? {
                let node = self.allocate(level, key)?;
                self.edit_node(node, |node| node.insert(0, &[ptr]))?;
                return self.link(node, level);
            }
        }
    }

    /// Puts a new root above the old one and the block that `ptr` leads to.
    fn grow(&mut self, ptr: KeyPtr) -> Result<()> {
        let level = usize::from(self.root.level);
        if level + 1 >= MAX_LEVEL {
            return Err(self.error(Key::from(&ptr.key), EditProblem::TooHigh));
        }
        let mut ptrs = [self.ptr_to(self.root.logical, level)?, ptr];
        ptrs.sort_by_key(|ptr| Key::from(&ptr.key));
        let root = self.allocate(level + 1, Key::from(&ptrs[0].key))?;
        self.edit_node(root, |node| node.insert(0, &ptrs))?;
        self.set_root(root, level + 1)
    }

    /// Tells the nodes above that the first key of the path's block on `level` may have changed, if `slot`, where it was
    /// changed, is the first.
    pub(super) fn fix_keys(&mut self, path: &Path, level: usize, slot: usize) -> Result<()> {
        if slot != 0 || level == path.top {
            return Ok(());
        }
        let Some(key) = self.block(path.blocks[level], level)?.first_key() else { return Ok(()) };
        for above in level + 1..=path.top {
            let slot = path.slots[above];
            self.edit_node(path.blocks[above], |node| node.set_key(slot, key))?;
            if slot != 0 {
                break;
            }
        }
        Ok(())
    }

    /// To be called when the block where an editable path ends has lost bytes: an empty one is taken out of the tree, and
    /// one that is less than a third full is divided among its siblings if they have room for it.
    pub(super) fn shrink(&mut self, path: &Path) -> Result<()> {
        for level in path.level..path.top {
            let block = self.block(path.blocks[level], level)?;
            if block.count() == 0 {
                self.unlink(path, level)?;
            } else if block.used() >= block.capacity() / 3 || !self.empty_into_siblings(path, level)? {
                return Ok(());
            }
            self.fix_keys(path, level + 1, path.slots[level + 1])?;
        }
        self.lower_root()
    }

    /// Divides the elements of a path's block among its siblings, and takes the block out of the tree. False if they have
    /// no room for that.
    fn empty_into_siblings(&mut self, path: &Path, level: usize) -> Result<bool> {
        let at = path.blocks[level];
        let (parent, parent_slot) = (path.blocks[level + 1], path.slots[level + 1]);
        let (left, right) = (self.sibling(path, level, Side::Left)?, self.sibling(path, level, Side::Right)?);
        let block = self.block(at, level)?;
        let count = block.count();
        let room = |sibling: &Option<Sibling>| {
            sibling.as_ref().map_or(0, |sibling| block.capacity().saturating_sub(sibling.used))
        };
        let (left_room, right_room) = (room(&left), room(&right));
        let cut = (1..=count).take_while(|cut| block.used_before(*cut) <= left_room).last().unwrap_or(0);
        if block.used() > right_room + block.used_before(cut) {
            return Ok(false);
        }
        if let Some(left) = left.filter(|_| cut > 0) {
            let logical = self.make_child_editable(parent, level + 1, left.slot)?;
            let end = self.block(logical, level)?.count();
            self.transfer(logical, end, at, 0..cut)?;
        }
        let right = match right.filter(|_| cut < count) {
            Some(right) => {
                let logical = self.make_child_editable(parent, level + 1, right.slot)?;
                self.transfer(logical, 0, at, 0..count - cut)?;
                Some(self.first_key(logical, level)?)
            }
            None => None,
        };
        self.unlink(path, level)?;
        if let Some(key) = right {
            // It has come to the slot of the block that is gone.
            self.edit_node(parent, |node| node.set_key(parent_slot, key))?;
        }
        Ok(true)
    }

    /// Takes the path's block on `level`, which is empty, out of its parent.
    fn unlink(&mut self, path: &Path, level: usize) -> Result<()> {
        let slot = path.slots[level + 1];
        self.edit_node(path.blocks[level + 1], |node| node.remove(slot..slot + 1))?;
        self.store.free(self.tree(), path.blocks[level], level as u8);
        Ok(())
    }

    /// While the root, which is editable, is a node with one pointer, its child becomes the root. The root of an empty
    /// tree is a leaf.
    fn lower_root(&mut self) -> Result<()> {
        while self.root.level > 0 {
            let (old, level) = (self.root.logical, usize::from(self.root.level));
            match self.block(old, level)?.count() {
                0 => {
                    let leaf = self.allocate(0, Key::MIN)?;
                    self.set_root(leaf, 0)?;
                }
                1 => {
                    // As a root it is named by nobody but this tree: it must not be shared with another.
                    let child = self.make_child_editable(old, level, 0)?;
                    self.set_root(child, level - 1)?;
                }
                _ => return Ok(()),
            }
            self.store.free(self.tree(), old, level as u8);
        }
        Ok(())
    }

    /// The sibling of a path's block on `level`. It is read, and not made editable.
    fn sibling(&mut self, path: &Path, level: usize, side: Side) -> Result<Option<Sibling>> {
        if level == path.top {
            return Ok(None);
        }
        let (parent, slot) = (path.blocks[level + 1], path.slots[level + 1]);
        let slot = match side {
            Side::Left => slot.checked_sub(1),
            Side::Right => Some(slot + 1),
        };
        let parent = self.block(parent, level + 1)?;
        let Some(slot) = slot.filter(|slot| *slot < parent.count()) else { return Ok(None) };
        let expected = child(parent, slot)?;
        let bytes = self.store.read(&expected)?;
        Ok(Some(Sibling { slot, used: view(&bytes, expected.logical, level)?.used() }))
    }

    fn transfer(&mut self, to: Logical, slot: usize, from: Logical, slots: Range<usize>) -> Result<()> {
        let [to_bytes, from_bytes] = self.store.bytes_mut([to, from])?;
        transfer(to_bytes, slot, from_bytes, slots).map_err(|problem| malformed(from, problem))
    }

    fn first_key(&mut self, logical: Logical, level: usize) -> Result<Key> {
        Ok(Key::from(&self.ptr_to(logical, level)?.key))
    }

    pub(super) fn allocate(&mut self, level: usize, first_key: Key) -> Result<Logical> {
        self.store.allocate(self.tree(), level as u8, first_key)
    }

    pub(super) fn set_root(&mut self, logical: Logical, level: usize) -> Result<()> {
        let generation = self.block(logical, level)?.generation();
        (self.root.logical, self.root.level, self.root.generation) = (logical, level as u8, Some(generation));
        Ok(())
    }
}

/// Where a block's elements, and a new one of `need` bytes before that at `slot`, are best divided in two when `beside`
/// bytes stand already to their left and to their right: as evenly as possible. None of the two may have more than `limit`
/// bytes then, and an element of the block stays on each side. An element at the cut goes to the left.
fn best_cut(block: Block<'_>, slot: usize, need: usize, beside: (usize, usize), limit: usize) -> Option<usize> {
    let total = beside.0 + beside.1 + block.used() + need;
    let fuller = |cut: &usize| {
        let new = if *cut >= slot { need } else { 0 };
        let left = beside.0 + block.used_before(*cut) + new;
        left.max(total.saturating_sub(left))
    };
    if total > 2 * limit {
        return None;
    }
    (1..block.count()).min_by_key(fuller).filter(|cut| fuller(cut) <= limit)
}
