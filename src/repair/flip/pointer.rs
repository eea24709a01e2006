//! One flipped bit of the pointer to a block.

use crate::block::Block;
use crate::block::item::{Rules, check_block};
use crate::block::verify::Expected;
use crate::disk::node::KeyPtr;
use crate::disk::{DiskKey, Key, KeyType, Logical, Transid};
use crate::finding::{Finding, Severity};
use crate::volume::Volume;

use super::place::Witness;

/// A pointer that leads to another block than it describes, and the node that holds the pointer.
pub struct PointerPlace<'p> {
    /// The pointer.
    pub ptr: KeyPtr,
    /// Level of the node.
    pub parent_level: u8,
    /// Generation of the node: what is below it is not newer.
    pub parent_generation: Transid,
    /// Key of the pointer before, which keys of the block are above.
    pub after: Option<Key>,
    /// Keys of the block are below this.
    pub end: Option<Key>,
    /// The tree of the node.
    pub tree: u64,
    /// Whether a header may name this owner.
    pub is_owner: &'p dyn Fn(u64) -> bool,
    /// Whether something else refers to the block at this address.
    pub is_referenced: &'p dyn Fn(Logical) -> bool,
    /// The rules of items.
    pub rules: &'p Rules,
    /// What is known of generation and first key from elsewhere.
    pub witness: Witness,
}

/// A field of a pointer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PointerField {
    /// The address of the block.
    Blockptr,
    /// The generation of the block.
    Generation,
    /// The first key of the block.
    Key,
}

/// A pointer with one bit put back.
#[derive(Clone, Copy, Debug)]
pub struct PointerFlip {
    /// The pointer as it was.
    pub ptr: KeyPtr,
    /// Where the bit stands that had flipped.
    pub field: PointerField,
}

/// Puts back the bit of a pointer that flipped. Nothing if the pointer is in order, if no flip of one bit has it lead to a block
/// that it describes, or if more than one does. Where the block at its address is right by itself, and differs from the pointer in
/// one bit, the pointer has to be refuted by its node or by the witness.
pub fn unflip_pointer(volume: &Volume, place: &PointerPlace<'_>) -> Option<PointerFlip> {
    let address = Logical::from(place.ptr.blockptr);
    let generation = Transid::from(place.ptr.generation);
    let key = Key::from(&place.ptr.key);
    let mut flips = Vec::new();
    if let Some(found) = place.read(volume, address) {
        match (found.generation == generation, found.first == key) {
            (true, true) => return None,
            (false, true) if is_one_bit(found.generation.0 ^ generation.0) && place.refutes_generation(&found) => {
                let ptr = KeyPtr { generation: found.generation.0.into(), ..place.ptr };
                flips.push(PointerFlip { ptr, field: PointerField::Generation });
            }
            (true, false) if differ_in_one_bit(found.first, key) && place.refutes_key(&found) => {
                let ptr = KeyPtr { key: DiskKey::from(found.first), ..place.ptr };
                flips.push(PointerFlip { ptr, field: PointerField::Key });
            }
            _ => {}
        }
    }
    // Where the extent tree knows a block that nothing else leads to, the pointer is right, and its block is lost. One of the same
    // generation and first key that stands elsewhere is what a snapshot shared that is deleted, or was written twice in one
    // transaction.
    let is_confirmed = place.witness.generation == Some(generation) && !(place.is_referenced)(address);
    for bit in (0..u64::BITS).filter(|_| !is_confirmed) {
        let address = Logical(address.0 ^ 1 << bit);
        let is_possible = address.is_aligned(volume.format().sectorsize) && volume.chunks().find(address).is_some();
        if !is_possible || (place.is_referenced)(address) {
            continue;
        }
        if place.read(volume, address) == Some(Found { generation, first: key }) {
            let ptr = KeyPtr { blockptr: address.0.into(), ..place.ptr };
            flips.push(PointerFlip { ptr, field: PointerField::Blockptr });
        }
    }
    match flips[..] {
        [flip] => Some(flip),
        _ => None,
    }
}

/// What a block says of itself.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Found {
    generation: Transid,
    first: Key,
}

impl PointerPlace<'_> {
    /// The block at `address`, if it may stand below the node. Generation and first key are not compared with the pointer.
    fn read(&self, volume: &Volume, address: Logical) -> Option<Found> {
        let expected = Expected { level: Some(self.parent_level.checked_sub(1)?), ..Expected::at(address) };
        let mut buffer = Vec::new();
        let read = volume.read_block(&expected, &mut buffer).ok()?;
        let (first, last) = (read.block.first_key()?, read.block.last_key()?);
        let generation = read.block.generation();
        let is_within = self.after.is_none_or(|after| after < first)
            && self.end.is_none_or(|end| last < end)
            && generation <= self.parent_generation
            && (self.is_owner)(read.block.header().owner.get());
        (is_within && !self.is_damaged(read.block)).then_some(Found { generation, first })
    }

    fn is_damaged(&self, block: Block<'_>) -> bool {
        let mut is_damaged = false;
        check_block(block, self.tree, self.rules, &mut |problem| is_damaged |= problem.severity() >= Severity::Error);
        is_damaged
    }

    fn refutes_generation(&self, found: &Found) -> bool {
        Transid::from(self.ptr.generation) > self.parent_generation || self.witness.generation == Some(found.generation)
    }

    fn refutes_key(&self, found: &Found) -> bool {
        let key = Key::from(&self.ptr.key);
        let is_outside = self.after.is_some_and(|after| key <= after) || self.end.is_some_and(|end| key >= end);
        is_outside || self.witness.first_key == Some(found.first)
    }
}

fn is_one_bit(difference: u64) -> bool {
    difference.count_ones() == 1
}

fn differ_in_one_bit(one: Key, other: Key) -> bool {
    let (KeyType(one_type), KeyType(other_type)) = (one.key_type, other.key_type);
    let differing = (one.objectid ^ other.objectid).count_ones()
        + (one_type ^ other_type).count_ones()
        + (one.offset ^ other.offset).count_ones();
    differing == 1
}
