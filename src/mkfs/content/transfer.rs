//! How data comes into the filesystem.

use super::compress::Method;

/// How the data of files comes into the filesystem.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transfer {
    /// Copied as it is.
    Copied,
    /// Compressed where that saves space.
    Compressed(Method),
    /// The blocks of the files become those of the images.
    Shared,
}

impl Transfer {
    /// The compression, if there is one.
    pub fn method(self) -> Option<Method> {
        match self {
            Transfer::Compressed(method) => Some(method),
            Transfer::Copied | Transfer::Shared => None,
        }
    }
}
