//! Which tree blocks were reached, and by what promise.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};

use crate::block::verify::Expected;
use crate::disk::Logical;
use crate::mix::mix;

/// What became of an attempt to claim a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// Not reached before.
    New,
    /// Reached before, by a pointer that says the same of it.
    Same,
    /// Reached before, by pointers that say something else: at most one of them can be true of the block.
    Different,
}

/// The blocks that were reached, with a number for what the pointer to each says.
#[derive(Debug, Default)]
pub struct Reached {
    promises: HashMap<Logical, u64>,
    /// What pointers say, but for the first.
    others: HashSet<(Logical, u64)>,
}

impl Reached {
    pub fn count(&self) -> u64 {
        self.promises.len() as u64
    }

    pub fn claim(&mut self, block: Logical, promise: u64) -> Claim {
        match self.promises.entry(block) {
            Entry::Vacant(entry) => {
                entry.insert(promise);
                Claim::New
            }
            Entry::Occupied(entry) if *entry.get() == promise => Claim::Same,
            Entry::Occupied(_) if self.others.insert((block, promise)) => Claim::Different,
            Entry::Occupied(_) => Claim::Same,
        }
    }
}

/// What a pointer says of its block, in a number.
pub fn promise(expected: &Expected) -> u64 {
    let key = expected.first_key.unwrap_or_default();
    let generation = expected.generation.unwrap_or_default().0;
    let level = expected.level.unwrap_or_default().into();
    mix(&[level, generation, key.objectid, key.key_type.0.into(), key.offset])
}
