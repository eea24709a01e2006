//! Entries that come in any order, found by their directories: a record for each stands in a sorted table, and the entries
//! themselves in a temporary file.

use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::FileExt;

use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

use crate::error::{Error, Result};
use crate::table::{MemoryBudget, Part, Record, Table, Writer};

use super::attributes::Attributes;
use super::interface::{Source, SourceEntry};
use super::listing::{List, Listing};

/// Where an entry stands in the file, by the hash of its directory's path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Located {
    directory: u64,
    position: u64,
}

impl Record for Located {
    fn key(&self) -> u64 {
        self.directory
    }
}

/// An entry in the file; its path follows.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct EntryHeader {
    attributes: Attributes,
    id: u64,
    path_len: u64,
}

const HEADER: u64 = size_of::<EntryHeader>() as u64;

/// All entries of a source.
pub struct Unordered<'s, S> {
    source: &'s S,
    file: File,
    table: Table<Located>,
}

impl<'s, S: Source> Unordered<'s, S> {
    pub fn new(
        source: &'s S,
        entries: impl Iterator<Item = Result<SourceEntry>>,
        budget: &MemoryBudget,
    ) -> Result<Self> {
        let mut file = BufWriter::new(tempfile::tempfile().map_err(Error::Temporary)?);
        let writer = Writer::new(budget);
        let (mut part, mut position) = (Part::default(), 0);
        for entry in entries {
            let SourceEntry { path, attributes, id } = entry?;
            let (directory, _) = split(&path);
            writer.push(&mut part, Located { directory: hash(directory), position });
            let header = EntryHeader { attributes, id, path_len: path.len() as u64 };
            file.write_all(header.as_bytes()).and_then(|()| file.write_all(&path)).map_err(Error::Temporary)?;
            position += HEADER + path.len() as u64;
        }
        let file = file.into_inner().map_err(|error| Error::Temporary(error.into_error()))?;
        let table = writer.finish(vec![part]).map_err(Error::Temporary)?;
        Ok(Self { source, file, table })
    }

    /// Number of entries.
    pub fn count(&self) -> u64 {
        self.table.count()
    }

    fn read(&self, position: u64) -> io::Result<(EntryHeader, Vec<u8>)> {
        let mut header = EntryHeader::new_zeroed();
        self.file.read_exact_at(header.as_mut_bytes(), position)?;
        let mut path = vec![0; header.path_len as usize];
        self.file.read_exact_at(&mut path, position + HEADER)?;
        Ok((header, path))
    }

    /// Calls `visit` with the entries of a directory until it returns `false`.
    fn each(&self, directory: &[u8], mut visit: impl FnMut(&[u8], &EntryHeader) -> bool) -> Result<()> {
        let key = hash(directory);
        for located in self.table.iter_from(key).take_while(|located| located.directory == key) {
            let (header, path) = self.read(located.position).map_err(Error::Temporary)?;
            let (parent, name) = split(&path);
            // Paths with one hash may be two.
            if parent == directory && !visit(name, &header) {
                break;
            }
        }
        self.table.failure().map_or(Ok(()), |failure| Err(Error::Temporary(failure)))
    }

    /// The error for entries that no directory has.
    ///
    /// # Errors
    /// The temporary file cannot be read.
    pub fn lost(&self) -> Result<Error> {
        for located in self.table.iter() {
            let (_, path) = self.read(located.position).map_err(Error::Temporary)?;
            let (directory, _) = split(&path);
            if directory.is_empty() || self.look_up(directory).is_ok_and(|(attributes, _)| attributes.is_directory()) {
                continue;
            }
            let problem = "is in a directory that is not there".to_owned();
            return Ok(Error::Unfit { path: self.source.path_of(&path), problem });
        }
        Ok(Error::Internal { problem: "entries of a source were lost".to_owned() })
    }
}

impl<S: Source> List for Unordered<'_, S> {
    fn list(&self, directory: &[u8], listing: &mut Listing) -> Result<()> {
        self.each(directory, |name, header| {
            listing.push(name, &header.attributes, header.id);
            true
        })
    }

    fn look_up(&self, path: &[u8]) -> Result<(Attributes, u64)> {
        if path.is_empty() {
            return Ok((self.source.root()?, 0));
        }
        let (directory, wanted) = split(path);
        let mut found = None;
        self.each(directory, |name, header| {
            if name == wanted {
                found = Some((header.attributes, header.id));
            }
            found.is_none()
        })?;
        let missing = || Error::Source { path: self.source.path_of(path), source: io::ErrorKind::NotFound.into() };
        found.ok_or_else(missing)
    }
}

/// The directory of a path, and the name in it.
fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (b"", path),
    }
}

fn hash(path: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    path.hash(&mut hasher);
    hasher.finish()
}
