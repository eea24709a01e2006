//! Standard output and standard error.

use std::fmt::Display;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;

use super::color::{self, Palette};

/// Standard output without the buffer of the standard library: dumps come in large pieces.
///
/// # Errors
/// Standard output was closed when the program began. The standard library has put `/dev/null` in its place.
pub fn stdout() -> io::Result<File> {
    if crate::image::stdout_was_closed() {
        return Err(rustix::io::Errno::BADF.into());
    }
    Ok(File::from(io::stdout().as_fd().try_clone_to_owned()?))
}

/// Whether the reader of our output went away, as `head` does. Errors of images are no errors of the output.
pub fn is_closed_pipe(error: &anyhow::Error) -> bool {
    let is_of_image = matches!(error.downcast_ref(), Some(other) if !matches!(other, crate::Error::Output(_)));
    let kind = |cause: &(dyn std::error::Error + 'static)| match cause.downcast_ref::<io::Error>() {
        Some(error) => Some(error.kind()),
        // It does not name the error of the output as its source.
        None => cause.downcast_ref::<serde_json::Error>()?.io_error_kind(),
    };
    !is_of_image && error.chain().any(|cause| kind(cause) == Some(io::ErrorKind::BrokenPipe))
}

/// What a command did is on the disk, and could not be printed.
#[derive(Debug, thiserror::Error)]
#[error("the change is on the disk, only what was done could not be printed: {0:#}")]
struct Untold(anyhow::Error);

/// Says of what a command prints after a change that its failure is no failure of the change. A pipe that was closed is
/// one, too: of a change the reader has to learn.
pub fn after_change(printed: anyhow::Result<()>) -> anyhow::Result<()> {
    printed.map_err(|error| Untold(error).into())
}

/// Some block groups were moved, then the work ended.
#[derive(Debug, thiserror::Error)]
#[error("{done}, then this failed: {error:#}; the same command goes on with the others")]
pub struct PartlyMoved {
    /// What is on the disk.
    pub done: String,
    pub error: anyhow::Error,
}

/// Whether the work of a command is on the disk, or may be, in spite of the error.
pub fn is_after_change(error: &anyhow::Error) -> bool {
    use crate::Error::{PartlyPublished, PartlyUndone};
    error.is::<Untold>()
        || error.is::<PartlyMoved>()
        || matches!(error.downcast_ref(), Some(PartlyPublished(_) | PartlyUndone(_)))
}

/// The code of an error for programs: that of the library's error, or one of what the programs refuse themselves.
pub fn code_of(error: &anyhow::Error) -> &'static str {
    match error.downcast_ref::<crate::Error>() {
        Some(error) => error.code(),
        None if error.is::<Untold>() => "untold",
        None if error.is::<PartlyMoved>() => "partly-moved",
        None => "failed",
    }
}

/// One line for a person; that standard error is closed is nothing to fail for.
pub fn error(program: &str, message: &dyn Display) {
    let program = Palette::of_stderr().paint(color::ERROR, format!("{program}:"));
    let _ = writeln!(io::stderr(), "{program} {message}");
}

pub fn warning(program: &str, message: &dyn Display) {
    let warning = Palette::of_stderr().paint(color::WARNING, "warning:");
    let _ = writeln!(io::stderr(), "{program}: {warning} {message}");
}
