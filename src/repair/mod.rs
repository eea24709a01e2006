//! Repair: what a survey knows of a damaged filesystem becomes a plan of fixes, which are staged, checked again, and published
//! only if they made things better.

mod apply;
mod bare;
mod chunk_root;
mod copies;
mod csum_tree;
mod decide;
mod draft;
mod edits;
mod fix;
pub mod flip;
mod free;
mod nodes;
pub mod older;
mod options;
mod plan;
mod publish;
mod recover;
mod references;
mod remedy;
mod rewrite;
mod run;
mod sharers;
mod space;
mod undo;
mod undo_file;
pub mod undo_format;

pub use fix::Fix;
pub use options::{Force, Options, SpaceCache};
pub use publish::publish;
pub use recover::{Recovered, recover};
pub use remedy::{cause_of, remedy};
pub use run::{Repaired, repair};
pub use undo::{PutBack, UndoOptions, undo};
