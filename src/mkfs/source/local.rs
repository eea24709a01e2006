//! A directory of this machine.
//!
//! Everything goes through libc's calls, for fakeroot, pseudo and faketime stand between a program and those alone.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{Dir, SeekFrom, seek};
use rustix::io::Errno;

use crate::error::{Error, Result};
use crate::image::Origin;

use super::attributes::Attributes;
use super::interface::{At, Entries, Source, SourceFile};
use super::listing::{List, Listing};
use super::open_directory::{OpenDirectory, unreadable};
use super::xattr::Xattrs;

/// A directory with all that is below it. Mount points are crossed.
#[derive(Clone, Debug)]
pub struct LocalDirectory {
    root: PathBuf,
}

impl LocalDirectory {
    /// The directory at `root`.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    fn place<'r>(&self, reader: &'r mut LocalReader, directory: &[u8]) -> Result<&'r OpenDirectory> {
        let place = match reader.place.take() {
            Some((path, place)) if path == directory => (path, place),
            _ => (directory.to_vec(), OpenDirectory::open(&self.root, directory)?),
        };
        Ok(&reader.place.insert(place).1)
    }
}

/// The directory that was asked of last.
#[derive(Debug, Default)]
pub struct LocalReader {
    place: Option<(Vec<u8>, OpenDirectory)>,
    xattrs: Xattrs,
}

impl List for LocalDirectory {
    fn list(&self, directory: &[u8], listing: &mut Listing) -> Result<()> {
        let place = OpenDirectory::open(&self.root, directory)?;
        let failed = |error| unreadable(place.path().to_owned(), io::Error::from(error));
        let (mut names, mut ranges) = (Vec::new(), Vec::new());
        for entry in Dir::read_from(place.fd()).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name().to_bytes();
            if name == b"." || name == b".." {
                continue;
            }
            let start = names.len();
            names.extend_from_slice(name);
            ranges.push(start..names.len());
        }
        for range in ranges {
            let name = &names[range];
            listing.push(name, &place.attributes_of(name)?, 0);
        }
        Ok(())
    }

    fn look_up(&self, path: &[u8]) -> Result<(Attributes, u64)> {
        let Some(slash) = path.iter().rposition(|byte| *byte == b'/') else {
            let root = OpenDirectory::open(&self.root, b"")?;
            let attributes = if path.is_empty() { root.attributes() } else { root.attributes_of(path) };
            return Ok((attributes?, 0));
        };
        Ok((OpenDirectory::open(&self.root, &path[..slash])?.attributes_of(&path[slash + 1..])?, 0))
    }
}

impl Source for LocalDirectory {
    type Reader = LocalReader;
    type File = LocalFile;

    fn root(&self) -> Result<Attributes> {
        OpenDirectory::open(&self.root, b"")?.attributes()
    }

    fn entries(&self) -> Result<Entries<'_>> {
        Ok(Entries::Listed(self))
    }

    fn xattrs(
        &self,
        reader: &mut LocalReader,
        at: &At<'_>,
        file: Option<&LocalFile>,
        visit: &mut dyn FnMut(&[u8], &[u8]),
    ) -> Result<()> {
        if let Some(file) = file {
            let read = reader.xattrs.of_file(&file.file, visit);
            return read.map_err(|error| unreadable(file.path.clone(), error));
        }
        let path = self.place(reader, at.directory)?.usable_path_of(at.name);
        let read = reader.xattrs.of_path(&path, visit);
        read.map_err(|error| unreadable(self.path_of(&at.path()), error))
    }

    fn symlink(&self, reader: &mut LocalReader, at: &At<'_>) -> Result<Vec<u8>> {
        self.place(reader, at.directory)?.symlink_target(at.name)
    }

    fn open(&self, reader: &mut LocalReader, at: &At<'_>) -> Result<LocalFile> {
        let place = self.place(reader, at.directory)?;
        let (file, path) = (place.open_file(at.name)?, place.path_of(at.name));
        Ok(LocalFile { file, path, attributes: *at.attributes })
    }

    fn rest(&self, reader: &mut LocalReader) {
        reader.place = None;
    }

    fn path_of(&self, path: &[u8]) -> PathBuf {
        if path.is_empty() { self.root.clone() } else { self.root.join(OsStr::from_bytes(path)) }
    }

    fn resolve(&self, path: &Path) -> Result<Vec<u8>> {
        let root = canonical(&self.root)?;
        let inside: PathBuf = path.components().filter(|component| !matches!(component, Component::RootDir)).collect();
        // The last component is not followed: a symlink has flags of its own.
        let full = self.root.join(&inside);
        let found = match (full.parent(), full.file_name()) {
            (Some(parent), Some(name)) if !inside.as_os_str().is_empty() => {
                let found = canonical(parent)?.join(name);
                std::fs::symlink_metadata(&found).map_err(|error| unreadable(full.clone(), error))?;
                found
            }
            _ => canonical(&full)?,
        };
        match found.strip_prefix(&root) {
            Ok(below) => Ok(below.as_os_str().as_bytes().to_vec()),
            Err(_) => {
                let problem = format!("is not in {}", self.root.display());
                Err(Error::Unfit { path: path.to_owned(), problem })
            }
        }
    }

    fn directory(&self) -> Option<&Path> {
        Some(&self.root)
    }
}

fn canonical(path: &Path) -> Result<PathBuf> {
    std::fs::canonicalize(path).map_err(|error| unreadable(path.to_owned(), error))
}

/// An open file of this machine.
#[derive(Debug)]
pub struct LocalFile {
    file: File,
    path: PathBuf,
    /// As they were when the entry was told.
    attributes: Attributes,
}

impl LocalFile {
    fn changed(&self) -> Error {
        Error::Changed { path: self.path.clone() }
    }

    fn find_segments(&self, sectorsize: u64) -> io::Result<Vec<Range<u64>>> {
        let size = self.attributes.size;
        let round_up = |offset: u64| offset.checked_next_multiple_of(sectorsize).ok_or(io::ErrorKind::FileTooLarge);
        if !self.attributes.may_have_holes() {
            let end = round_up(size)?;
            return Ok((end > 0).then_some(0..end).into_iter().collect());
        }
        let mut segments: Vec<Range<u64>> = Vec::new();
        let mut position = 0;
        while position < size {
            let start = match seek(&self.file, SeekFrom::Data(position)) {
                Err(Errno::NXIO) => break,
                other => other?,
            };
            if start >= size {
                break;
            }
            position = seek(&self.file, SeekFrom::Hole(start))?.clamp(start + 1, size);
            let range = start - start % sectorsize..round_up(position)?;
            match segments.last_mut().filter(|last| last.end >= range.start) {
                Some(last) => last.end = range.end,
                None => segments.push(range),
            }
        }
        Ok(segments)
    }
}

impl SourceFile for LocalFile {
    fn segments(&self, sectorsize: u64) -> Result<Vec<Range<u64>>> {
        self.find_segments(sectorsize).map_err(|error| unreadable(self.path.clone(), error))
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> Result<()> {
        self.file.read_exact_at(buffer, offset).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => self.changed(),
            _ => unreadable(self.path.clone(), error),
        })
    }

    fn check_unchanged(&self) -> Result<()> {
        let now = rustix::fs::fstat(&self.file).map_err(|_| self.changed())?;
        if Attributes::new(&now).is_unchanged(&self.attributes) { Ok(()) } else { Err(self.changed()) }
    }

    fn origin(&self, offset: u64) -> Option<Origin<'_>> {
        Some(Origin { file: &self.file, path: &self.path, offset, size: self.attributes.size })
    }
}
