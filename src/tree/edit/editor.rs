//! The edits of a tree's items.

use std::ops::RangeInclusive;

use crate::block::edit::{LeafMut, NewItem};
use crate::disk::node::{HEADER_SIZE, Item, KeyPtr};
use crate::disk::{Key, MAX_LEVEL};
use crate::error::{EditProblem, Error, Result};
use crate::tree::TreeRoot;

use super::blocks::{Blocks, malformed};
use super::cursor::Cursor;
use super::path::{Path, view};

/// A tree that is changed. Its root moves with the edits.
///
/// What an edit can refuse ([`Error::Edit`]) it refuses before it changes anything, but for edits of more than one item.
/// Any other error, such as a lack of space, may leave the tree inconsistent: the transaction is to be dropped then.
pub struct Editor<'e, S> {
    pub(super) root: &'e mut TreeRoot,
    pub(super) store: &'e mut S,
}

impl<'e, S: Blocks> Editor<'e, S> {
    /// An editor of the tree with this root, whose blocks are in `store`. The root changes with the tree.
    pub fn new(root: &'e mut TreeRoot, store: &'e mut S) -> Self {
        Self { root, store }
    }

    /// Inserts an item.
    pub fn insert(&mut self, key: Key, data: &[u8]) -> Result<()> {
        self.insert_sorted(&[NewItem { key, data }])
    }

    /// Inserts items whose keys ascend. Each leaf is looked for once, and filled at once.
    pub fn insert_sorted(&mut self, items: &[NewItem<'_>]) -> Result<()> {
        let mut pairs = items.iter().zip(items.iter().skip(1));
        if let Some((_, item)) = pairs.find(|(item, next)| item.key >= next.key) {
            return Err(self.error(item.key, EditProblem::OutOfOrder));
        }
        let capacity = self.leaf_capacity()?;
        for item in items {
            self.check_size(item.key, item.data.len(), capacity)?;
        }
        let mut rest = items;
        while let Some(first) = rest.first() {
            rest = &rest[self.insert_some(first, rest, capacity)?..];
        }
        Ok(())
    }

    /// Inserts as many items as have room where the first of them belongs; none if room had to be made.
    fn insert_some(&mut self, first: &NewItem<'_>, items: &[NewItem<'_>], capacity: usize) -> Result<usize> {
        self.check_height(first.key)?;
        let (mut path, bytes) = Path::find(self.root, self.store, first.key, 0)?;
        if path.exact {
            return Err(self.error(first.key, EditProblem::Exists));
        }
        let slot = path.slot();
        let block = view(&bytes, path.block(), 0)?;
        let next = block.key(slot).or(path.limit);
        let fitting = count_fitting(items, next, block.room());
        drop(bytes);
        self.make_editable(&mut path)?;
        if fitting > 0 {
            self.edit_leaf(path.block(), |leaf| leaf.insert(slot, &items[..fitting]))?;
            self.fix_keys(&path, 0, slot)?;
            return Ok(fitting);
        }
        if self.make_room(&path, first.space())? {
            return Ok(0);
        }
        let fitting = count_fitting(items, next, capacity);
        let leaf = self.allocate(0, first.key)?;
        self.edit_leaf(leaf, |leaf| leaf.insert(0, &items[..fitting]))?;
        self.link(leaf, 0)?;
        Ok(fitting)
    }

    /// The data of an item, to be overwritten.
    pub fn data_mut(&mut self, key: Key) -> Result<&mut [u8]> {
        let path = self.item_path(key)?;
        let [bytes] = self.store.bytes_mut([path.block()])?;
        let data = LeafMut::new(bytes).and_then(|leaf| leaf.data_mut(path.slot()));
        data.map_err(|problem| malformed(path.block(), problem))
    }

    /// Gives an item other data, of any size.
    pub fn replace(&mut self, key: Key, data: &[u8]) -> Result<()> {
        self.resize(key, data.len())?;
        self.data_mut(key)?.copy_from_slice(data);
        Ok(())
    }

    /// Gives an item another size: it loses bytes at its end, or gains zeroes there.
    pub fn resize(&mut self, key: Key, size: usize) -> Result<()> {
        let capacity = self.leaf_capacity()?;
        self.check_size(key, size, capacity)?;
        self.check_height(key)?;
        let old_size = self.item_size(key)?;
        let path = self.item_path(key)?;
        if size.saturating_sub(old_size) <= self.block(path.block(), 0)?.room() {
            self.edit_leaf(path.block(), |leaf| leaf.resize(path.slot(), size))?;
            return if size < old_size { self.shrink(&path) } else { Ok(()) };
        }
        // There are others in the leaf, for a single item has room for every size.
        let mut data = self.data_mut(key)?.to_vec();
        data.resize(size, 0);
        self.edit_leaf(path.block(), |leaf| leaf.remove(path.slot()..path.slot() + 1))?;
        self.fix_keys(&path, 0, path.slot())?;
        self.insert(key, &data)
    }

