//! Trees: their roots, the walks over them, how they are built, and their edits.

pub mod build;
pub mod csums;
pub mod edit;
pub mod reservation;
mod root;
mod search;
mod stale;
mod walk;

pub use root::TreeRoot;
pub use stale::stale_devices;
pub use walk::{Levels, Walk};
