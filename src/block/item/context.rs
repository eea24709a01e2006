//! What the check of an item knows of its surroundings.

use crate::block::{Block, ItemRef};
use crate::disk::{Key, Logical};

use super::{Damage, ItemPlace, ItemProblem, Rules};

/// The block under check, the item that is looked at, and what came before it.
pub(super) struct Context<'c> {
    pub rules: &'c Rules,
    pub tree: u64,
    block: Logical,
    level: u8,
    slot: Option<(u32, Key)>,
    /// The item before the present one, if its layout is sound.
    pub previous: Option<ItemRef<'c>>,
    pub extents: Ranges,
    pub block_groups: Ranges,
    pub free_space: Ranges,
    report: &'c mut dyn FnMut(ItemProblem),
}

impl<'c> Context<'c> {
    pub fn new(block: Block<'c>, tree: u64, rules: &'c Rules, report: &'c mut dyn FnMut(ItemProblem)) -> Self {
        let (slot, previous) = (None, None);
        let (extents, block_groups, free_space) = Default::default();
        let (level, block) = (block.level(), block.logical());
        Self { rules, tree, block, level, slot, previous, extents, block_groups, free_space, report }
    }

    pub fn enter(&mut self, slot: usize, key: Key) {
        self.slot = Some((slot as u32, key));
    }

    #[cold]
    pub fn found(&mut self, damage: impl Into<Damage>) {
        let (slot, key) = self.slot.unzip();
        let place = ItemPlace { tree: self.tree, block: self.block, level: self.level, slot, key };
        (self.report)(ItemProblem { place, damage: damage.into() });
    }

    /// The struct that makes up a whole item. `damage` is made of the size that it has and the size that it should have.
    pub fn exact<'a, T, D: Into<Damage>>(&mut self, data: &'a [u8], damage: impl FnOnce(u32, u32) -> D) -> Option<&'a T>
    where
        T: zerocopy::FromBytes + zerocopy::KnownLayout + zerocopy::Immutable + zerocopy::Unaligned,
    {
        let item = T::ref_from_bytes(data).ok();
        if item.is_none() {
            self.found(damage(data.len() as u32, size_of::<T>() as u32));
        }
        item
    }

    /// The item before this one, if it is of the same object and type.
    pub fn previous_alike(&self, item: &ItemRef<'_>) -> Option<ItemRef<'c>> {
        self.previous
            .filter(|previous| (previous.key.objectid, previous.key.key_type) == (item.key.objectid, item.key.key_type))
    }
}

/// Ranges of the address space that come one after the other.
#[derive(Default)]
pub(super) struct Ranges {
    end: u64,
}

impl Ranges {
    /// Takes the next range in. If it begins before the last one ends, that end is returned.
    pub fn push(&mut self, start: u64, length: u64) -> Option<u64> {
        let last_end = self.end;
        self.end = last_end.max(start.saturating_add(length));
        (start < last_end).then_some(last_end)
    }
}
