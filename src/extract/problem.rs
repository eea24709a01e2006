//! What is missing, or is not as it was.

use std::collections::HashMap;
use std::fmt;
use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::files::InodeId;
use crate::parallel::lock;

/// Something that did not come out as it is, or could not be found at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// What it is about.
    pub kind: ProblemKind,
    /// Path from the root of what is extracted.
    pub path: Vec<u8>,
    /// The inode, where it is known.
    pub inode: Option<InodeId>,
    /// Bytes of the file that it is about, of kinds that are about a range.
    pub range: Option<Range<u64>>,
    /// Why, as a sentence without a full stop.
    pub reason: String,
}

/// What a [`Problem`] is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum ProblemKind {
    /// A range of a file cannot be read, and is zeroes.
    Zeroed,
    /// A range of a file is not what its checksum says, and was kept.
    Kept,
    /// A file is not there.
    Missing,
    /// A directory may have had more names.
    Incomplete,
    /// Owner, mode, times, an attribute or the size are not as they were, or not known.
    Attribute,
    /// What leads to it was lost, and is taken from an earlier commit: it may be as it was then.
    Doubtful,
    /// It comes out under another path, or under one that no directory has: what should lead to it is lost.
    Found,
}

impl ProblemKind {
    /// A word that does not change from version to version.
    pub fn code(self) -> &'static str {
        match self {
            Self::Zeroed => "zeroed",
            Self::Kept => "kept",
            Self::Missing => "missing",
            Self::Incomplete => "incomplete",
            Self::Attribute => "attribute",
            Self::Doubtful => "doubtful",
            Self::Found => "found",
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = if self.path.is_empty() { b"." } else { &self.path[..] };
        write!(f, "{}: {}", path.escape_ascii(), self.kind.code())?;
        if let Some(range) = &self.range {
            write!(f, ", {} bytes at offset {}", range.end.saturating_sub(range.start), range.start)?;
        }
        write!(f, ": {}", self.reason)
    }
}

/// Where problems go, and how many there are.
pub struct Reports<'o> {
    on_problem: &'o (dyn Fn(Problem) + Send + Sync),
    count: AtomicU64,
    /// Files whose contents are not as they were.
    bad: Mutex<HashMap<InodeId, ProblemKind>>,
}

impl<'o> Reports<'o> {
    pub fn new(on_problem: &'o (dyn Fn(Problem) + Send + Sync)) -> Self {
        Self { on_problem, count: AtomicU64::new(0), bad: Mutex::default() }
    }

    pub fn tell(&self, problem: Problem) {
        self.count.fetch_add(1, Ordering::Relaxed);
        if let (ProblemKind::Zeroed | ProblemKind::Kept, Some(inode)) = (problem.kind, problem.inode) {
            lock(&self.bad).insert(inode, problem.kind);
        }
        (self.on_problem)(problem);
    }

    /// Tells of something that is about no range.
    pub fn tell_of(&self, kind: ProblemKind, path: Vec<u8>, inode: Option<InodeId>, reason: impl fmt::Display) {
        self.tell(Problem { kind, path, inode, range: None, reason: reason.to_string() });
    }

    /// What was told of the contents of a file.
    pub fn what_of(&self, inode: InodeId) -> Option<ProblemKind> {
        lock(&self.bad).get(&inode).copied()
    }

    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }
}
