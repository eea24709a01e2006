//! Trees: their roots, the walks over them, how they are built, and their edits.

pub mod build;
mod children;
pub mod csums;
pub mod edit;
mod reached;
pub mod reservation;
mod root;
mod scan;
mod search;
mod stale;
mod visitor;
mod walk;

pub use root::TreeRoot;
pub use scan::Scan;
pub use stale::stale_devices;
pub use visitor::{Place, Tree, Visit, Visitor};
pub use walk::{Entered, Levels, Walk, walk};
