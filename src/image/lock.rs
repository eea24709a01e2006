//! Locks of image files.

use std::fs::{File, TryLockError};
use std::time::Duration;

/// What an image is opened for.
#[derive(Clone, Copy)]
pub enum Access {
    Read,
    Write,
}

/// Locks a file exclusively. A program that another thread of this process is just starting has all files of the process, and
/// with them locks that were given up here, until it runs: that passes.
pub fn take(file: &File) -> Result<(), TryLockError> {
    const TRIES: u32 = 20;
    for _ in 1..TRIES {
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(5)),
            done => return done,
        }
    }
    file.try_lock()
}

/// Whether another process has locked any range of a file against this access. Our own lock is given up at once: some network filesystems
/// make such locks of those of flock(2), and would refuse us the one for the other.
pub fn has_range(file: &File, access: Access) -> bool {
    use rustix::fs::{FlockOperation, fcntl_lock};
    use rustix::io::Errno;
    let operation = match access {
        Access::Read => FlockOperation::NonBlockingLockShared,
        Access::Write => FlockOperation::NonBlockingLockExclusive,
    };
    match fcntl_lock(file, operation) {
        // Where there are no such locks, no process has one.
        Err(error) => error == Errno::AGAIN || error == Errno::ACCESS,
        Ok(()) => {
            // It ends with the file at the latest.
            let _ = fcntl_lock(file, FlockOperation::Unlock);
            false
        }
    }
}
