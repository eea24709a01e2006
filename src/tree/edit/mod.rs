//! Changing a tree by copy-on-write, over blocks that the caller provides.
//!
//! A block is found by its parent and made editable from the root down before it is changed; blocks that an edit only
//! passes through are not. The tree is whole between edits: the key of each pointer is the first key of its block, and no
//! block but an empty tree's root is empty.

mod cursor;
mod editor;
mod path;
mod split;

use std::ops::Deref;

use crate::block::edit::EditError;
use crate::block::verify::Expected;
use crate::disk::{Key, Logical};
use crate::error::{Error, Result};

use super::TreeRoot;

pub use crate::block::edit::NewItem;
pub use cursor::Cursor;
pub use editor::Editor;

/// Where an edit gets its blocks. Reference counts, the owners of shared blocks and space are the store's business.
pub trait Blocks {
    /// The bytes of a block that was read.
    type Bytes<'b>: Deref<Target = [u8]>
    where
        Self: 'b;

    /// The bytes of a block, which is verified against what its parent promises.
    fn read(&self, expected: &Expected) -> Result<Self::Bytes<'_>>;

    /// Makes a block of `tree` one that this transaction may change in place: itself if it is that already, else a copy
    /// at another address, whose header has that address and the transaction's generation. `parent` is editable; a
    /// root has none. Returns the address.
    fn make_editable(&mut self, tree: u64, expected: &Expected, parent: Option<Logical>) -> Result<Logical>;

    /// The bytes of editable blocks, which are different ones.
    fn bytes_mut<const N: usize>(&mut self, blocks: [Logical; N]) -> Result<[&mut [u8]; N]>;

    /// A new editable block of `tree`, which is empty. `first_key` is the first key that it will hold.
    fn allocate(&mut self, tree: u64, level: u8, first_key: Key) -> Result<Logical>;

    /// Takes back an editable block that is no longer in the tree.
    fn free(&mut self, tree: u64, block: Logical, level: u8);
}

/// Makes a new tree without items. `key` is that of its root item, as in [`TreeRoot`].
pub fn create<S: Blocks>(store: &mut S, key: Key) -> Result<TreeRoot> {
    let logical = store.allocate(key.objectid, 0, Key::MIN)?;
    let mut root = TreeRoot { key, logical, level: 0, generation: None };
    Editor::new(&mut root, store).set_root(logical, 0)?;
    Ok(root)
}

fn malformed(logical: Logical, problem: EditError) -> Error {
    Error::Block { what: "tree block", logical, problem: problem.to_string() }
}
