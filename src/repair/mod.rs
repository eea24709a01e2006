//! Repair: what a survey knows of a damaged filesystem becomes a plan of fixes, which are staged, checked again, and published
//! only if they made things better.

mod publish;
mod undo;
mod undo_file;
pub mod undo_format;

pub use publish::publish;
pub use undo::{PutBack, UndoOptions, undo};
pub mod flip;
pub mod older;
