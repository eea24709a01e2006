//! Image files and block devices.
//!
//! What is opened for reading is mapped where no other process writes it, and bytes are viewed where they lie. Everything else
//! is read by `pread` into buffers of the caller: a filesystem that is in use, and an image that is written here.

mod block_device;
mod clone;
mod fault;
mod holder;
mod lock;
mod map;
mod mounts;
mod register;
#[cfg(feature = "cli")]
mod stdout;
mod writeback;

use std::fs::{File, FileType, OpenOptions, TryLockError};
use std::io::{self, Seek, SeekFrom};
use std::ops::Range;
use std::os::unix::fs::{FileExt, FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::disk::Physical;
use crate::error::{Error, Result};
use crate::progress::Progress;

use block_device::BlockDevice;
use lock::Access;
use map::Map;

pub use clone::Origin;
pub use mounts::{Mount, mount_of};
#[cfg(feature = "cli")]
pub use stdout::stdout_was_closed;

/// Bytes that are discarded at once at the least, for such a call cannot be interrupted, and calls for one image at the most.
const DISCARDED: u64 = 1 << 30;
const DISCARDS: u64 = 4096;

/// An open image file or block device.
#[derive(Debug)]
pub struct Image {
    path: PathBuf,
    file: File,
    size: AtomicU64,
    /// Made when it is first needed. Without one, all is read by `pread`.
    map: OnceLock<Option<Map>>,
}

impl Image {
    /// Opens for reading. Neither a directory nor a pipe or character device is accepted.
    pub fn open(path: &Path) -> Result<Self> {
        file_type(path)?;
        let file = File::open(path).map_err(|source| Error::Open { path: path.to_owned(), source })?;
        Self::of(path, file, OnceLock::new())
    }

    /// As [`Image::open`], for all to be read by `pread`.
    pub fn open_unmapped(path: &Path) -> Result<Self> {
        Ok(Self { map: OnceLock::from(None), ..Self::open(path)? })
    }

    /// Opens for reading and writing, for nobody else to write meanwhile: what is mounted, behind a loop device, or open
    /// for writing elsewhere is refused with [`Error::InUse`]. A file stays locked (flock(2)) while it is open, which those
    /// who only read need not heed; what others have locked by ranges (fcntl(2)), as virtual machines do, is refused too.
    pub fn open_for_writing(path: &Path) -> Result<Self> {
        let in_use = |holder| Error::InUse { path: path.to_owned(), holder };
        let file_type = file_type(path)?;
        if let Some(holder) = holder::of(path) {
            return Err(in_use(holder));
        }
        let mut options = OpenOptions::new();
        options.read(true).write(true);
        if file_type.is_block_device() {
            options.custom_flags(libc::O_EXCL);
        }
        let file = options.open(path).map_err(|source| match source.kind() {
            io::ErrorKind::ResourceBusy => in_use(holder::EXCLUSIVE.to_owned()),
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                Error::ReadOnly { path: path.to_owned(), reason: source.to_string() }
            }
            _ => Error::Open { path: path.to_owned(), source },
        })?;
        // Opening such a device for writing succeeds, and only writing fails.
        if BlockDevice::of(path).is_some_and(|device| device.is_read_only()) {
            return Err(Error::ReadOnly { path: path.to_owned(), reason: "the device is read-only".to_owned() });
        }
        if file_type.is_file() {
            if lock::has_range(&file, Access::Write) {
                return Err(in_use(holder::of_lock(path)));
            }
            lock::take(&file).map_err(|error| match error {
                TryLockError::WouldBlock => in_use(holder::of_lock(path)),
                TryLockError::Error(source) => Error::Open { path: path.to_owned(), source },
            })?;
        }
        // Again: it may have been taken between the first look and the lock.
        if let Some(holder) = holder::of(path) {
            return Err(in_use(holder));
        }
        Self::of(path, file, OnceLock::from(None))
    }

    fn of(path: &Path, mut file: File, map: OnceLock<Option<Map>>) -> Result<Self> {
        // The end of a block device is found by seeking; its metadata has no length.
        let size = file.seek(SeekFrom::End(0)).map_err(|source| Error::Open { path: path.to_owned(), source })?;
        Ok(Self { path: path.to_owned(), file, size: size.into(), map })
    }

    /// The path that it was opened by.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes of the file or device when it was opened, or since it was given another size.
    pub fn size(&self) -> u64 {
        self.size.load(Ordering::Relaxed)
    }

    /// Whether it is a block device.
    pub fn is_device(&self) -> bool {
        self.file.metadata().is_ok_and(|metadata| metadata.file_type().is_block_device())
    }

    /// Says that nothing of its first `length` bytes is needed any more; whether all of that was heard before `progress`
    /// was stopped. What was heard of a file reads as zeroes then.
    pub fn discard(&self, length: u64, progress: &Progress) -> bool {
        use rustix::fs::{FallocateFlags, fallocate};
        // The kernel would write zeroes to a device that cannot discard.
        if self.is_device() && !BlockDevice::of(&self.path).is_some_and(|device| device.can_discard()) {
            return false;
        }
        // A file of holes may have exbibytes, and each call takes time.
        let step = (length / DISCARDS).next_multiple_of(DISCARDED).max(DISCARDED);
        let punch = |start: u64| {
            let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            fallocate(&self.file, flags, start, step.min(length - start)).is_ok()
        };
        (0..length).step_by(step as usize).all(|start| !progress.is_stopped() && punch(start))
    }

    /// Makes a file this long; what is new is a hole.
    pub fn set_size(&self, size: u64) -> Result<()> {
        let error = |source| Error::Resize { path: self.path.clone(), size, source };
        // The kernel counts with a sign.
        let set =
            i64::try_from(size).map_err(|_| io::ErrorKind::FileTooLarge.into()).and_then(|_| self.file.set_len(size));
        set.map_err(error)?;
        self.size.store(size, Ordering::Relaxed);
        Ok(())
    }

    /// The bytes at `offset` where they lie. Nothing where only [`Image::read`] tells what they are: the image is not mapped, or
    /// a page of its map could not be read. They may be worth nothing: see [`Image::has_faulted`].
    pub fn view(&self, offset: Physical, length: usize) -> Option<&[u8]> {
        self.map.get_or_init(|| Map::new(&self.path, &self.file, self.size())).as_ref()?.view(offset.0, length)
    }

    /// Whether a page of the map could not be read. Views that were handed out before may show zeroes there since, so that
    /// what was made of them may be wrong.
    pub fn has_faulted(&self) -> bool {
        self.map.get().and_then(Option::as_ref).is_some_and(Map::has_faulted)
    }

    /// Fills `buffer` from `offset`. A range that is not there whole is an error.
    pub fn read(&self, offset: Physical, buffer: &mut [u8]) -> Result<()> {
        self.file.read_exact_at(buffer, offset.0).map_err(|source| match source.kind() {
            io::ErrorKind::UnexpectedEof => Error::Short {
                path: self.path.clone(),
                offset,
                length: buffer.len(),
                size: self.file.metadata().map_or(self.size(), |metadata| metadata.len().min(self.size())),
            },
            _ => Error::Read { path: self.path.clone(), offset, source },
        })
    }

    /// The first range at or behind `offset` that is no hole; nothing if only holes follow. Where holes cannot be told, as on
    /// a block device, all is data.
    pub fn next_data(&self, offset: Physical) -> Option<Range<u64>> {
        use rustix::fs::{SeekFrom, seek};
        use rustix::io::Errno;
        let all = offset.0..self.size();
        if all.is_empty() {
            return None;
        }
        // Nothing else depends on the position of the file.
        let start = match seek(&self.file, SeekFrom::Data(offset.0)) {
            Ok(start) => start,
            Err(Errno::NXIO) => return None,
            Err(_) => return Some(all),
        };
        let end = seek(&self.file, SeekFrom::Hole(start)).unwrap_or(all.end);
        let range = start.max(all.start)..end.min(all.end);
        (!range.is_empty()).then_some(range)
    }

    /// Writes all of `bytes` at `offset`; they are sure to be on the disk after [`Image::sync`]. An image does not grow: a
    /// range that reaches past its end is an error, and nothing is written.
    pub fn write(&self, offset: Physical, bytes: &[u8]) -> Result<()> {
        self.check_range(offset, bytes.len() as u64)?;
        let error = |source| Error::Write { path: self.path.clone(), offset, source };
        self.file.write_all_at(bytes, offset.0).map_err(error)
    }

    /// Fails if a range reaches past the end.
    fn check_range(&self, offset: Physical, length: u64) -> Result<()> {
        match offset.checked_add(length) {
            Some(end) if end.0 <= self.size() => Ok(()),
            _ => Err(Error::PastEnd { path: self.path.clone(), offset, length, size: self.size() }),
        }
    }

    /// Has the kernel begin to write to the disk what was written, that [`Image::sync`] finds less to do. Nobody waits for
    /// it, and an error is reported when the image is synced.
    pub fn begin_sync(&self) {
        writeback::begin(&self.file);
    }

    /// Returns when all that was written is on the disk. After an error nobody knows what is; to try again does not help,
    /// for the kernel forgets what it could not write.
    pub fn sync(&self) -> Result<()> {
        self.file.sync_data().map_err(|source| Error::Sync { path: self.path.clone(), source })
    }
}

/// The type of an image, which is a file or a block device.
fn file_type(path: &Path) -> Result<FileType> {
    let metadata = std::fs::metadata(path).map_err(|source| Error::Open { path: path.to_owned(), source })?;
    let file_type = metadata.file_type();
    if !file_type.is_file() && !file_type.is_block_device() {
        let kind = if file_type.is_dir() { "a directory" } else { "a special file" };
        return Err(Error::NotAnImage { path: path.to_owned(), kind });
    }
    Ok(file_type)
}
