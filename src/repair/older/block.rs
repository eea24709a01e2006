//! What is noted of a block that was found.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::block::Block;
use crate::block::verify::Expected;
use crate::disk::{Key, KeyType, Logical, Transid};
use crate::table::Record;

/// What is known of a block besides that it is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// Nothing leads to it, and the extent tree, as far as it could be read, has no item of it.
    Older,
    /// Nothing leads to it, but the extent tree has an item of just this block: what led to it is lost.
    Claimed,
    /// The survey reached it, in a tree that may share blocks with others.
    Reached,
}

/// A block that is right by itself, at the address that it names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OlderBlock {
    /// Logical address of the block.
    pub logical: Logical,
    /// The copy in which it was found, from 1.
    pub mirror: u16,
    /// Its level; 0 for a leaf.
    pub level: u8,
    /// The tree that its header names.
    pub owner: u64,
    /// Its generation.
    pub generation: Transid,
    /// Its first key.
    pub first: Key,
    /// Its last key.
    pub last: Key,
    /// Whether something leads to it.
    pub state: State,
}

impl OlderBlock {
    /// What to read it by.
    pub fn expected(&self) -> Expected {
        let (level, generation, first_key) = (Some(self.level), Some(self.generation), Some(self.first));
        Expected { logical: self.logical, level, generation, first_key }
    }

    /// Whether one of its keys may lie in `from..end`.
    pub(super) fn reaches(&self, from: Option<Key>, end: Option<Key>) -> bool {
        from.is_none_or(|from| from <= self.last) && end.is_none_or(|end| self.first < end)
    }
}

/// A block of one level, sorted by its first key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct OlderRecord {
    first_objectid: u64,
    first_offset: u64,
    last_objectid: u64,
    last_offset: u64,
    generation: u64,
    owner: u64,
    logical: Logical,
    /// Makes the size a multiple of the alignment.
    unused: u32,
    first_type: u8,
    last_type: u8,
    mirror: u8,
    state: u8,
}

impl Record for OlderRecord {
    fn key(&self) -> u64 {
        self.first_objectid
    }
}

impl OlderRecord {
    /// The record of a block; nothing if it is empty or its keys are not in order.
    pub fn new(block: Block<'_>, mirror: u16, state: State) -> Option<Self> {
        let (first, last) = (block.first_key()?, block.last_key().filter(|last| Some(*last) >= block.first_key())?);
        Some(Self {
            first_objectid: first.objectid,
            first_offset: first.offset,
            last_objectid: last.objectid,
            last_offset: last.offset,
            generation: block.generation().0,
            owner: block.header().owner.get(),
            logical: block.logical(),
            unused: 0,
            first_type: first.key_type.0,
            last_type: last.key_type.0,
            mirror: u8::try_from(mirror).ok()?,
            state: state as u8,
        })
    }

    /// The block, which is of the level `level`.
    pub fn block(&self, level: u8) -> OlderBlock {
        OlderBlock {
            logical: self.logical,
            mirror: self.mirror.into(),
            level,
            owner: self.owner,
            generation: Transid(self.generation),
            first: Key::new(self.first_objectid, KeyType(self.first_type), self.first_offset),
            last: Key::new(self.last_objectid, KeyType(self.last_type), self.last_offset),
            state: [State::Older, State::Claimed, State::Reached][usize::from(self.state.min(2))],
        }
    }
}

/// A pointer of a node that was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct PointerRecord {
    /// Address of the block that it leads to.
    pub child: Logical,
    /// Generation of that block.
    pub generation: u64,
    /// Address of the node.
    pub node: Logical,
    /// Generation of the node.
    pub node_generation: u64,
}

impl Record for PointerRecord {
    fn key(&self) -> u64 {
        self.child.0
    }
}

/// A reference to a tree block that the extent tree has, and no block that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct WantedRecord {
    /// Address of the block.
    pub logical: Logical,
    /// The tree whose reference it is; 0 for that of a node.
    pub root: u64,
}

impl Record for WantedRecord {
    fn key(&self) -> u64 {
        self.logical.0
    }
}

/// A block at another address than its own: the disk wrote it to the wrong place, or has another chunk there since.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct StrayRecord {
    /// The address that it names.
    pub logical: Logical,
    /// Where it stands.
    pub place: Logical,
    /// The copy of that place, from 1.
    pub mirror: u64,
}

impl Record for StrayRecord {
    fn key(&self) -> u64 {
        self.logical.0
    }
}
