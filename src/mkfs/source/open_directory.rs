//! Where things are opened, and what they are called in messages.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, openat, readlinkat, statat};
use rustix::io::Errno;

use crate::error::{Error, Result};

use super::attributes::Attributes;

/// The longest path that the kernel takes, with the byte that ends it.
const PATH_MAX: usize = 4096;

/// An open directory below the one that is read.
#[derive(Debug)]
pub struct OpenDirectory {
    fd: OwnedFd,
    path: PathBuf,
}

impl OpenDirectory {
    /// The directory at `relative` below `root`. A path may be longer than the kernel takes at once.
    pub fn open(root: &Path, relative: &[u8]) -> Result<Self> {
        let path = if relative.is_empty() { root.to_owned() } else { root.join(OsStr::from_bytes(relative)) };
        match Self::descend(root, relative) {
            Ok(fd) => Ok(Self { fd, path }),
            Err(error) => Err(unreadable(path, error)),
        }
    }

    fn descend(root: &Path, mut relative: &[u8]) -> io::Result<OwnedFd> {
        // The directory itself may be named by a symlink; what is below it is what the walk saw.
        let mut fd = open_quietly(CWD, root.as_os_str().as_bytes(), OFlags::DIRECTORY)?;
        while !relative.is_empty() {
            let end = match relative.len() < PATH_MAX {
                true => relative.len(),
                false => relative[..PATH_MAX].iter().rposition(|byte| *byte == b'/').unwrap_or(relative.len()),
            };
            fd = open_quietly(&fd, &relative[..end], OFlags::DIRECTORY | OFlags::NOFOLLOW)?;
            relative = relative.get(end + 1..).unwrap_or_default();
        }
        Ok(fd)
    }

    pub fn fd(&self) -> &OwnedFd {
        &self.fd
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn path_of(&self, name: &[u8]) -> PathBuf {
        self.path.join(OsStr::from_bytes(name))
    }

    /// A path of an entry that the kernel takes.
    pub fn usable_path_of(&self, name: &[u8]) -> PathBuf {
        use std::os::fd::AsRawFd;
        let path = self.path_of(name);
        match path.as_os_str().len() < PATH_MAX {
            true => path,
            false => PathBuf::from(format!("/proc/self/fd/{}", self.fd.as_raw_fd())).join(OsStr::from_bytes(name)),
        }
    }

    pub fn error(&self, name: &[u8], source: impl Into<io::Error>) -> Error {
        unreadable(self.path_of(name), source.into())
    }

    pub fn attributes(&self) -> Result<Attributes> {
        let stat = rustix::fs::fstat(&self.fd).map_err(|error| unreadable(self.path.clone(), error.into()))?;
        Ok(Attributes::new(&stat))
    }

    /// Of an entry itself, also if it is a symlink.
    pub fn attributes_of(&self, name: &[u8]) -> Result<Attributes> {
        let stat = statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW).map_err(|error| self.error(name, error))?;
        Ok(Attributes::new(&stat))
    }

    pub fn open_file(&self, name: &[u8]) -> Result<File> {
        // Not to wait for the other end, should the file have become a pipe.
        let fd = open_quietly(&self.fd, name, OFlags::NOFOLLOW | OFlags::NONBLOCK);
        fd.map(File::from).map_err(|error| self.error(name, error))
    }

    pub fn symlink_target(&self, name: &[u8]) -> Result<Vec<u8>> {
        let target = readlinkat(&self.fd, name, Vec::new()).map_err(|error| self.error(name, error))?;
        Ok(target.into_bytes())
    }
}

/// Opens for reading, without a trace in the time of access where that is allowed: it would tell two runs apart.
fn open_quietly(directory: impl AsFd, path: &[u8], flags: OFlags) -> io::Result<OwnedFd> {
    let flags = flags | OFlags::RDONLY | OFlags::CLOEXEC;
    match openat(&directory, path, flags | OFlags::NOATIME, Mode::empty()) {
        Err(Errno::PERM) => Ok(openat(&directory, path, flags, Mode::empty())?),
        other => Ok(other?),
    }
}

/// The error of a file that cannot be read.
pub fn unreadable(path: PathBuf, source: io::Error) -> Error {
    Error::Source { path, source }
}
