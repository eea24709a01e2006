//! Files by name: paths, attributes, extended attributes and contents, verified and decompressed, of a volume that is
//! mounted nowhere and may be damaged.
//!
//! ```no_run
//! use std::io::Read;
//!
//! use rbtrfs::files::{Files, Start};
//! use rbtrfs::image::Image;
//! use rbtrfs::volume::Volume;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let volume = Volume::open(vec![Image::open("disk.img".as_ref())?])?;
//! let files = Files::open(&volume, Start::Default)?;
//! for entry in files.read_dir(files.lookup("etc")?)? {
//!     let entry = entry?;
//!     println!("{} {}", entry.inode, entry.name.escape_ascii());
//! }
//! let mut text = String::new();
//! files.file(files.lookup("etc/fstab")?)?.read_to_string(&mut text)?;
//! # Ok(())
//! # }
//! ```
//!
//! Names, paths and link targets are bytes. Everything is read as of the last commit: **a log tree is not replayed**, so that
//! what programs had synced after that commit is not seen before the filesystem is mounted once.
//!
//! # Damaged filesystems
//!
//! What has another copy, or is rebuilt from parity, is read from there; what a directory's two kinds of items do not both
//! say is taken from the other; and a range that cannot be read is an error for that range. Each such case is reported
//! to [`Options::on_notice`]. Nothing that stands on the disk makes memory grow by more than what is read, and directories
//! that lead in circles end.

mod attributes;
mod directory;
mod entries;
mod extents;
mod file;
mod id;
mod inodes;
mod layout;
mod names;
mod notice;
mod open;
mod path;
mod store;
mod subvolumes;
mod walk;
mod xattrs;

pub use attributes::{Attributes, Timestamp};
pub use directory::ReadDir;
pub use entries::DirEntry;
pub use file::{Content, File, Piece};
pub use id::{FileKind, InodeId};
pub use inodes::TreeInode;
pub use layout::{DiskExtent, ExtentKind, FileExtent, Layout};
pub use notice::{NameProblem, Notice};
pub use open::Start;
pub use store::{Files, Options};
pub use subvolumes::Subvolume;
pub use walk::{Walk, WalkEntry};
pub use xattrs::Xattr;
