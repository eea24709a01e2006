//! The blocks that a scan found.

use std::collections::HashSet;
use std::io;

use crate::block::Block;
use crate::disk::{Logical, MAX_LEVEL, Transid};
use crate::table::Table;
use crate::volume::Volume;

use super::block::{OlderBlock, OlderRecord, PointerRecord, State, StrayRecord, WantedRecord};
use super::lineage::Lineage;

/// The blocks that a scan found, in tables that spill to files.
#[derive(Default)]
pub struct OlderBlocks {
    /// By level, and there by first key.
    pub(super) levels: [Table<OlderRecord>; MAX_LEVEL],
    /// What the nodes among them lead to.
    pub(super) pointers: Table<PointerRecord>,
    /// Blocks that stand elsewhere than at the address that they name.
    pub(super) strays: Table<StrayRecord>,
    /// References that lost nodes had.
    pub(super) wanted: Table<WantedRecord>,
    /// Backup roots, with their generations.
    pub(super) backups: Vec<(Logical, Transid)>,
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

    /// Where blocks stand that nothing leads to, in the order of addresses.
    pub fn places(&self) -> Vec<Logical> {
        let levels = (0..MAX_LEVEL as u8).flat_map(|level| self.of_level(level));
        let older = levels.filter(|block| block.state == State::Older).map(|block| block.logical);
        let mut places: Vec<Logical> = older.chain(self.strays.iter().map(|stray| stray.place)).collect();
        places.sort_unstable();
        places.dedup();
        places
    }

    /// Reads a block that was found.
    pub fn read<'b>(volume: &'b Volume, block: &OlderBlock, buffer: &'b mut Vec<u8>) -> Option<Block<'b>> {
        let copy = volume.read_copy(&block.expected(), block.mirror, buffer).ok()?;
        Some(copy.block(buffer))
    }

    /// What `is_it` takes for the lost block at `logical`, among the blocks that name this address and stand elsewhere.
    pub fn stray(
        &self,
        volume: &Volume,
        logical: Logical,
        is_it: impl Fn(&[u8]) -> bool,
    ) -> Option<(Logical, Vec<u8>)> {
        let mut bytes = vec![0; volume.format().nodesize as usize];
        let mut strays = self.strays.iter_from(logical.0).take_while(|stray| stray.logical == logical);
        let found = strays.find(|stray| {
            let mirror = u16::try_from(stray.mirror).unwrap_or(u16::MAX);
            volume.read(stray.place, mirror, &mut bytes).is_ok() && is_it(&bytes)
        })?;
        Some((found.place, bytes))
    }

    /// Whether a node that was found leads to the block of this address and generation.
    pub(super) fn is_pointed_to(&self, logical: Logical, generation: Transid) -> bool {
        self.pointers_to(logical, generation).next().is_some()
    }

    /// The pointers of nodes that were found to the block of this address and generation.
    pub(super) fn pointers_to(&self, logical: Logical, generation: Transid) -> impl Iterator<Item = PointerRecord> {
        let pointers = self.pointers.iter_from(logical.0).take_while(move |pointer| pointer.child == logical);
        pointers.filter(move |pointer| pointer.generation == generation.0)
    }

    /// Whether a node that was found or a backup root leads to the block of this address and generation.
    pub(super) fn is_committed(&self, logical: Logical, generation: Transid) -> bool {
        self.backups.contains(&(logical, generation)) || self.is_pointed_to(logical, generation)
    }

    /// Whether the extent tree has a reference to the block that no block has which was read: a lost node of the lineage led to
    /// it. References of nodes are those of any lineage.
    pub(super) fn is_wanted(&self, logical: Logical, lineage: &Lineage) -> bool {
        let mut references = self.wanted.iter_from(logical.0).take_while(|wanted| wanted.logical == logical);
        references.any(|wanted| wanted.root == 0 || lineage.has_owner(wanted.root))
    }

    /// Whether a block is not there that a lost node of the lineage led to.
    pub fn lacks_wanted(&self, lineage: &Lineage) -> bool {
        let levels = (0..MAX_LEVEL as u8).flat_map(|level| self.of_level(level));
        let found: HashSet<Logical> =
            levels.map(|block| block.logical).filter(|logical| self.is_wanted(*logical, lineage)).collect();
        let mut wanted = self.wanted.iter().filter(|wanted| wanted.root == 0 || lineage.has_owner(wanted.root));
        wanted.any(|wanted| !found.contains(&wanted.logical))
    }

    /// The first error of a temporary file that records were read from: nothing that was learned is to be used then.
    pub fn failure(&self) -> Option<io::Error> {
        let of_levels = self.levels.iter().find_map(Table::failure);
        let others = || self.pointers.failure().or_else(|| self.strays.failure()).or_else(|| self.wanted.failure());
        of_levels.or_else(others)
    }
}
