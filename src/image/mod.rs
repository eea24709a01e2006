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
mod overlay;
mod register;
#[cfg(feature = "cli")]
mod stdout;
mod writeback;

use std::fs::{File, FileType, OpenOptions, TryLockError};
use std::io::{self, Seek, SeekFrom};
use std::ops::Range;
use std::os::unix::fs::{FileExt, FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use crate::disk::Physical;
use crate::error::{Error, Result};
use crate::progress::Progress;

use block_device::BlockDevice;
use lock::Access;
use map::Map;
use overlay::Overlay;

pub use block_device::is_in_dev;
pub use clone::Origin;
pub use clone::clone_range;
pub use clone::is_sharing_impossible;
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
    /// Where there is one, nothing is written to the file.
    overlay: Option<Arc<Overlay>>,
}

impl Image {
    /// Opens for reading. Neither a directory nor a pipe or character device is accepted.
    ///
    /// # Errors
    /// It cannot be opened, or is neither a file nor a block device.
    pub fn open(path: &Path) -> Result<Self> {
        file_type(path)?;
        let file = File::open(path).map_err(|source| Error::Open { path: path.to_owned(), source })?;
        Self::of(path, file, OnceLock::new())
    }

    /// As [`Image::open`], for all to be read by `pread`.
    ///
    /// # Errors
    /// As those of [`Image::open`].
    pub fn open_unmapped(path: &Path) -> Result<Self> {
        Ok(Self { map: OnceLock::from(None), ..Self::open(path)? })
    }

