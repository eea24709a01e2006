//! Which tree blocks were reached, and by what promise.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Mutex, PoisonError};

use crate::disk::Logical;

/// What became of an attempt to claim a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// Nobody was here before.
    New,
    /// Reached before, by the same promise.
    Same,
    /// Reached before, by another promise.
    Different,
}

/// The blocks that were reached, with a number for what the pointer to each promised.
#[derive(Debug, Default)]
pub struct Reached {
    promises: Mutex<HashMap<Logical, u64>>,
}

impl Reached {
    pub fn len(&self) -> u64 {
        self.promises.lock().unwrap_or_else(PoisonError::into_inner).len() as u64
    }

    pub fn claim(&self, block: Logical, promise: u64) -> Claim {
        match self.promises.lock().unwrap_or_else(PoisonError::into_inner).entry(block) {
            Entry::Vacant(entry) => {
                entry.insert(promise);
                Claim::New
            }
            Entry::Occupied(entry) if *entry.get() == promise => Claim::Same,
            Entry::Occupied(_) => Claim::Different,
        }
    }
}
