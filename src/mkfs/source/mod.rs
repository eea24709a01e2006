//! The directory that a filesystem is made from, as it stands before anything of its files is read.
//!
//! Everything goes through libc's calls, for fakeroot, pseudo and faketime stand between a program and those alone.

mod attributes;
mod directory;
mod link;
mod place;
mod record;
mod subvolume;
mod walk;
mod xattr;

pub use attributes::Attributes;
pub use link::Link;
pub use place::Place;
pub use record::{Directories, Directory, Entries, Entry, What};
pub use subvolume::{FlagRequest, SubvolumeRequest};
pub use walk::{FIRST_INDEX, Hanging, Options, Source, Totals, Tree, join};
pub use xattr::Xattrs;

use std::path::PathBuf;

/// What to make a filesystem from.
#[derive(Clone, Debug, Default)]
pub struct Request {
    pub directory: PathBuf,
    /// Directories that become subvolumes, in the order of their ids.
    pub subvolumes: Vec<SubvolumeRequest>,
    /// Files and directories that get inode flags.
    pub flags: Vec<FlagRequest>,
    /// What the filesystem is made on, which must not be a part of it.
    pub images: Vec<PathBuf>,
}
