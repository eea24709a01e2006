//! A map of an image: bytes are viewed where they lie.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::parallel::addresses_left;
use memmap2::{Mmap, UncheckedAdvice};

use super::fault::Watch;
use super::holder;
use super::lock::{self, Access};

/// Bytes that are viewed before the kernel is told that the process needs none of them: what was viewed counts as memory of
/// the process until then. Pages that are viewed again are in the page cache still.
const RESIDENT: u64 = 64 << 20;

#[derive(Debug)]
pub struct Map {
    // Dropped first: nothing is mended where the map was.
    watch: Watch,
    memory: Mmap,
    viewed: AtomicU64,
}

impl Map {
    /// Maps an image that was opened for reading; nothing where it is to be read by `pread` instead. Those are images that
    /// another process may write: what is mounted, behind a loop device, open for writing elsewhere or locked. And those that do not
    /// fit the addresses of the process. While the map is there, the image has a shared lock (flock(2)), which keeps out our
    /// own kind.
    pub fn new(path: &Path, file: &File, size: u64) -> Option<Self> {
        let is_writable_elsewhere = || is_open_for_writing(file) || lock::has_range(file, Access::Read);
        if !fits(size) || holder::of(path).is_some() || file.try_lock_shared().is_err() || is_writable_elsewhere() {
            return None;
        }
        Self::of_held(file, size)
    }

    /// Maps an image that the caller holds: no other process writes it, nor does this one while the map is there. Nothing if
    /// it does not fit the addresses of the process.
    #[expect(unsafe_code, reason = "a map has no safe form")]
    pub fn of_held(file: &File, size: u64) -> Option<Self> {
        let length = usize::try_from(size).ok().filter(|length| *length > 0 && fits(size))?;
        // SAFETY: this process does not write the file while it is mapped: `Image` maps what was opened for reading, and what was
        // opened for writing only while all that is written is staged beside it (`Image::unstaged`); it is locked exclusively then. Of
        // other processes, those that can be told are ruled out by the caller. One
        // that writes all the same changes bytes under a view; views are bytes or structs of bytes, for which every value is valid,
        // and each access to them is checked against the length of the view. Pages that cannot be read are mended (`fault.rs`).
        let memory = unsafe { memmap2::MmapOptions::new().len(length).map(file) }.ok()?;
        let watch = Watch::new(memory.as_ptr() as usize, length)?;
        Some(Self { watch, memory, viewed: AtomicU64::new(0) })
    }

    /// The bytes at `start`; nothing if they are not all there, or if a page of the map could not be read before: then only
    /// `pread` tells what can be.
    pub fn view(&self, start: u64, length: usize) -> Option<&[u8]> {
        let start = usize::try_from(start).ok()?;
        let bytes = self.memory.get(start..start.checked_add(length)?)?;
        let before = self.viewed.fetch_add(length as u64, Ordering::Relaxed);
        if before / RESIDENT != before.wrapping_add(length as u64) / RESIDENT {
            self.forget();
        }
        (!self.has_faulted()).then_some(bytes)
    }

    /// Whether a page of the map could not be read: then what was made of views may be wrong.
    pub fn has_faulted(&self) -> bool {
        self.watch.has_faulted()
    }

    /// Tells the kernel that none of the pages is needed now.
    #[expect(unsafe_code, reason = "the call has no safe form")]
    fn forget(&self) {
        // SAFETY: the pages are those of a file, mapped shared and for reading only: one that is viewed again has the bytes of the
        // file again. A page of zeroes that stands for one that could not be read stays one of zeroes.
        let _ = unsafe { self.memory.unchecked_advise(UncheckedAdvice::DontNeed) };
    }
}

/// Whether the addresses of the process hold so many bytes: where they are limited, threads and memory need most of them.
fn fits(size: u64) -> bool {
    addresses_left().is_none_or(|left| size <= left / 8)
}

/// Whether any process has the file open for writing. Only of a read-only descriptor, and only where the filesystem has leases
/// (fcntl(2), F_SETLEASE) and the file is ours, can it be told.
#[expect(unsafe_code, reason = "the calls have no safe form")]
fn is_open_for_writing(file: &File) -> bool {
    /// include/uapi/asm-generic/fcntl.h
    const F_SETSIG: libc::c_int = 10;
    let descriptor = file.as_raw_fd();
    // SAFETY: the calls are given numbers alone, and the descriptor is open as long as `file` is borrowed. A process that opens
    // the file between the calls has the lease broken, which a signal would tell; this one is ignored by default.
    let status = unsafe {
        libc::fcntl(descriptor, F_SETSIG, libc::SIGURG);
        libc::fcntl(descriptor, libc::F_SETLEASE, libc::F_RDLCK)
    };
    if status != 0 {
        return std::io::Error::last_os_error().kind() == std::io::ErrorKind::WouldBlock;
    }
    // SAFETY: as above.
    unsafe { libc::fcntl(descriptor, libc::F_SETLEASE, libc::F_UNLCK) };
    false
}
