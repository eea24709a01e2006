//! Reading one directory.

use std::ops::Range;
use std::path::Path;

use rustix::fs::Dir;

use crate::disk::NAME_LEN;
use crate::error::{Error, Result};

use super::record::Directory;
use super::{Attributes, Place};

/// A directory with its entries in the order of their names, whatever order the system tells them in.
#[derive(Debug, Default)]
pub struct Listing {
    names: Vec<u8>,
    entries: Vec<(Range<usize>, Attributes)>,
}

impl Listing {
    /// Reads a directory below `root`.
    pub fn read(&mut self, root: &Path, directory: &Directory) -> Result<()> {
        let place = Place::open(root, &directory.path)?;
        let failed = |error| super::place::unreadable(place.path().to_owned(), std::io::Error::from(error));
        let mut ranges = Vec::new();
        self.names.clear();
        for entry in Dir::read_from(place.fd()).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name().to_bytes();
            if name == b"." || name == b".." {
                continue;
            }
            let start = self.names.len();
            self.names.extend_from_slice(name);
            ranges.push(start..self.names.len());
        }
        ranges.sort_unstable_by(|a, b| self.names[a.clone()].cmp(&self.names[b.clone()]));
        self.entries.clear();
        self.entries.reserve_exact(ranges.len());
        for range in ranges {
            if range.len() > NAME_LEN {
                let path = place.path_of(&self.names[range.clone()]);
                let problem = format!("has a name of {} bytes, btrfs has room for {NAME_LEN}", range.len());
                return Err(Error::Unfit { path, problem });
            }
            let attributes = place.attributes_of(&self.names[range.clone()])?;
            if attributes.entry_type().is_none() {
                let path = place.path_of(&self.names[range]);
                let problem = format!("has mode {:o}, which btrfs has no type for", attributes.mode);
                return Err(Error::Unfit { path, problem });
            }
            self.entries.push((range, attributes));
        }
        Ok(())
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Bytes of all names.
    pub fn name_bytes(&self) -> usize {
        self.names.len()
    }

    pub fn entries(&self) -> impl Iterator<Item = (&[u8], &Attributes)> {
        self.entries.iter().map(|(range, attributes)| (&self.names[range.clone()], attributes))
    }
}
