//! Delayed references: changes of extents and of the references to them that are yet to be noted in the extent tree. To note
//! them there makes new ones, so that they wait until the end of the transaction (fs/btrfs/delayed-ref.c).

pub mod item;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use crate::block::extent_item::ExtentKind;
use crate::block::reference::Reference;
use crate::disk::{Key, Logical};
use crate::error::{Addressed, Error, ExtentProblem, Result};

/// What is to become of one extent.
#[derive(Clone, Debug)]
pub struct DelayedRef {
    /// What the extent is.
    pub kind: ExtentKind,
    /// Of an extent that has no item yet, the first key of the block; any key for data.
    pub new: Option<Key>,
    /// How many references of each kind come, or go.
    pub counts: BTreeMap<Reference, i64>,
    /// Whether the references of the block to others are to be those of a parent from now on.
    pub sets_full_backref: bool,
}

impl DelayedRef {
    fn none(kind: ExtentKind) -> Self {
        Self { kind, new: None, counts: BTreeMap::new(), sets_full_backref: false }
    }
}

/// How an extent is shared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sharing {
    /// Number of references.
    pub refs: u64,
    /// Whether the block has full back references.
    pub has_full_backref: bool,
}

/// What waits, by address. It and the extent tree say together how an extent is shared.
#[derive(Debug, Default)]
pub struct DelayedRefs {
    by_address: BTreeMap<Logical, DelayedRef>,
    /// Lengths of new extents of data without a reference yet: they wait for one until the commit.
    unreferenced: BTreeMap<Logical, u64>,
}

impl DelayedRefs {
    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.by_address.is_empty()
    }

    /// A new block, to which nothing but its tree refers.
    pub fn add_block(&mut self, logical: Logical, level: u8, first_key: Key, tree: u64) {
        let (kind, counts) = (ExtentKind::Block { level }, BTreeMap::from([(Reference::TreeBlock { root: tree }, 1)]));
        self.by_address.insert(logical, DelayedRef { kind, new: Some(first_key), counts, sets_full_backref: false });
    }

    /// A new extent of data, without a reference yet.
    pub fn add_data(&mut self, logical: Logical, length: u64) {
        self.unreferenced.insert(logical, length);
    }

    /// The new extents of data without a reference until now.
    pub fn take_unreferenced(&mut self) -> Vec<FreedData> {
        let unreferenced = std::mem::take(&mut self.unreferenced).into_iter();
        unreferenced.map(|(logical, length)| FreedData { logical, length }).collect()
    }

    /// Forgets a new block; false if its item is there already.
    #[must_use]
    pub fn forget_block(&mut self, logical: Logical) -> bool {
        match self.by_address.entry(logical) {
            Entry::Occupied(entry) if entry.get().new.is_some() => {
                entry.remove();
                true
            }
            _ => false,
        }
    }

    /// Adds references, or drops them where `by` is negative.
    pub fn count(&mut self, logical: Logical, kind: ExtentKind, reference: Reference, by: i64) -> Result<()> {
        let change = self.entry(logical, kind)?;
        let count = change.counts.entry(reference).or_default();
        *count = count.checked_add(by).ok_or_else(|| damage(logical, ExtentProblem::Uncountable))?;
        Ok(())
    }

    /// A tree gives up a block.
    pub fn drop_block(&mut self, logical: Logical, level: u8, tree: u64) -> Result<()> {
        self.count(logical, ExtentKind::Block { level }, Reference::TreeBlock { root: tree }, -1)
    }

    /// From now on the references of a block of the last commit to others are those of a parent.
    pub fn set_full_backref(&mut self, logical: Logical, level: u8) -> Result<()> {
        self.entry(logical, ExtentKind::Block { level })?.sets_full_backref = true;
        Ok(())
    }

    fn entry(&mut self, logical: Logical, kind: ExtentKind) -> Result<&mut DelayedRef> {
        let change = match self.by_address.entry(logical) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => {
                let unreferenced = match self.unreferenced.remove(&logical) {
                    Some(length) => DelayedRef { new: Some(Key::MIN), ..DelayedRef::none(ExtentKind::Data { length }) },
                    None => DelayedRef::none(kind),
                };
                entry.insert(unreferenced)
            }
        };
        match change.kind == kind {
            true => Ok(change),
            false => Err(damage(logical, ExtentProblem::Mistaken)),
        }
    }

    /// How an extent is shared; `noted` is what the extent tree says.
    pub fn sharing(&self, logical: Logical, noted: Sharing) -> Result<Sharing> {
        let Some(change) = self.by_address.get(&logical) else { return Ok(noted) };
        let change_of_refs = change.counts.values().fold(0_i64, |sum, count| sum.saturating_add(*count));
        let refs = noted.refs.checked_add_signed(change_of_refs);
        let refs = refs.ok_or_else(|| damage(logical, ExtentProblem::TooFewRefs))?;
        Ok(Sharing { refs, has_full_backref: noted.has_full_backref || change.sets_full_backref })
    }

    /// Takes what waits of the extent with the least address.
    pub fn pop_first(&mut self) -> Option<(Logical, DelayedRef)> {
        self.by_address.pop_first()
    }

    /// The tree blocks of which something waits.
    pub fn blocks(&self) -> Vec<Logical> {
        let blocks = self.by_address.iter().filter(|(_, change)| matches!(change.kind, ExtentKind::Block { .. }));
        blocks.map(|(logical, _)| *logical).collect()
    }

    /// Takes what waits of a tree block.
    pub fn take_block(&mut self, logical: Logical) -> Option<(Logical, DelayedRef)> {
        let is_block = matches!(self.by_address.get(&logical)?.kind, ExtentKind::Block { .. });
        is_block.then(|| self.by_address.remove_entry(&logical)).flatten()
    }
}

/// A range of data that is no longer in use; `length` in bytes.
#[derive(Clone, Copy, Debug)]
pub struct FreedData {
    /// Logical address of the range.
    pub logical: Logical,
    /// Its bytes.
    pub length: u64,
}

fn damage(logical: Logical, problem: ExtentProblem) -> Error {
    Error::Block { what: Addressed::Extent, logical, problem: problem.into() }
}
