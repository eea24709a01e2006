//! What is to be moved, and what was.

use crate::disk::{Logical, Profile};
use crate::progress::Progress;
use crate::volume::ChunkMapping;

use super::damage::Damaged;

/// A block group that is to be emptied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Evacuation {
    /// Where it begins.
    pub start: Logical,
    /// Profile of the chunks that take what is in it.
    pub into: Profile,
}

/// Which block groups take what others give up, beside new ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takers {
    /// Those that stay: nothing is moved twice.
    Staying,
    /// Those that are yet to be emptied, too.
    All,
}

/// What of a relocation is not as a balance has it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rules<'a> {
    /// The block groups that take everything, before new ones; none for all that stay.
    pub into: &'a [Logical],
    /// Whether the last block group of its type goes too, after another one was made.
    pub last_goes: bool,
}

/// How to move.
#[derive(Clone, Copy)]
pub struct Options<'a> {
    /// How many threads read and write.
    pub threads: usize,
    /// Told of the bytes that were in the block groups and are elsewhere now. The work ends after the batch in which it is
    /// stopped.
    pub progress: &'a Progress,
}

/// What was moved, or would be.
#[derive(Clone, Debug, Default)]
pub struct Moved {
    /// Bytes of extents of data.
    pub data_bytes: u64,
    /// Tree blocks that have another place, those above what moved among them.
    pub tree_blocks: u64,
    /// Bytes of data that were bad in one copy and were taken from another.
    pub healed_bytes: u64,
    /// What is bad in every copy, and was copied as it is: it reads as damaged as before.
    pub damaged: Vec<Damaged>,
    /// Chunks that are gone, in the order in which they went.
    pub chunks_removed: Vec<ChunkMapping>,
    /// Chunks that came and are still there.
    pub chunks_made: Vec<ChunkMapping>,
    /// Block groups that are not empty yet: the work was stopped.
    pub left: Vec<Logical>,
    /// Number of commits.
    pub transactions: u64,
}
