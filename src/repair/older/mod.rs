//! Blocks that no tree leads to any more, and what they may bring back.
//!
//! The filesystem is copy-on-write: an earlier version of a lost block, or what hung below it, often stands in space that is
//! free now, and what its tree shared with a snapshot is there in the snapshot. [`OlderBlocks::scan`] reads all chunks of
//! metadata for blocks that are right by themselves; the queries say which of them fit a lost place, and [`Judge`] which of their
//! items and pointers still hold.

mod block;
mod blocks;
mod cover;
mod lineage;
mod roots;
mod scan;
mod siblings;
mod stretches;
mod usable;

pub use block::{OlderBlock, State};
pub use blocks::OlderBlocks;
pub use cover::Piece;
pub use lineage::Lineage;
pub use roots::{RootCandidate, RootSource};
pub use usable::{Dropped, Judge, UsableItems};
