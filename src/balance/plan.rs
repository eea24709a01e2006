//! What a balance would do, in which order, and what would be there after it.

use std::collections::{BTreeMap, BTreeSet};

use crate::disk::flags::block_group;
use crate::disk::{Logical, Profile};
use crate::dump::layout::Layout;
use crate::error::{Error, Result};
use crate::relocate::Takers;
use crate::trans::Filesystem;

use super::choice::{Chosen, choose};
use super::request::Balance;
use super::room::{Lack, Room};

/// A balance that was planned and not begun.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The block groups in the order in which they are emptied.
    pub steps: Vec<Chosen>,
    /// How many of the steps, the last ones, have no room by this plan; and what the first of them lacks.
    pub without_room: usize,
    /// Bytes that the first step without room lacks.
    pub lack: u64,
    /// What is there.
    pub before: Layout,
    /// What would be there: extents are taken to fit where there are enough free bytes, and trees to stay as large as they are.
    pub after: Layout,
}

impl Plan {
    /// Plans a balance.
    ///
    /// # Errors
    /// The filesystem cannot be balanced so: see [`Balance::check`].
    pub fn new(fs: &Filesystem, balance: &Balance) -> Result<Self> {
        balance.check(fs)?;
        Ok(Self::of(fs, choose(fs, balance)))
    }

    /// Plans to empty these block groups.
    fn of(fs: &Filesystem, mut waiting: Vec<Chosen>) -> Self {
        let sources: BTreeSet<Logical> = waiting.iter().map(|group| group.chunk.logical).collect();
        let mut room = Room::of(fs, &sources);
        let before = room.layout();
        sort(&mut waiting);
        let mut steps = Vec::with_capacity(waiting.len());
        let mut lack = 0;
        // What goes makes room for what had none before.
        while !waiting.is_empty() {
            let staying = next_step(&mut room, &waiting, Takers::Staying);
            let (next, is_gone) = match staying.or_else(|_| next_step(&mut room, &waiting, Takers::All)) {
                Ok(step) => step,
                Err(Lack { bytes }) => {
                    lack = bytes;
                    break;
                }
            };
            let step = waiting.remove(next);
            if is_gone {
                steps.push(step);
            }
        }
        let without_room = waiting.len();
        steps.append(&mut waiting);
        Self { steps, without_room, lack, before, after: room.layout() }
    }

    /// Plans to empty the chunks at these addresses into others of their types.
    ///
    /// # Errors
    /// There is no such chunk, or one is empty and the last of its type.
    pub fn of_chunks(fs: &Filesystem, chunks: &[Logical]) -> Result<Self> {
        let mut all = choose(fs, &Balance::full());
        if let Some(logical) = chunks.iter().find(|logical| !all.iter().any(|group| group.chunk.logical == **logical)) {
            return Err(Error::NoChunk { logical: *logical });
        }
        all.retain(|group| chunks.contains(&group.chunk.logical));
        let plan = Self::of(fs, all);
        let is_step = |logical: &Logical| plan.steps.iter().any(|step| step.chunk.logical == *logical);
        match chunks.iter().find(|logical| !is_step(logical)) {
            Some(logical) => Err(Error::LastChunk { logical: *logical }),
            None => Ok(plan),
        }
    }

    /// Bytes in use of the block groups of these types that have room.
    pub fn bytes(&self, type_bits: u64) -> u64 {
        let steps = self.steps.iter().take(self.steps.len().saturating_sub(self.without_room));
        steps.filter(|step| step.chunk.flags.0 & type_bits != 0).map(|step| step.used).fold(0, u64::saturating_add)
    }
}

/// Empties the first block group that has room: which of them, and whether its chunk is gone.
///
/// # Errors
/// None has room. What the first of them lacks.
fn next_step(room: &mut Room, waiting: &[Chosen], takers: Takers) -> Result<(usize, bool), Lack> {
    // What is no smaller than another that had no room has none either.
    let mut smallest: BTreeMap<(u64, Profile), u64> = BTreeMap::new();
    let mut first = None;
    for (index, group) in waiting.iter().enumerate() {
        let (kind, used) = ((group.chunk.flags.type_bits(), group.into), room.used(group.chunk.logical));
        if smallest.get(&kind).is_some_and(|smallest| used >= *smallest) {
            continue;
        }
        match room.empty(group.chunk.logical, group.into, takers) {
            Ok(is_gone) => return Ok((index, is_gone)),
            Err(lack) => {
                first = first.or(Some(lack));
                smallest.insert(kind, used);
            }
        }
    }
    Err(first.unwrap_or(Lack { bytes: 0 }))
}

/// What describes all else comes first, so that nothing is safer than what leads to it; the emptiest of each type first, for what
/// they give back is room for the others.
fn sort(groups: &mut [Chosen]) {
    groups.sort_by_key(|group| {
        let order = [block_group::METADATA, block_group::SYSTEM, block_group::DATA];
        let rank = order.into_iter().position(|type_bits| group.chunk.flags.contains(type_bits));
        (rank, group.used, group.chunk.logical)
    });
}