    /// Takes `count` bytes from the beginning of an item.
    pub fn cut_front(&mut self, key: Key, count: usize) -> Result<()> {
        let size = self.item_size(key)?;
        if count > size {
            return Err(self.error(key, EditProblem::TooSmall { count, size }));
        }
        let path = self.item_path(key)?;
        self.edit_leaf(path.block(), |leaf| leaf.cut_front(path.slot(), count))?;
        self.shrink(&path)
    }

    /// Gives an item another key, which no other item may lie before.
    pub fn set_key(&mut self, key: Key, new: Key) -> Result<()> {
        let (first, last) = if new < key { (Some(new), key.predecessor()) } else { (key.successor(), Some(new)) };
        if let (Some(first), Some(last)) = (first, last)
            && let Some(between) = Cursor::at_or_after(self.root, self.store, first)?
            && between.item()?.key <= last
        {
            return Err(self.error(new, EditProblem::OutOfOrder));
        }
        let path = self.item_path(key)?;
        self.edit_leaf(path.block(), |leaf| leaf.set_key(path.slot(), new))?;
        self.fix_keys(&path, 0, path.slot())
    }

    /// Deletes an item.
    pub fn delete(&mut self, key: Key) -> Result<()> {
        let path = self.item_path(key)?;
        self.delete_slots(&path, path.slot() + 1)
    }

    /// Deletes all items with these keys, and returns how many there were.
    pub fn delete_range(&mut self, keys: RangeInclusive<Key>) -> Result<usize> {
        let (mut first, last) = keys.into_inner();
        let mut deleted = 0;
        while first <= last {
            let (mut path, bytes) = Path::find(self.root, self.store, first, 0)?;
            let block = view(&bytes, path.block(), 0)?;
            let after = block.slot_of(last);
            let after = if block.key(after) == Some(last) { after + 1 } else { after };
            let is_leaf_done = path.slot() == block.count();
            drop(bytes);
            if after > path.slot() {
                self.make_editable(&mut path)?;
                self.delete_slots(&path, after)?;
                deleted += after - path.slot();
            } else if let Some(limit) = path.limit.filter(|_| is_leaf_done) {
                first = limit;
            } else {
                break;
            }
        }
        Ok(deleted)
    }

    /// Deletes the items from where an editable path ends to the slot `after`.
    fn delete_slots(&mut self, path: &Path, after: usize) -> Result<()> {
        self.edit_leaf(path.block(), |leaf| leaf.remove(path.slot()..after))?;
        self.fix_keys(path, 0, path.slot())?;
        self.shrink(path)
    }

    fn item_size(&self, key: Key) -> Result<usize> {
        match Cursor::at(self.root, self.store, key)? {
            Some(cursor) => Ok(cursor.item()?.data.len()),
            None => Err(self.error(key, EditProblem::Missing)),
        }
    }

    /// The editable path to an item that exists.
    fn item_path(&mut self, key: Key) -> Result<Path> {
        let (mut path, _) = Path::find(self.root, self.store, key, 0)?;
        if !path.exact {
            return Err(self.error(key, EditProblem::Missing));
        }
        self.make_editable(&mut path)?;
        Ok(path)
    }

    /// Bytes for items and their data in each leaf.
    fn leaf_capacity(&self) -> Result<usize> {
        Ok(self.store.read(&self.root.expected())?.len().saturating_sub(HEADER_SIZE))
    }

    fn check_size(&self, key: Key, size: usize, capacity: usize) -> Result<()> {
        let limit = capacity.saturating_sub(size_of::<Item>());
        match size > limit {
            true => Err(self.error(key, EditProblem::TooLarge { size, limit })),
            false => Ok(()),
        }
    }

    /// Whether an item of this key has room in a tree of the greatest height. One item adds at most two leaves, and so at
    /// most two pointers to the root.
    fn check_height(&self, key: Key) -> Result<()> {
        if usize::from(self.root.level) + 1 < MAX_LEVEL {
            return Ok(());
        }
        let bytes = self.store.read(&self.root.expected())?;
        let root = view(&bytes, self.root.logical, usize::from(self.root.level))?;
        match root.room() < 2 * size_of::<KeyPtr>() {
            true => Err(self.error(key, EditProblem::TooHigh)),
            false => Ok(()),
        }
    }

    pub(super) fn tree(&self) -> u64 {
        self.root.key.objectid
    }

    pub(super) fn error(&self, key: Key, problem: EditProblem) -> Error {
        Error::Edit { tree: self.tree(), key, problem }
    }
}

/// How many of the items lie before the key `next` and fit into `room` bytes together.
fn count_fitting(items: &[NewItem<'_>], next: Option<Key>, mut room: usize) -> usize {
    let fits = |item: &&NewItem<'_>| {
        let left = room.checked_sub(item.space());
        room = left.unwrap_or(0);
        left.is_some() && next.is_none_or(|next| item.key < next)
    };
    items.iter().take_while(fits).count()
}

/// Makes a new tree without items. `key` is that of its root item, as in [`TreeRoot`].
pub fn create<S: Blocks>(store: &mut S, key: Key) -> Result<TreeRoot> {
    let logical = store.allocate(key.objectid, 0, Key::MIN)?;
    let mut root = TreeRoot { key, logical, level: 0, generation: None };
    Editor::new(&mut root, store).set_root(logical, 0)?;
    Ok(root)
}
