//! Files of a filesystem, brought to a directory or into a tar stream: all of them, or those at some paths.
//!
//! ```
//! use rbtrfs::extract::{Options, Target, extract};
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
//! # let progress = Progress::default();
//! # Builder::new().byte_count(64 << 20).build([&image])?.make(&LocalDirectory::new(root), &progress)?;
//! let volume = Volume::open(vec![Image::open(&image)?])?;
//! let files = Files::open(&volume, Start::Default)?;
//! let target = scratch.path().join("target");
//! let summary = extract(&files, Target::Directory(&target), &Options::new(&progress))?;
//! assert_eq!((summary.files, summary.problems), (1, 0));
//! assert_eq!(std::fs::read(target.join("motd"))?, b"hello\n");
//! # Ok(())
//! # }
//! ```
//!
//! What is wrong with the filesystem costs what depends on it and nothing else, and each such thing is handed to
//! [`Options::on_problem`]. Files that no directory has a name for come out at the name that they have themselves, or below
//! `lost+found`.
//!
//! Nothing is written outside of the directory, whatever names and links the filesystem has: each directory is opened from the one above
//! it, symbolic links are never followed, and names that no file can have do not get this far.

mod batch;
mod directories;
mod doubts;
mod folder;
mod glob;
mod link;
mod lost;
mod options;
mod problem;
mod reader;
mod run;
mod selection;
mod tar;
mod visited;
mod walker;

pub use doubts::{DoubtfulInodes, Doubts};
pub use glob::Glob;
pub use options::{BadSectors, Options, Summary, Target};
pub use problem::{Problem, ProblemKind};
pub use run::extract;
