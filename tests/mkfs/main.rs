//! Filesystems that are made, empty and from a directory.

mod empty;
mod rootdir;
#[path = "../support/mod.rs"]
mod support;
