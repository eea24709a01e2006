//! Stores for a tree that its builder builds twice: once to count its blocks, and once in the places that it has chosen for them.

use crate::disk::{Key, Logical};
use crate::error::{Error, Result};
use crate::tree::build::{BuiltBlock, Store};

/// Blocks that are noted instead of written: where they would stand does not change how many there are.
#[derive(Default)]
pub struct OutlineStore {
    /// Level and first key of each block, in the order in which the blocks are written.
    pub blocks: Vec<(u8, Key)>,
}

impl Store for OutlineStore {
    const WRITES: bool = false;

    fn allocate(&mut self) -> Result<Logical> {
        Ok(Logical(0))
    }

    fn write(&mut self, block: &BuiltBlock, _: &[u8]) -> Result<()> {
        self.blocks.push((block.level, block.first_key));
        Ok(())
    }
}

/// Gives each block the next of the places that the builder has chosen.
pub struct PlacedStore<'a, F> {
    /// The places, in the order in which the blocks are written.
    pub places: std::slice::Iter<'a, Logical>,
    /// Takes each block.
    pub write: F,
}

impl<F: FnMut(&BuiltBlock, &[u8]) -> Result<()>> Store for PlacedStore<'_, F> {
    fn allocate(&mut self) -> Result<Logical> {
        let error = || Error::Internal { problem: "a tree has more blocks than were counted".to_owned() };
        self.places.next().copied().ok_or_else(error)
    }

    fn write(&mut self, block: &BuiltBlock, bytes: &[u8]) -> Result<()> {
        (self.write)(block, bytes)
    }
}
