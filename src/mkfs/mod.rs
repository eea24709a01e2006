//! Making filesystems: laid out first, filled from a source, and finished with the trees that describe all of it. Every block
//! is written once.

mod builder;
pub mod content;
mod estimate;
mod extent;
pub mod features;
mod finish;
pub mod identity;
mod layout;
mod maker;
pub mod options;
pub mod source;
mod space_map;
pub mod targets;
mod trees;
mod usage;

pub use builder::{Builder, NewFilesystem};
pub use estimate::Estimate;
pub use extent::{NewExtent, OpenExtent, PlacedData};
pub use finish::{Made, Order};
pub use layout::{Device, Group, Layout};
pub use maker::{Maker, NewDevice, Subvolume, TreeWriter};
pub use options::{Conflict, Options};
pub use source::{LocalDirectory, Source};
