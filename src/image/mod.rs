//! Image files and block devices.
//!
//! Bytes are read by `pread` into buffers of the caller, never through a map: a failing disk, a file that somebody
//! truncates and a filesystem that is in use while it is read yield errors and stable bytes, where a map would yield a
//! signal or bytes that change after they were verified.

mod mounts;

use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, FileTypeExt};
use std::path::{Path, PathBuf};

use crate::disk::Physical;
use crate::error::{Error, Result};

pub use mounts::{Mount, mount_of};

/// An open image file or block device.
#[derive(Debug)]
pub struct Image {
    path: PathBuf,
    file: File,
    size: u64,
}

impl Image {
    /// Opens for reading. Neither a directory nor a pipe or character device is accepted.
    pub fn open(path: &Path) -> Result<Self> {
        let open_error = |source| Error::Open { path: path.to_owned(), source };
        let file_type = std::fs::metadata(path).map_err(open_error)?.file_type();
        if !file_type.is_file() && !file_type.is_block_device() {
            let kind = if file_type.is_dir() { "a directory" } else { "a special file" };
            return Err(Error::NotAnImage { path: path.to_owned(), kind });
        }
        let mut file = File::open(path).map_err(open_error)?;
        // The end of a block device is found by seeking; its metadata has no length.
        let size = file.seek(SeekFrom::End(0)).map_err(open_error)?;
        Ok(Self { path: path.to_owned(), file, size })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes of the file or device when it was opened.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Fills `buffer` from `offset`. A range that is not there whole is an error.
    pub fn read(&self, offset: Physical, buffer: &mut [u8]) -> Result<()> {
        self.file.read_exact_at(buffer, offset.0).map_err(|source| match source.kind() {
            io::ErrorKind::UnexpectedEof => Error::Short {
                path: self.path.clone(),
                offset,
                length: buffer.len(),
                size: self.file.metadata().map_or(self.size, |metadata| metadata.len().min(self.size)),
            },
            _ => Error::Read { path: self.path.clone(), offset, source },
        })
    }
}
