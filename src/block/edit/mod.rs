//! Changing the bytes of one tree block.
//!
//! The data of a leaf's items is packed from the end of the block downwards, in the order of the items and without gaps;
//! bytes that no element uses any more are zeroed. The blocks are the caller's, and were verified when they were read.
//! Where they are malformed all the same an edit fails, maybe half done, and never panics.

mod leaf;
mod new_block;
mod node;
mod slots;
#[cfg(test)]
mod tests;
mod whole;

pub use leaf::{LeafMut, NewItem};
pub use new_block::{NewBlock, set_logical};
pub use node::NodeMut;
pub use slots::EditError;
pub use whole::{check_layout, clear_unused, transfer};
