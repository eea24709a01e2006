//! Transactions: changes of an unmounted filesystem that become real together or not at all.
//!
//! [`Filesystem`] is the state that threads share, each part of it behind a lock of its own; `ranks` is their order. A
//! [`Handle`] is what one thread does, [`Filesystem::commit`] the end of the transaction.

mod balance_item;
mod chunks;
mod commit;
mod committed;
mod data;
pub mod delayed_refs;
mod filesystem;
pub mod free_space_tree;
mod handle;
mod open;
mod opened_trees;
mod quotas;
mod ranks;
mod relocation;
mod relocation_trees;
mod rows;
mod settle;
mod sharing;
mod space;
mod space_cache;
mod staged;
mod store;
mod surveyed;
mod trees;
mod trust;

pub use chunks::{Chunks, DeviceState, Vacated, device_key};
pub use data::CsumForm;
pub use filesystem::Filesystem;
pub use handle::Handle;
pub use staged::StagedTree;
pub use store::Store;
