//! Standard output and standard error.

use std::fmt::Display;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;

/// Standard output without the buffer of the standard library: dumps come in large pieces.
pub fn stdout() -> io::Result<File> {
    Ok(File::from(io::stdout().as_fd().try_clone_to_owned()?))
}

/// Whether the reader of our output went away, as `head` does.
pub fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .any(|cause| cause.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe))
}

/// One line for a person; that standard error is closed is nothing to fail for.
pub fn error(program: &str, message: &dyn Display) {
    let _ = writeln!(io::stderr(), "{program}: {message}");
}

pub fn warning(program: &str, message: &dyn Display) {
    let _ = writeln!(io::stderr(), "{program}: warning: {message}");
}
