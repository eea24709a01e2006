//! The v1 cache of free space.

use std::fmt;

use crate::disk::{Logical, Transid};
use crate::finding::findings;

findings! {
    /// The v1 cache of free space.
    SpaceCacheProblem {
        /// The v1 cache of free space is of another generation: the next mount does not use it.
        Stale("free-space-cache-stale", Note, "the v1 free space cache is of generation {have}, expect {expect}") {
            have: Transid, expect: Transid,
        }
        /// The v1 cache holds free space of a block group that does not exist.
        Orphan("free-space-cache-orphan", Warning, "the v1 free space cache of {logical} belongs to no block group") {
            logical: Logical,
        }
        /// The file with the v1 cache of a block group is damaged: the kernel does not use it.
        File("free-space-cache-file", Warning, "the v1 free space cache of block group {logical} is damaged: {problem}") {
            logical: Logical, problem: CacheFault,
        }
        /// The v1 cache of a block group lists less or more than is free, as after a log tree: the kernel does not use it.
        Bytes(
            "free-space-cache-bytes", Note,
            "the v1 free space cache of block group {logical} will not be used: lists {have} bytes, expect {expect}"
        ) {
            logical: Logical, have: u64, expect: u64,
        }
    }
}

/// What is wrong with the file that holds a v1 cache. Pages are counted from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CacheFault {
    NoInode {
        inode: u64,
    },
    /// Page 0 has no room for so many checksums.
    Pages {
        have: u64,
    },
    Generation {
        have: u64,
        expect: u64,
    },
    PastEnd {
        page: u64,
    },
    NoData {
        page: u64,
    },
    Csum {
        page: u64,
    },
    Entry {
        offset: u64,
        bytes: u64,
    },
    EntryType {
        have: u8,
    },
    Bitmaps {
        have: u64,
        expect: u64,
    },
    /// A bitmap of the range at `offset`, by the bytes that it lists.
    Bitmap {
        offset: u64,
        have: u64,
        expect: u64,
    },
}

impl fmt::Display for CacheFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoInode { inode } => write!(f, "inode {inode} is missing"),
            Self::Pages { have } => write!(f, "it has {have} pages"),
            Self::Generation { have, expect } => write!(f, "its generation is {have}, expect {expect}"),
            Self::PastEnd { page } => write!(f, "page {page} lies past its end"),
            Self::NoData { page } => write!(f, "page {page} has no data"),
            Self::Csum { page } => write!(f, "page {page} has a wrong checksum"),
            Self::Entry { offset, bytes } => write!(f, "an entry lists {bytes} bytes at {offset}"),
            Self::EntryType { have } => write!(f, "an entry is of type {have}"),
            Self::Bitmaps { have, expect } => write!(f, "it has {have} bitmaps, expect {expect}"),
            Self::Bitmap { offset, have, expect } => {
                write!(f, "the bitmap at {offset} lists {have} bytes, expect {expect}")
            }
        }
    }
}

impl serde::Serialize for CacheFault {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
