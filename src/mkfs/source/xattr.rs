//! Extended attributes.

use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::{fgetxattr, flistxattr, lgetxattr, llistxattr};
use rustix::io::Errno;

/// As long as the list of names, and as a value, may be (`XATTR_LIST_MAX`, `XATTR_SIZE_MAX`).
const LIMIT: usize = 65536;

/// Reads attributes, with room for them that is used again.
#[derive(Debug)]
pub struct Xattrs {
    names: Vec<u8>,
    value: Vec<u8>,
}

impl Default for Xattrs {
    fn default() -> Self {
        Self { names: vec![0; LIMIT], value: vec![0; LIMIT] }
    }
}

impl Xattrs {
    /// Hands the names and values of an open file to `visit`.
    pub fn of_file(&mut self, file: impl AsFd, visit: impl FnMut(&[u8], &[u8])) -> io::Result<()> {
        self.read(|names| flistxattr(&file, names), |name, value| fgetxattr(&file, name, value), visit)
    }

    /// Hands the names and values of what is at `path`, a symlink itself, to `visit`.
    pub fn of_path(&mut self, path: &Path, visit: impl FnMut(&[u8], &[u8])) -> io::Result<()> {
        self.read(|names| llistxattr(path, names), |name, value| lgetxattr(path, name, value), visit)
    }

    fn read(
        &mut self,
        list: impl Fn(&mut [u8]) -> rustix::io::Result<usize>,
        get: impl Fn(&[u8], &mut [u8]) -> rustix::io::Result<usize>,
        mut visit: impl FnMut(&[u8], &[u8]),
    ) -> io::Result<()> {
        let length = match list(&mut self.names) {
            Err(Errno::NOTSUP) => return Ok(()),
            other => other?,
        };
        for name in self.names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
            let length = get(name, &mut self.value)?;
            visit(name, &self.value[..length]);
        }
        Ok(())
    }
}
