//! What a filesystem is filled from, as it stands before anything of its files is read.

mod attributes;
mod interface;
pub(crate) mod inventory;
pub(crate) mod link;
mod listing;
mod local;
mod open_directory;
mod record;
pub(crate) mod request;
mod unordered;
mod xattr;

pub use attributes::{Attributes, Time};
pub use interface::{At, Entries, Source, SourceEntry, SourceFile};
pub(crate) use inventory::{FIRST_INDEX, Inventory, Options, Totals, Tree};
pub(crate) use link::Link;
pub use listing::{List, Listing};
pub use local::{LocalDirectory, LocalFile};
pub(crate) use record::{Directories, Directory, Entries as DirectoryEntries, Entry, What};
pub(crate) use request::Request;
pub use request::{FlagRequest, SubvolumeRequest};
