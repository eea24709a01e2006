//! Names that are listed, and what they lead to.

use crate::error::{Error, Result};
use crate::files::{FileKind, Files, InodeId};

use super::super::output;

/// A name with what it leads to.
pub struct Named {
    /// From the directory where paths begin.
    pub path: Vec<u8>,
    /// As it is printed.
    pub name: Vec<u8>,
    pub inode: InodeId,
    /// As the directory says.
    pub kind: FileKind,
    pub is_subvolume: bool,
}

/// How names are printed.
pub trait Form {
    /// Prints the names in a directory, which has the path `heading` unless only one is listed.
    fn list(
        &mut self,
        files: &Files<'_>,
        heading: Option<&[u8]>,
        names: &[Named],
        errors: &mut Errors<'_>,
    ) -> anyhow::Result<()>;

    /// Prints what comes behind all names.
    fn end(&mut self) -> anyhow::Result<()>;
}

/// Tells of what cannot be listed.
pub struct Errors<'p> {
    pub program: &'p str,
    pub met: bool,
}

impl Errors<'_> {
    pub fn tell(&mut self, path: &[u8], error: &Error) {
        self.met = true;
        output::error(self.program, &format_args!("{}: {error}", path.escape_ascii()));
    }

    /// What there is; an error is told.
    pub fn told<T>(&mut self, path: &[u8], result: Result<T>) -> Option<T> {
        result.inspect_err(|error| self.tell(path, error)).ok()
    }
}

/// What is at a path. Of an inode whose item cannot be read the kind is not known.
pub fn named(files: &Files<'_>, path: Vec<u8>, name: Vec<u8>, inode: InodeId) -> Named {
    let is_subvolume = files.subvolume_root(inode.tree).is_ok_and(|root| root == inode);
    let kind = files.attributes(inode).map_or(FileKind::Unknown, |attributes| attributes.kind());
    Named { path, name, inode, kind, is_subvolume }
}

pub fn join(directory: &[u8], name: &[u8]) -> Vec<u8> {
    let separator: &[u8] = if directory.is_empty() || directory.ends_with(b"/") { b"" } else { b"/" };
    [directory, separator, name].concat()
}
