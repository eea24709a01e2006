//! The contents of a filesystem that is made from a directory.
//!
//! Threads read, compress and sum; what they make is written in the order of inodes, so that data lies in the order of
//! files and the trees' items come in the order of their keys.

pub mod compress;
mod emit;
mod estimate;
mod items;
mod names;
mod plan;
mod read;

pub use compress::Method;
pub use emit::fill;
pub use estimate::{device_size, estimate};

/// How the data of files comes into the filesystem.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transfer {
    Copied,
    Compressed(Method),
    /// The blocks of the files become those of the images.
    Shared,
}

impl Transfer {
    pub fn method(self) -> Option<Method> {
        match self {
            Transfer::Compressed(method) => Some(method),
            Transfer::Copied | Transfer::Shared => None,
        }
    }
}
