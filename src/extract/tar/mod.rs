//! Files in a tar stream, in the pax format.

mod acl;
mod header;
mod write;

pub use write::Tar;
