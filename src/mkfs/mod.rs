//! Making filesystems: laid out first, filled with content by whoever has some, and finished with the trees that describe
//! all of it. Every block is written once.

mod csums;
mod extents;
pub mod features;
mod finish;
pub mod identity;
mod late;
mod layout;
mod maker;
pub mod options;
pub mod targets;
mod trees;

pub use extents::DataRef;
pub use finish::{Made, Order};
pub use layout::{Device, Group, Layout};
pub use maker::{Estimate, Maker, NewDevice, Subvolume, TreeWriter};
pub use options::Options;