    /// Opens for reading and writing. An image that is mounted, behind a loop device, or open for writing elsewhere is
    /// refused with [`Error::InUse`]. A file stays locked (flock(2)) while it is open; programs that only read need not heed
    /// the lock. A file that another program has locked by ranges (fcntl(2)), as virtual machines do, is refused too.
    ///
    /// # Errors
    /// As those of [`Image::open`]; [`Error::InUse`] and [`Error::ReadOnly`].
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
        Ok(Self { path: path.to_owned(), file, size: size.into(), map, overlay: None })
    }

    /// The same image, on which from now on what is written stands before what is there: all handles that are made of this one
    /// read it, and nothing reaches the file. [`Image::staged_ranges`] tells what it is.
    #[must_use]
    pub fn staged(self) -> Self {
        Self { overlay: Some(Arc::default()), ..self }
    }

    /// Another handle of the same image, with the same locks and what is staged.
    ///
    /// # Errors
    /// The process has too many open files.
    pub fn again(&self) -> Result<Self> {
        let overlay = self.overlay.clone();
        let map = match self.is_writable() && overlay.is_none() {
            true => OnceLock::from(None),
            false => OnceLock::new(),
        };
        Ok(Self { overlay, ..self.beneath(map)? })
    }

    /// A handle that writes to the file itself, and reads from it. There is none while other handles read what is staged: the file
    /// must not change under their views.
    ///
    /// # Errors
    /// As those of [`Image::again`].
    pub fn unstaged(&self) -> Result<Option<Self>> {
        let is_last = self.overlay.as_ref().is_none_or(|overlay| Arc::strong_count(overlay) == 1);
        let is_unmapped = self.map.get().is_none_or(Option::is_none);
        match is_last && is_unmapped {
            true => self.beneath(OnceLock::from(None)).map(Some),
            false => Ok(None),
        }
    }

    fn beneath(&self, map: OnceLock<Option<Map>>) -> Result<Self> {
        let path = self.path.clone();
        let file = self.file.try_clone().map_err(|source| Error::Open { path: path.clone(), source })?;
        Ok(Self { path, file, size: self.size().into(), map, overlay: None })
    }

    /// The ranges that are staged, in their order; none is longer than `longest`, which is a multiple of 4096.
    pub fn staged_ranges(&self, longest: u64) -> Vec<Range<u64>> {
        self.overlay.as_ref().map(|overlay| overlay.ranges(longest)).unwrap_or_default()
    }

    fn is_writable(&self) -> bool {
        rustix::fs::fcntl_getfl(&self.file).is_ok_and(|flags| flags.contains(rustix::fs::OFlags::RDWR))
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

    /// Whether what is written is staged, and reaches no file.
    pub fn is_staged(&self) -> bool {
        self.overlay.is_some()
    }

    /// Makes a file this long; what is new is a hole. A file on which all is staged stays as long as it is, and only the image
    /// has the size.
    ///
    /// # Errors
    /// [`Error::Resize`]
    pub fn set_size(&self, size: u64) -> Result<()> {
        let error = |source| Error::Resize { path: self.path.clone(), size, source };
        let set_len = |_| if self.is_staged() { Ok(()) } else { self.file.set_len(size) };
        // The kernel counts with a sign.
        let set = i64::try_from(size).map_err(|_| io::ErrorKind::FileTooLarge.into()).and_then(set_len);
        set.map_err(error)?;
        self.size.store(size, Ordering::Relaxed);
        Ok(())
    }

    /// The bytes at `offset` where they lie. Nothing where only [`Image::read`] tells what they are: the image is not mapped, or
    /// a page of its map could not be read. They may be worth nothing: see [`Image::has_faulted`].
    pub fn view(&self, offset: Physical, length: usize) -> Option<&[u8]> {
        let new = || match self.overlay.is_some() && self.is_writable() {
            true => Map::of_held(&self.file, self.size()),
            false => Map::new(&self.path, &self.file, self.size()),
        };
        let map = self.map.get_or_init(new).as_ref()?;
        let is_staged = self.overlay.as_ref().is_some_and(|overlay| overlay.touches(offset.0, length as u64));
        if is_staged { None } else { map.view(offset.0, length) }
    }

    /// Whether a page of the map could not be read. Views that were handed out before may show zeroes there since, so that
    /// what was made of them may be wrong.
    pub fn has_faulted(&self) -> bool {
        self.map.get().and_then(Option::as_ref).is_some_and(Map::has_faulted)
    }

    /// Fills `buffer` from `offset`. A range that is not there whole is an error.
    ///
    /// # Errors
    /// [`Error::Read`], or [`Error::Short`] for a range past the end.
    pub fn read(&self, offset: Physical, buffer: &mut [u8]) -> Result<()> {
        let Some(overlay) = &self.overlay else { return self.read_file(offset, buffer) };
        let read = overlay.read(offset.0, buffer, |buffer| self.read_beneath(offset, buffer).map_err(Staging::Image));
        read.map_err(Error::from)
    }

    /// As [`Image::read_file`]; what only the image has reads as zeroes.
    fn read_beneath(&self, offset: Physical, buffer: &mut [u8]) -> Result<()> {
        let of_file = self.file.metadata().map_or(self.size(), |metadata| metadata.len());
        let is_larger = !self.is_device() && self.size() > of_file;
        let there = if is_larger { of_file.saturating_sub(offset.0) } else { u64::MAX };
        let there = usize::try_from(there).unwrap_or(usize::MAX).min(buffer.len());
        let (beneath, beyond) = buffer.split_at_mut(there);
        beyond.fill(0);
        if beneath.is_empty() { Ok(()) } else { self.read_file(offset, beneath) }
    }

    fn read_file(&self, offset: Physical, buffer: &mut [u8]) -> Result<()> {
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
    ///
    /// # Errors
    /// [`Error::Write`], or [`Error::PastEnd`] for a range past the end.
    pub fn write(&self, offset: Physical, bytes: &[u8]) -> Result<()> {
        self.check_range(offset, bytes.len() as u64)?;
        if let Some(overlay) = &self.overlay {
            // The end of an image need not be that of a page.
            let below = |start: u64, buffer: &mut [u8]| {
                let there = usize::try_from(self.size().saturating_sub(start)).unwrap_or(usize::MAX).min(buffer.len());
                self.read_beneath(Physical(start), &mut buffer[..there]).map_err(Staging::Image)
            };
            return overlay.write(offset.0, bytes, below).map_err(Error::from);
        }
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

    /// Has the kernel begin to write to the disk what was written, so that [`Image::sync`] finds less to do. Does not wait:
    /// [`Image::sync`] returns the errors.
    pub fn begin_sync(&self) {
        if self.overlay.is_some() {
            return;
        }
        writeback::begin(&self.file);
    }

    /// Returns when all that was written is on the disk. After an error it is unknown what is. To try again does not
    /// help: the kernel forgets what it could not write.
    ///
    /// # Errors
    /// [`Error::Sync`]
    pub fn sync(&self) -> Result<()> {
        if self.overlay.is_some() {
            return Ok(());
        }
        self.file.sync_data().map_err(|source| Error::Sync { path: self.path.clone(), source })
    }
}

/// What fails where something is staged: the image, or the temporary file.
enum Staging {
    Image(Error),
    Temporary(io::Error),
}

impl From<io::Error> for Staging {
    fn from(error: io::Error) -> Self {
        Self::Temporary(error)
    }
}

impl From<Staging> for Error {
    fn from(staging: Staging) -> Self {
        match staging {
            Staging::Image(error) => error,
            Staging::Temporary(error) => Self::Temporary(error),
        }
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
