//! Chunks: how large they become and where they go, and the protocol by which they come and go.

mod alloc;
pub mod array;
mod create;
pub mod device;
pub mod item;
pub mod placement;
mod remove;
#[cfg(test)]
pub mod schedules;

pub use alloc::{Force, Wish, alloc, begin, begin_to_alloc, begin_to_free, finish, items_of_chunk, items_to_remove};
pub use remove::{refusal, remove, unused};
