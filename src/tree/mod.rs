//! Trees: their roots, the walks over them, how they are built, and their edits; and data by its checksums.

pub mod build;
mod cache;
mod children;
pub mod csums;
mod data;
pub mod edit;
mod reached;
pub mod reservation;
mod root;
mod scan;
mod search;
mod spans;
mod stale;
mod visitor;
mod walk;

pub use cache::BlockCache;
pub use data::{DataEvent, DataReader, Sector, not_placed, read_sector};
pub use reached::promise;
pub use root::TreeRoot;
pub use scan::Scan;
pub use spans::{LeafRead, LeafVisit, Span, UnreadableSpan};
pub use stale::stale_devices;
pub use visitor::{BlockPlace, Origin, Tree, Visit, Visitor};
pub use walk::{Entered, Levels, Walk, walk};
