//! What a filesystem is filled from, as it stands before anything of its files is read.

mod attributes;
mod interface;
mod inventory;
mod link;
mod listing;
mod local;
mod open_directory;
mod record;
mod request;
mod unordered;
mod xattr;

pub use attributes::{Attributes, Time};
pub use interface::{At, Entries, Source, SourceEntry, SourceFile};
pub use inventory::{FIRST_INDEX, Hanging, Inventory, Options, Totals, Tree};
pub use link::Link;
pub use listing::{List, Listing};
pub use local::{LocalDirectory, LocalFile};
pub use record::{Directories, Directory, Entries as DirectoryEntries, Entry, What};
pub use request::{FlagRequest, Request, SubvolumeRequest};
