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
    /// The header leads to an inode that is not there.
    NoInode {
        /// Number of the inode.
        inode: u64,
    },
    /// Page 0 has no room for so many checksums.
    Pages {
        /// Pages of the file.
        have: u64,
    },
    /// The file is of another generation than its header.
    Generation {
        /// Generation of the file.
        have: u64,
        /// Generation in the header.
        expect: u64,
    },
    /// The file ends before a page that its header counts.
    PastEnd {
        /// Number of the page, from 0.
        page: u64,
    },
    /// A page of the file cannot be read.
    NoData {
        /// Number of the page, from 0.
        page: u64,
    },
    /// The checksum of a page is wrong.
    Csum {
        /// Number of the page, from 0.
        page: u64,
    },
    /// An entry lies outside of the block group, or overlaps another.
    Entry {
        /// Logical address of the range.
        offset: u64,
        /// Bytes of the range.
        bytes: u64,
    },
    /// An entry is of no known type.
    EntryType {
        /// The type.
        have: u8,
    },
    /// The file has another number of bitmaps than its header says.
    Bitmaps {
        /// Number of bitmaps.
        have: u64,
        /// Number in the header.
        expect: u64,
    },
    /// A bitmap of the range at `offset`, by the bytes that it lists.
    Bitmap {
        /// Logical address of the bitmap.
        offset: u64,
        /// Free bytes in the bitmap.
        have: u64,
        /// Free bytes in its entry.
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
