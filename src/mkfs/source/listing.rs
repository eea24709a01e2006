//! The entries of one directory.

use std::ops::Range;

use crate::disk::NAME_LEN;
use crate::error::Result;

use super::attributes::Attributes;

/// What can tell its entries directory by directory.
pub trait List: Sync {
    /// Tells all entries of a directory below the root, in any order.
    ///
    /// # Errors
    /// It cannot be read.
    fn list(&self, directory: &[u8], listing: &mut Listing) -> Result<()>;

    /// Attributes and id of what is at a path below the root, which may be the root.
    ///
    /// # Errors
    /// It is not there, or cannot be read.
    fn look_up(&self, path: &[u8]) -> Result<(Attributes, u64)>;
}

/// A directory with its entries.
#[derive(Debug, Default)]
pub struct Listing {
    names: Vec<u8>,
    entries: Vec<Listed>,
}

#[derive(Debug)]
struct Listed {
    name: Range<usize>,
    attributes: Attributes,
    id: u64,
}

impl Listing {
    pub(super) fn clear(&mut self) {
        self.names.clear();
        self.entries.clear();
    }

    /// Adds an entry; `id` is what the source finds its contents by.
    pub fn push(&mut self, name: &[u8], attributes: &Attributes, id: u64) {
        let start = self.names.len();
        self.names.extend_from_slice(name);
        self.entries.push(Listed { name: start..self.names.len(), attributes: *attributes, id });
    }

    /// Sorts the entries by name. One that no filesystem can have is returned with the problem.
    pub(super) fn sort(&mut self) -> Result<(), (Vec<u8>, String)> {
        let names = &self.names;
        let name = |entry: &Listed| &names[entry.name.clone()];
        self.entries.sort_unstable_by(|a, b| name(a).cmp(name(b)));
        let mut previous = None;
        for entry in &self.entries {
            let name = name(entry);
            let problem = if name.len() > NAME_LEN {
                format!("has a name of {} bytes, btrfs has room for {NAME_LEN}", name.len())
            } else if matches!(name, b"" | b"." | b"..") || name.iter().any(|byte| matches!(byte, b'/' | 0)) {
                "has a name that no file can have".to_owned()
            } else if entry.attributes.entry_type().is_none() {
                format!("has mode {:o}, which btrfs has no type for", entry.attributes.mode)
            } else if entry.attributes.size > i64::MAX as u64 {
                format!("has {} bytes, more than a file can have", entry.attributes.size)
            } else if previous.replace(name) == Some(name) {
                "is there twice".to_owned()
            } else {
                continue;
            };
            return Err((name.to_vec(), problem));
        }
        Ok(())
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Bytes of all names.
    pub(super) fn name_bytes(&self) -> usize {
        self.names.len()
    }

    /// Names, attributes and ids: as they were told, or sorted by name.
    pub fn entries(&self) -> impl Iterator<Item = (&[u8], &Attributes, u64)> {
        self.entries.iter().map(|entry| (&self.names[entry.name.clone()], &entry.attributes, entry.id))
    }
}
