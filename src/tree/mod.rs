//! Trees: their roots and the walks over them.

mod root;
mod search;
mod walk;

pub use root::TreeRoot;
pub use walk::{Levels, Walk};
