//! Making filesystems: laid out first, filled with content by whoever has some, and finished with the trees that describe
//! all of it. Every block is written once.

pub mod content;
mod csums;
mod extents;
pub mod features;
mod finish;
pub mod identity;
mod late;
mod layout;
mod maker;
pub mod options;
pub mod source;
pub mod targets;
mod trees;

pub use extents::DataRef;
pub use finish::{Made, Order};
pub use layout::{Device, Group, Layout};
pub use maker::{Estimate, Maker, NewDevice, Subvolume, TreeWriter};
pub use options::Options;

/// The longest data that stands in a leaf without being compressed: the kernel's default (`BTRFS_DEFAULT_MAX_INLINE`).
const MAX_INLINE: u64 = 2048;
