//! The offline btrfs toolkit: filesystems are made, read, checked and changed while nothing has them mounted, without a
//! kernel, a loop device or root.
//!
//! ```
//! use rbtrfs::check::{Options, check};
//! use rbtrfs::files::{Files, Start};
//! use rbtrfs::image::Image;
//! use rbtrfs::mkfs::{Builder, LocalDirectory};
//! use rbtrfs::progress::Progress;
//! use rbtrfs::volume::Volume;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let scratch = tempfile::tempdir()?;
//! # let (root, image) = (scratch.path().join("root"), scratch.path().join("disk.img"));
//! # std::fs::create_dir(&root)?;
//! # std::fs::write(root.join("motd"), "hello\n")?;
//! let progress = Progress::default();
//! // A filesystem of 64 MiB with the files below a directory.
//! Builder::new().byte_count(64 << 20).build([&image])?.make(&LocalDirectory::new(root), &progress)?;
//!
//! let volume = Volume::open(vec![Image::open(&image)?])?;
//! let report = check(&volume, &Options::new(&progress))?;
//! assert!(report.problems.is_empty());
//!
//! let files = Files::open(&volume, Start::Default)?;
//! for entry in files.walk(files.root()) {
//!     assert_eq!(entry?.path, b"motd");
//! }
//! # Ok(())
//! # }
//! ```
//!
//! The programs are behind the default feature `cli`. `ARCHITECTURE.md` describes the floors of the house: imports only go
//! down.

#![deny(unsafe_code)]
// Tests take fixtures in, which need no docs.
#![cfg_attr(not(test), warn(missing_docs))]

pub mod balance;
pub mod block;
pub mod check;
pub mod chunk;
#[cfg(feature = "cli")]
pub mod cli;
pub mod device;
pub mod disk;
pub mod dump;
pub mod error;
pub mod extract;
pub mod files;
pub mod finding;
pub mod image;
mod mix;
pub mod mkfs;
mod parallel;
pub mod problem;
pub mod progress;
mod ranges;
pub mod rebuild;
pub mod relocate;
pub mod repair;
pub mod space;
pub mod survey;
pub mod sync;
mod table;
pub mod trans;
pub mod tree;
pub mod volume;

// Fixtures of the integration tests name the crate so.
#[cfg(test)]
extern crate self as rbtrfs;

pub use error::{Error, Result};

/// What the tests of this crate look at and nothing else may: it changes without notice.
#[doc(hidden)]
pub mod internals {
    pub use crate::mkfs::content::emit::fill;
    pub use crate::mkfs::estimate::Estimate;
    pub use crate::mkfs::extent::{NewExtent, OpenExtent};
    pub use crate::mkfs::finish::Order;
    pub use crate::mkfs::maker::{Maker, NewDevice, TreeWriter};
    pub use crate::mkfs::source::inventory::{Inventory, Options as InventoryOptions};
    pub use crate::mkfs::source::link::Link;
    pub use crate::mkfs::source::request::Request;
    pub use crate::mkfs::targets::{Preparation, Targets};
    pub use crate::parallel::{beside, on_threads, ordered_then};
    pub use crate::table::{Cursor, MemoryBudget, Part, Record, Table, Writer};
}
