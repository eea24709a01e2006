//! Trees: their roots, the walks over them, and their edits.

pub mod edit;
mod root;
mod search;
mod walk;

pub use root::TreeRoot;
pub use walk::{Levels, Walk};
