//! A disk with unreadable places: one image, served read-only, that answers EIO for chosen ranges.

use std::ops::Range;
use std::path::{Path, PathBuf};

use fuser::Errno;

use super::Scratch;
use super::file_disk::{FileDisk, Hooks};

pub struct FailingDisk(FileDisk);

impl FailingDisk {
    /// Serves `image`, of which the bytes in `unreadable` cannot be read.
    pub fn new(image: &Path, unreadable: Vec<Range<u64>>, scratch: &Scratch) -> Result<Self, String> {
        FileDisk::new(&[image.to_owned()], Unreadable(unreadable), scratch).map(Self)
    }

    pub fn image(&self) -> PathBuf {
        self.0.images()[0].clone()
    }
}

struct Unreadable(Vec<Range<u64>>);

impl Hooks for Unreadable {
    const IS_WRITABLE: bool = false;
    const IS_CACHED: bool = true;

    fn read(&mut self, _: usize, range: Range<u64>) -> Result<(), Errno> {
        let is_unreadable = self.0.iter().any(|other| other.start < range.end && range.start < other.end);
        if is_unreadable { Err(Errno::EIO) } else { Ok(()) }
    }
}
