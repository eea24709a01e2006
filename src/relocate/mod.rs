//! Moving what lies in block groups elsewhere, and removing the emptied chunks: a balance, a conversion.
//!
//! A batch is one transaction. The mover changes addresses alone: it writes blocks of files once at new places, however many
//! trees share them, it copies data, and the extent tree says of each what it said before. So a crash leaves the state before a
//! batch or after it, and another run goes on.

mod account;
mod batch;
mod contents;
mod copy;
mod damage;
mod forward;
mod mover;
mod moving;
mod places;
mod portions;
mod request;
mod room;
mod trees;
mod writer;

pub use contents::data_between;
pub use damage::{Damaged, damaged_files};
pub use mover::{relocate, relocate_by};
pub use places::without_place;
pub use portions::in_portions;
pub use request::{Evacuation, Moved, Options, Rules, Takers};
pub use trees::{drop_relocation_trees, refuse};
