//! Having the kernel write what it holds of a file, without waiting for it: a call that no crate has.

use std::fs::File;
use std::os::fd::AsRawFd;

/// Begins to write all of a file that is not on the disk yet. A failure is not reported here:
/// [`super::Image::sync`] waits for the writes and returns their errors.
#[expect(unsafe_code, reason = "the call has no safe form")]
pub fn begin(file: &File) {
    const TO_THE_END: i64 = 0;
    // SAFETY: the call is given numbers alone, and the descriptor is open as long as `file` is borrowed.
    unsafe { libc::sync_file_range(file.as_raw_fd(), 0, TO_THE_END, libc::SYNC_FILE_RANGE_WRITE) };
}
