//! Inodes with several names: the first one is a file, the others are links to it.

use std::collections::HashMap;

use crate::files::{FileKind, InodeId};

use super::batch::Prepared;
use super::directories::DirectoryNumber;

/// The first names of inodes that have several.
#[derive(Default)]
pub struct Links {
    first: HashMap<InodeId, FirstName>,
}

struct FirstName {
    directory: DirectoryNumber,
    name: Box<[u8]>,
    /// Names that were met.
    count: usize,
}

impl Links {
    /// Says of a batch which names are links to others.
    pub fn resolve(&mut self, batch: &mut [Prepared]) {
        for prepared in batch {
            let has_more = prepared.attributes.as_ref().is_ok_and(|attributes| attributes.nlink > 1);
            if !has_more || prepared.kind == FileKind::Directory {
                continue;
            }
            let (directory, name) = (prepared.entry.directory, &prepared.entry.name);
            match self.first.get_mut(&prepared.entry.inode) {
                Some(first) => {
                    first.count += 1;
                    prepared.link_to = Some((first.directory, first.name.clone()));
                }
                None => {
                    let first = FirstName { directory, name: name[..].into(), count: 1 };
                    self.first.insert(prepared.entry.inode, first);
                }
            }
        }
    }

    /// Names of an inode that were met, of one that was met.
    pub fn count(&self, inode: InodeId) -> usize {
        self.first.get(&inode).map_or(1, |first| first.count)
    }
}
