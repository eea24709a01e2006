//! The store of blocks that a tree is changed over.

use std::ops::Deref;

use crate::block::edit::EditError;
use crate::block::verify::Expected;
use crate::disk::{Key, Logical};
use crate::error::{Addressed, Error, Result};

/// Where an edit gets its blocks. Reference counts, the owners of shared blocks and space are the store's business.
pub trait Blocks {
    /// The bytes of a block that was read.
    type Bytes<'b>: Deref<Target = [u8]>
    where
        Self: 'b;

    /// The bytes of a block, which is verified against what its parent says of it.
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

/// The error of a block that cannot be edited as it is.
pub(super) fn malformed(logical: Logical, problem: EditError) -> Error {
    Error::Block { what: Addressed::TreeBlock, logical, problem: problem.into() }
}
