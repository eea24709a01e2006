//! Files in a directory of this machine.

mod attributes;
mod parts;
mod place;
mod share;
mod write;

pub use write::Folder;
