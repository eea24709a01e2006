//! Exit codes.

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// All was done, and nothing was found.
    Done,
    /// Problems were found, and all of them are mended.
    Mended,
    /// Problems were found that remain.
    Problems,
    /// The work could not be done: unreadable, not btrfs, in use.
    Failed,
    /// The command line makes no sense.
    Usage,
    /// The change is on the disk, or may be, and something failed after that.
    Partly,
}

impl Exit {
    /// The exit code of programs that have no convention of their own.
    pub fn code(self) -> u8 {
        match self {
            Exit::Done | Exit::Mended => 0,
            Exit::Problems => 1,
            Exit::Failed | Exit::Usage => 2,
            Exit::Partly => 3,
        }
    }
}
