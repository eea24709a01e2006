//! What a source answers, and in which words.

use std::ops::Range;
use std::path::{Component, Path, PathBuf};

use crate::error::{Error, Result};
use crate::image::Origin;

use super::attributes::Attributes;
use super::listing::List;

/// Where the files of a new filesystem come from: a directory, an archive, memory.
///
/// First all entries are told, each once, by directory or in any order; they are numbered by their names, so that the
/// order makes no difference to the filesystem. Then threads ask for the contents, in the order of the numbers.
pub trait Source: Sync {
    /// What a thread keeps from one question to the next, such as an open directory.
    type Reader: Default + Send;
    /// The contents of an open file.
    type File: SourceFile;

    /// The directory that is the root of the filesystem.
    ///
    /// # Errors
    /// It cannot be read.
    fn root(&self) -> Result<Attributes>;

    /// Everything below the root.
    ///
    /// # Errors
    /// It cannot be read.
    fn entries(&self) -> Result<Entries<'_>>;

    /// Hands the names and values of the extended attributes to `visit`. `file` is there if the contents are open.
    ///
    /// # Errors
    /// They cannot be read.
    fn xattrs(
        &self,
        reader: &mut Self::Reader,
        at: &At<'_>,
        file: Option<&Self::File>,
        visit: &mut dyn FnMut(&[u8], &[u8]),
    ) -> Result<()>;

    /// The target of a symlink.
    ///
    /// # Errors
    /// It cannot be read.
    fn symlink(&self, reader: &mut Self::Reader, at: &At<'_>) -> Result<Vec<u8>>;

    /// The contents of a file. They must have the size that its entry told.
    ///
    /// # Errors
    /// It cannot be opened.
    fn open(&self, reader: &mut Self::Reader, at: &At<'_>) -> Result<Self::File>;

    /// The next entry may be far away: closes what the reader has open.
    fn rest(&self, _reader: &mut Self::Reader) {}

    /// What a path below the root is called in messages.
    fn path_of(&self, path: &[u8]) -> PathBuf {
        use std::os::unix::ffi::OsStrExt;
        PathBuf::from(std::ffi::OsStr::from_bytes(path))
    }

    /// The path of an entry, from a path that a person gave. A leading `/` means the root.
    ///
    /// # Errors
    /// No path below the root.
    fn resolve(&self, path: &Path) -> Result<Vec<u8>> {
        use std::os::unix::ffi::OsStrExt;
        let mut inside = PathBuf::new();
        for component in path.components() {
            match component {
                Component::Normal(name) => inside.push(name),
                Component::RootDir | Component::CurDir => {}
                Component::ParentDir | Component::Prefix(_) => {
                    let problem = "is not below the root of the source".to_owned();
                    return Err(Error::Unfit { path: path.to_owned(), problem });
                }
            }
        }
        Ok(inside.as_os_str().as_bytes().to_vec())
    }

    /// The directory of this machine that the entries are in, if they are: images may be among them, and blocks of files may
    /// be shared.
    fn directory(&self) -> Option<&Path> {
        None
    }
}

/// How a source tells its entries.
pub enum Entries<'s> {
    /// Directory by directory, when asked.
    Listed(&'s dyn List),
    /// All of them, in any order: what is below a directory may come before the directory.
    Unordered(Box<dyn Iterator<Item = Result<SourceEntry>> + 's>),
}

/// One entry of a directory.
#[derive(Clone, Debug)]
pub struct SourceEntry {
    /// Below the root, with `/` between names and none before the first.
    pub path: Vec<u8>,
    /// Of several entries with the same `dev` and `ino`, and with that many `nlink`s, the first by number has the inode.
    pub attributes: Attributes,
    /// What the source finds the contents by.
    pub id: u64,
}

/// Which entry the contents are asked of.
#[derive(Clone, Copy, Debug)]
pub struct At<'a> {
    /// What the source told with the entry.
    pub id: u64,
    /// Path of the directory that the entry is in; of the top of a tree, whose name is `.`, its own.
    pub directory: &'a [u8],
    /// Name in that directory.
    pub name: &'a [u8],
    /// What the source told of the entry.
    pub attributes: &'a Attributes,
}

impl At<'_> {
    /// The path below the root.
    pub fn path(&self) -> Vec<u8> {
        if self.name == b"." { self.directory.to_vec() } else { join(self.directory, self.name) }
    }
}

/// The contents of a file, read by several threads at once.
pub trait SourceFile: Send + Sync {
    /// The ranges that hold data, in whole sectors and in order; the last one may reach past the end of the file. What is
    /// between them is a hole.
    ///
    /// # Errors
    /// They cannot be found out.
    fn segments(&self, sectorsize: u64) -> Result<Vec<Range<u64>>>;

    /// Fills all of `buffer` from `offset` on.
    ///
    /// # Errors
    /// It cannot be read, or the file has become shorter.
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> Result<()>;

    /// Fails if the contents are no longer those that the entry told of.
    ///
    /// # Errors
    /// [`Error::Changed`]
    fn check_unchanged(&self) -> Result<()> {
        Ok(())
    }

    /// Where on this machine the data from `offset` on can be shared with.
    fn origin(&self, _offset: u64) -> Option<Origin<'_>> {
        None
    }
}

/// A path from those of a directory and of a name in it.
pub(super) fn join(directory: &[u8], name: &[u8]) -> Vec<u8> {
    match directory.is_empty() {
        true => name.to_vec(),
        false => [directory, b"/", name].concat(),
    }
}
