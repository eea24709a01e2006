//! Whether standard output was there when the process began.

use std::sync::atomic::{AtomicBool, Ordering};

static WAS_CLOSED: AtomicBool = AtomicBool::new(false);

/// Runs before the standard library, which opens `/dev/null` in the place of a standard stream that is closed: what is
/// printed there afterwards would be lost without an error.
#[used]
#[expect(unsafe_code, reason = "nothing safe runs before the standard library")]
#[unsafe(link_section = ".init_array")]
static LOOK: extern "C" fn() = look;

#[expect(unsafe_code, reason = "the call has no safe form")]
extern "C" fn look() {
    // SAFETY: the call takes numbers alone, and changes nothing.
    let flags = unsafe { libc::fcntl(libc::STDOUT_FILENO, libc::F_GETFD) };
    WAS_CLOSED.store(flags == -1, Ordering::Relaxed);
}

/// Whether standard output was closed when the process began.
pub fn stdout_was_closed() -> bool {
    WAS_CLOSED.load(Ordering::Relaxed)
}
