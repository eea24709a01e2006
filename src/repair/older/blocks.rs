//! The blocks that a scan found.

use std::io;

use crate::block::Block;
use crate::disk::{Logical, MAX_LEVEL, Transid};
use crate::table::Table;
use crate::volume::Volume;

use super::block::{OlderBlock, OlderRecord, PointerRecord, WantedRecord};
use super::lineage::Lineage;

/// The blocks that a scan found, in tables that spill to files.
#[derive(Default)]
pub struct OlderBlocks {
    /// By level, and there by first key.
    pub(super) levels: [Table<OlderRecord>; MAX_LEVEL],
    /// What the nodes among them lead to.
    pub(super) pointers: Table<PointerRecord>,
    /// References that lost nodes had.
    pub(super) wanted: Table<WantedRecord>,
}

impl OlderBlocks {
    /// Number of blocks that were found, each copy counted.
    pub fn count(&self) -> u64 {
        self.levels.iter().map(Table::count).sum()
    }

    /// The blocks of a level by their first keys; copies of one block one after the other.
    pub fn of_level(&self, level: u8) -> impl Iterator<Item = OlderBlock> {
        let table = self.levels.get(usize::from(level));
        table.into_iter().flat_map(Table::iter).map(move |record| record.block(level))
    }

    /// Reads a block that was found.
    pub fn read<'b>(volume: &'b Volume, block: &OlderBlock, buffer: &'b mut Vec<u8>) -> Option<Block<'b>> {
        let copy = volume.read_copy(&block.expected(), block.mirror, buffer).ok()?;
        Some(copy.block(buffer))
    }

    /// Whether a node that was found leads to the block of this address and generation.
    pub(super) fn is_pointed_to(&self, logical: Logical, generation: Transid) -> bool {
        let pointers = self.pointers.iter_from(logical.0).take_while(|pointer| pointer.child == logical);
        pointers.into_iter().any(|pointer| pointer.generation == generation.0)
    }

    /// Whether the extent tree has a reference to the block that no block has which was read: a lost node of the lineage led to
    /// it. References of nodes are those of any lineage.
    pub(super) fn is_wanted(&self, logical: Logical, lineage: &Lineage) -> bool {
        let mut references = self.wanted.iter_from(logical.0).take_while(|wanted| wanted.logical == logical);
        references.any(|wanted| wanted.root == 0 || lineage.has_owner(wanted.root))
    }

    /// The first error of a temporary file that records were read from: nothing that was learned is to be used then.
    pub fn failure(&self) -> Option<io::Error> {
        let of_levels = self.levels.iter().find_map(Table::failure);
        of_levels.or_else(|| self.pointers.failure()).or_else(|| self.wanted.failure())
    }
}
