//! Chunks: how large they become and where they go, and the protocol by which they come and go.

mod alloc;
pub mod array;
mod batch;
mod create;
pub mod placement;
mod remove;
#[cfg(test)]
pub mod schedules;

pub use alloc::{
    AllocRequest, Force, alloc, alloc_at, begin, begin_to_alloc, begin_to_free, finish, is_lack_of_space,
    items_of_chunk, items_to_remove, profile_of, reserve_system, with_system,
};
pub use batch::{AllocBatch, RemoveChoice, alloc_batch, remove_batch};
pub use create::{create, limits};
pub use remove::{refusal, remove, unused};
