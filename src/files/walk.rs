//! Everything below a directory.

use std::collections::HashSet;

use crate::error::{FileProblem, Result};

use super::directory::ReadDir;
use super::entries::DirEntry;
use super::id::{FileKind, InodeId};
use super::store::Files;

/// What a walk meets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WalkEntry {
    /// From the directory that the walk began at, without a slash before it.
    pub path: Vec<u8>,
    /// The entry.
    pub entry: DirEntry,
}

/// Walks all that is below a directory, directories before what is in them, into subvolumes too: see [`Files::walk`].
pub struct Walk<'f, 'v> {
    files: &'f Files<'v>,
    path: Vec<u8>,
    open: Vec<(ReadDir<'f, 'v>, usize)>,
    entered: HashSet<InodeId>,
    /// A directory that was yielded and is to be entered.
    next: Option<InodeId>,
}

impl<'v> Files<'v> {
    /// Walks all that is below a directory. Errors are met in their places, and the walk goes on. Each directory is entered
    /// once, so that a damaged filesystem cannot make a walk endless: a second time is an error
    /// ([`FileProblem::Loop`]). Memory grows with the number of directories.
    pub fn walk(&self, directory: InodeId) -> Walk<'_, 'v> {
        Walk { files: self, path: Vec::new(), open: Vec::new(), entered: HashSet::new(), next: Some(directory) }
    }
}

impl Walk<'_, '_> {
    fn enter(&mut self, directory: InodeId) -> Result<()> {
        if !directory.is_placeholder() && !self.entered.insert(directory) {
            return Err(directory.error(FileProblem::Loop));
        }
        self.open.push((self.files.read_dir(directory)?, self.path.len()));
        Ok(())
    }
}

impl Iterator for Walk<'_, '_> {
    type Item = Result<WalkEntry>;

    fn next(&mut self) -> Option<Result<WalkEntry>> {
        if let Some(directory) = self.next.take()
            && let Err(error) = self.enter(directory)
        {
            return Some(Err(error));
        }
        loop {
            let (read_dir, length) = self.open.last_mut()?;
            self.path.truncate(*length);
            let entry = match read_dir.next() {
                Some(Ok(entry)) => entry,
                Some(Err(error)) => return Some(Err(error)),
                None => {
                    self.open.pop();
                    continue;
                }
            };
            if !self.path.is_empty() {
                self.path.push(b'/');
            }
            self.path.extend_from_slice(&entry.name);
            if entry.kind == FileKind::Directory {
                self.next = Some(entry.inode);
            }
            return Some(Ok(WalkEntry { path: self.path.clone(), entry }));
        }
    }
}
