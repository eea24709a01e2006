//! The free space tree, kept in step: the items of a block group are made to say what is free in it.

use std::ops::RangeInclusive;

use crate::block::ItemRef;
use crate::disk::{Key, Logical};
use crate::error::Result;
use crate::space::FreeExtents;
use crate::space::free_space_items::{Group, Items};
use crate::tree::TreeRoot;
use crate::tree::edit::{Blocks, Cursor, Editor, NewItem};

use super::filesystem::Filesystem;

impl Filesystem {
    /// Deletes what the free space tree, if there is one, says of a block group of `length` bytes.
    pub fn remove_free_space(&self, logical: Logical, length: u64) -> Result<()> {
        let Some(mut tree) = self.free_space_tree() else { return Ok(()) };
        let (root, mut store) = tree.parts(self);
        remove(root, &mut store, logical, length)
    }
}

/// Makes the items of a block group say what is free in it; a group without items is a new one. No block is made editable
/// if they say it already. Present items that make no sense are an error, and so are free ranges outside of the group:
/// nothing is changed then.
pub fn update<S: Blocks>(
    root: &mut TreeRoot,
    store: &mut S,
    group: &Group,
    free: &FreeExtents,
    sectorsize: u32,
) -> Result<()> {
    let present = read(root, store, group.keys()?)?;
    let wanted = group.items(&present, free, sectorsize)?;

    let mut editor = Editor::new(root, store);
    // Insertions come first: a leaf that lost items before would be merged with its siblings, and divided again.
    let new = wanted.iter().filter(|(key, _)| !present.contains_key(key));
    editor.insert_sorted(&new.map(|(key, data)| NewItem { key: *key, data }).collect::<Vec<_>>())?;
    for (key, data) in &wanted {
        if present.get(key).is_some_and(|present| present != data) {
            editor.replace(*key, data)?;
        }
    }
    present.keys().filter(|key| !wanted.contains_key(key)).try_for_each(|key| editor.delete(*key))
}

/// Deletes all items of a block group of `length` bytes.
pub fn remove<S: Blocks>(root: &mut TreeRoot, store: &mut S, logical: Logical, length: u64) -> Result<()> {
    let keys = Group { logical, length }.keys()?;
    Editor::new(root, store).delete_range(keys).map(drop)
}

fn read<S: Blocks>(root: &TreeRoot, store: &S, keys: RangeInclusive<Key>) -> Result<Items> {
    let mut items = Items::new();
    let Some(mut cursor) = Cursor::at_or_after(root, store, *keys.start())? else { return Ok(items) };
    loop {
        let ItemRef { key, data, .. } = cursor.item()?;
        if key > *keys.end() {
            break;
        }
        items.insert(key, data.to_vec());
        if !cursor.to_next()? {
            break;
        }
    }
    Ok(items)
}
