//! Directories of the target, each opened from the one above it.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::{Mode, OFlags, openat};

use super::super::directories::{Directories, DirectoryNumber};

/// Directories that are kept open.
const KEPT: usize = 32;

/// Opens directories, and keeps those that were opened last. No symbolic link is followed: what stands in the place of a directory and is
/// none is an error.
pub struct Places<'p> {
    root: BorrowedFd<'p>,
    /// The one used last is the last.
    kept: Vec<(DirectoryNumber, Arc<OwnedFd>)>,
}

impl<'p> Places<'p> {
    pub fn new(root: BorrowedFd<'p>) -> Self {
        Self { root, kept: Vec::new() }
    }

    /// A directory.
    pub fn open(&mut self, directories: &Directories, number: DirectoryNumber) -> io::Result<Place<'p>> {
        let mut below = Vec::new();
        let mut current = number;
        let mut place = loop {
            if current == DirectoryNumber::ROOT {
                break Place::Root(self.root);
            }
            if let Some(index) = self.kept.iter().position(|(kept, _)| *kept == current) {
                let kept = self.kept.remove(index);
                let place = Place::Below(Arc::clone(&kept.1));
                self.kept.push(kept);
                break place;
            }
            below.push(current);
            current = directories.get(current).parent;
        };
        for number in below.into_iter().rev() {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let opened = Arc::new(openat(&place, &*directories.get(number).name, flags, Mode::empty())?);
            if self.kept.len() >= KEPT {
                self.kept.remove(0);
            }
            self.kept.push((number, Arc::clone(&opened)));
            place = Place::Below(opened);
        }
        Ok(place)
    }
}

/// An open directory.
pub enum Place<'p> {
    Root(BorrowedFd<'p>),
    Below(Arc<OwnedFd>),
}

impl AsFd for Place<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Root(root) => root.as_fd(),
            Self::Below(directory) => directory.as_fd(),
        }
    }
}
