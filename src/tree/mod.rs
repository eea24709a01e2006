//! Trees: their roots, the walks over them, how they are built, and their edits; and data by its checksums.

pub mod build;
mod cache;
pub mod csums;
mod data;
pub mod edit;
pub mod reservation;
mod root;
mod search;
mod spans;
mod stale;
mod walk;

pub use cache::BlockCache;
pub use data::{DataEvent, DataReader, Sector, not_placed};
pub use root::TreeRoot;
pub use spans::{LeafRead, Span, UnreadableSpan, Visit};
pub use stale::stale_devices;
pub use walk::{Levels, Walk};
