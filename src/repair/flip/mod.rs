//! Single flipped bits: put back where exactly one flip makes everything agree, and only there.
//!
//! A bit that flipped on the disk fails the checksum, which tells the bit. One that flipped in memory was checksummed with the
//! rest of the block: what the pointer says of the block and what the rules say of its items tell the bit, or several that
//! might be it, of which none is taken. Where a block and the pointer to it are both right by themselves and differ in one bit,
//! either may be wrong: a [`Witness`] tells which.

mod csum;
mod field;
mod place;
mod pointer;
mod suspects;
mod unflip;

pub use field::Field;
pub use place::{Place, Witness};
pub use pointer::{PointerField, PointerFlip, PointerPlace, unflip_pointer};
pub use unflip::{Flip, unflip, unflip_copies};
