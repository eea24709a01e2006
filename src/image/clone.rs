//! Sharing blocks with other files instead of writing them.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::io::Errno;

use crate::disk::Physical;
use crate::error::{Error, Result};

use super::Image;

/// A place in a file whose blocks may be shared.
#[derive(Clone, Copy, Debug)]
pub struct Origin<'a> {
    /// The file.
    pub file: &'a File,
    /// What the file is called in messages.
    pub path: &'a Path,
    /// First byte of the place.
    pub offset: u64,
    /// Bytes of the file.
    pub size: u64,
}

impl Origin<'_> {
    /// So many bytes further on.
    pub fn after(self, bytes: u64) -> Self {
        Self { offset: self.offset.saturating_add(bytes), ..self }
    }
}

impl Image {
    /// Fails if files of the filesystem that `directory` lies in cannot share blocks with the image. Nothing is changed.
    ///
    /// # Errors
    /// [`Error::NotShared`], or `directory` cannot be opened.
    pub fn check_sharing(&self, directory: &Path) -> Result<()> {
        let problem = |problem| self.not_shared(directory, problem);
        if self.is_device() {
            return Err(problem("that is a block device"));
        }
        let source = File::open(directory);
        let source = source.map_err(|source| Error::Source { path: directory.to_owned(), source })?;
        // Neither changes anything, and the kernel says what stands against it: it looks at the filesystems first.
        for file in [&source, &self.file] {
            if let Err(error) = clone_range(file, 0, 0, &self.file, 0)
                && let Some(cause) = cause(&error)
            {
                return Err(problem(cause));
            }
        }
        Ok(())
    }

    /// Shares those of `length` bytes from `start` on that are whole blocks of the file at `origin`, and returns how many
    /// they are. The others, behind them, are to be written.
    ///
    /// # Errors
    /// The image cannot be written, or the kernel does not share the blocks.
    pub fn share(&self, start: Physical, length: u64, origin: Origin<'_>) -> Result<u64> {
        let write_error = |source| Error::Write { path: self.path.clone(), offset: start, source };
        let block = self.file.metadata().map_err(write_error)?.blksize().max(1);
        let length = length.min(origin.size.saturating_sub(origin.offset));
        let length = length - length % block;
        if length == 0 || !start.0.is_multiple_of(block) || !origin.offset.is_multiple_of(block) {
            return Ok(0);
        }
        self.check_range(start, length)?;
        clone_range(origin.file, origin.offset, length, &self.file, start.0)
            .map_err(|error| self.not_shared(origin.path, cause(&error).unwrap_or(&error.to_string())))?;
        Ok(length)
    }

    fn not_shared(&self, path: &Path, problem: &str) -> Error {
        Error::NotShared { path: path.to_owned(), image: self.path.clone(), problem: problem.to_owned() }
    }
}

/// What is wrong with the filesystems of two files that cannot share blocks.
fn cause(error: &io::Error) -> Option<&'static str> {
    match Errno::from_io_error(error)? {
        Errno::XDEV => Some("they are on different filesystems"),
        Errno::OPNOTSUPP | Errno::NOTTY | Errno::NOSYS => Some("their filesystem has no shared blocks"),
        _ => None,
    }
}

/// Whether the kernel refuses to share blocks of two files whatever the range is: their filesystems cannot.
pub fn is_sharing_impossible(error: &io::Error) -> bool {
    cause(error).is_some()
}

/// Has a range of `target` be the same blocks as one of `source`; 0 bytes are those up to its end.
///
/// # Errors
/// The kernel does not share the blocks.
#[expect(unsafe_code, reason = "the call has no safe form")]
pub fn clone_range(source: &File, offset: u64, length: u64, target: &File, start: u64) -> io::Result<()> {
    let range = libc::file_clone_range {
        src_fd: source.as_raw_fd().into(),
        src_offset: offset,
        src_length: length,
        dest_offset: start,
    };
    // SAFETY: the call reads one `file_clone_range`, which `range` is until it returns, and writes to no memory; both
    // descriptors are open as long as the files are borrowed.
    match unsafe { libc::ioctl(target.as_raw_fd(), libc::FICLONERANGE, &raw const range) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
