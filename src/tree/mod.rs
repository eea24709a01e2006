//! Trees: their roots, the walks over them, how they are built, and their edits.

pub mod build;
pub mod edit;
pub mod reservation;
mod root;
mod search;
mod walk;

pub use root::TreeRoot;
pub use walk::{Levels, Walk};
