//! Making filesystems: laid out first, filled from a source, and finished with the trees that describe all of it. Every block
//! is written once.

mod builder;
pub mod content;
pub(crate) mod estimate;
pub(crate) mod extent;
pub mod features;
pub(crate) mod finish;
pub(crate) mod identity;
mod layout;
pub(crate) mod maker;
mod options;
pub mod source;
mod space_map;
pub(crate) mod targets;
mod trees;
mod usage;

pub use builder::{Builder, NewFilesystem};
pub use finish::Made;
pub use layout::{Device, Layout};
pub use options::{Conflict, Options};
pub use source::{LocalDirectory, Source};
