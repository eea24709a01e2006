//! One flipped bit of a block.

use crate::block::{Block, BlockKind};
use crate::disk::csum::{CSUM_SIZE, CsumType};
use crate::disk::node::HEADER_SIZE;
use crate::volume::Volume;

use super::csum::{Bit, crc32c_bit, hashed_bit, stored_bit};
use super::field::Field;
use super::place::Place;
use super::suspects::suspects;

/// A block with one bit put back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flip {
    /// The block as it was, with the checksum of its bytes.
    pub bytes: Vec<u8>,
    /// Byte in the block of the bit that had flipped.
    pub offset: usize,
    /// Its number in the byte; 0 for the lowest.
    pub bit: u8,
    /// What it belongs to.
    pub field: Field,
}

/// Candidates that are looked at: where there are more, none of them is proven.
const MOST: usize = 64;

/// Puts back the bit of the block `bytes` that flipped. Nothing if the block is in order, if no flip of one bit makes it agree
/// with all that is known of its place, or if more than one does.
pub fn unflip(bytes: &[u8], place: &Place<'_>, threads: usize) -> Option<Flip> {
    if bytes.len() != place.format.nodesize as usize || bytes.len() <= HEADER_SIZE {
        return None;
    }
    let csum_type = place.format.csum_type;
    let bit = match csum_type.matches(bytes) {
        true => bit_by_rules(bytes, place)?,
        false => bit_by_csum(bytes, place, threads)?,
    };
    let mut bytes = flipped(bytes, bit);
    csum_type.stamp(&mut bytes);
    let field = Field::at(Block::new(&bytes)?, bit.0);
    place.agrees(&bytes).then_some(Flip { bytes, offset: bit.0, bit: bit.1, field })
}

/// The same for all copies of the block of `place`, of which none is good; the copy whose bit is put back, from 1. Nothing if
/// several copies become different blocks.
pub fn unflip_copies(volume: &Volume, place: &Place<'_>, threads: usize) -> Option<(u16, Flip)> {
    let logical = place.expected.logical;
    let mut bytes = vec![0; place.format.nodesize as usize];
    let mut mended: Option<(u16, Flip)> = None;
    for mirror in 1..=volume.mirrors(logical) {
        if volume.read(logical, mirror, &mut bytes).is_err() {
            continue;
        }
        let Some(flip) = unflip(&bytes, place, threads) else { continue };
        match &mended {
            Some((_, other)) if other.bytes != flip.bytes => return None,
            Some(_) => {}
            None => mended = Some((mirror, flip)),
        }
    }
    mended
}

fn flipped(bytes: &[u8], (offset, bit): Bit) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[offset] ^= 1 << bit;
    bytes
}

/// The bit that flipped after the checksum was made, or in the checksum.
fn bit_by_csum(bytes: &[u8], place: &Place<'_>, threads: usize) -> Option<Bit> {
    let csum_type = place.format.csum_type;
    let stored = stored_bit(csum_type, bytes);
    let behind = match csum_type {
        CsumType::Crc32c => crc32c_bit(bytes),
        _ if stored.is_some() => None,
        // The flip of a bit that no rule knows of changes nothing but the checksum.
        _ if place.agrees(bytes) => hashed_bit(csum_type, bytes, threads),
        _ => candidates(bytes, place, usize::MAX).into_iter().find(|bit| csum_type.matches(&flipped(bytes, *bit))),
    };
    match (stored, behind) {
        (Some(bit), None) | (None, Some(bit)) => Some(bit),
        _ => None,
    }
}

/// The bit that flipped before the checksum was made.
fn bit_by_rules(bytes: &[u8], place: &Place<'_>) -> Option<Bit> {
    if place.agrees(bytes) || place.is_disputed(bytes) {
        return None;
    }
    // A key of an unknown type would do for any item.
    let lesser = place.findings(Block::new(bytes)?).lesser;
    let mut bits = candidates(bytes, place, lesser);
    // With fewer items a leaf is a leaf, too, and damage behind them is none. But the kernel writes zeroes behind what is there.
    if bits.len() > 1 {
        let is_zero = |bit: &Bit| Block::new(&flipped(bytes, *bit)).is_some_and(is_zero_between);
        let zero: Vec<Bit> = bits.iter().copied().filter(is_zero).collect();
        bits = if zero.is_empty() { bits } else { zero };
    }
    match bits[..] {
        [bit] => Some(bit),
        _ => None,
    }
}

/// The bits whose flip makes all but the checksum agree, with no more than `lesser` that is unusual; no more than [`MOST`].
fn candidates(bytes: &[u8], place: &Place<'_>, lesser: usize) -> Vec<Bit> {
    let Some(block) = Block::new(bytes) else { return Vec::new() };
    let ranges = suspects(block, place);
    let mut bytes = bytes.to_vec();
    let mut bits = Vec::new();
    for offset in ranges.into_iter().flatten().filter(|offset| *offset >= CSUM_SIZE) {
        for bit in 0..8 {
            bytes[offset] ^= 1 << bit;
            if place.agrees_but_for(&bytes, lesser) {
                bits.push((offset, bit));
            }
            bytes[offset] ^= 1 << bit;
            if bits.len() == MOST {
                return bits;
            }
        }
    }
    bits
}

/// Whether nothing stands between the item headers and the data, or behind the pointers.
fn is_zero_between(block: Block<'_>) -> bool {
    let body = &block.bytes()[HEADER_SIZE..];
    let (start, end) = match block.kind() {
        BlockKind::Leaf(leaf) => {
            let data_start = leaf.headers().last().map_or(body.len(), |item| item.offset.get() as usize);
            (size_of_val(leaf.headers()), data_start)
        }
        BlockKind::Node(node) => (size_of_val(node.ptrs()), body.len()),
    };
    body.get(start..end).is_some_and(|between| between.iter().all(|byte| *byte == 0))
}
