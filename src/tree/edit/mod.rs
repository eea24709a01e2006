//! Changing a tree by copy-on-write, over blocks that the caller provides.
//!
//! A block is found by its parent and made editable from the root down before it is changed; blocks that an edit only
//! passes through are not. The tree is whole between edits: the key of each pointer is the first key of its block, and no
//! block but an empty tree's root is empty.

mod blocks;
mod cursor;
mod descend;
mod editor;
mod path;
mod renew;
mod split;

pub use crate::block::edit::NewItem;
pub use blocks::Blocks;
pub use cursor::Cursor;
pub use editor::{Editor, create};
