//! What is wrong with copies of blocks and of data.

use std::fmt;

use crate::disk::fields::Uuid;
use crate::disk::{Key, Logical, MAX_LEVEL, Physical, Transid};

/// Why a copy of a logical range cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
#[non_exhaustive]
pub enum ReadProblem {
    /// No chunk holds a part of the range.
    #[error("no chunk holds address {logical}")]
    NoChunk {
        /// The first address of it.
        logical: Logical,
    },
    /// The range lies behind the end of all devices.
    #[error("the address is out of range")]
    OutOfRange,
    /// The device of the copy is missing.
    #[error("device {devid} is missing")]
    MissingDevice {
        /// Number of the device.
        devid: u64,
    },
    /// More devices are missing than parity makes up for.
    #[error("{count} devices are missing")]
    MissingDevices {
        /// Number of the devices.
        count: usize,
    },
    /// Too much of a row with parity cannot be read.
    #[error("too few stripes to rebuild from")]
    TooFewStripes,
    /// The image cannot be read there: its error, which cannot be copied, as a line.
    #[error("{0}")]
    Image(String),
}

/// What is wrong with a copy of a block.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
#[non_exhaustive]
pub enum BlockError {
    /// The copy has another length than a tree block.
    #[error("block of {found} bytes, expected {expected}")]
    Size {
        /// Bytes of the copy.
        found: usize,
        /// Bytes of a tree block.
        expected: u32,
    },
    /// The checksum is not that of the bytes.
    #[error("checksum mismatch, have {} expect {}", hex(found), hex(expected))]
    Csum {
        /// The checksum in the block.
        found: Vec<u8>,
        /// The checksum of its bytes.
        expected: Vec<u8>,
    },
    /// The header names another address.
    #[error("bytenr mismatch, have {found} expect {expected}")]
    Bytenr {
        /// What the block has.
        found: Logical,
        /// What it should have.
        expected: Logical,
    },
    /// The header names another filesystem.
    #[error("fsid mismatch, have {found} expect {expected}")]
    Fsid {
        /// What the block has.
        found: Uuid,
        /// What it should have.
        expected: Uuid,
    },
    /// The block is of another level than its parent's pointer implies.
    #[error("level mismatch, have {found} expect {expected}")]
    Level {
        /// What the block has.
        found: u8,
        /// What it should have.
        expected: u8,
    },
    /// The level is higher than that of any tree.
    #[error("invalid level, have {found} expect less than {MAX_LEVEL}")]
    LevelTooHigh {
        /// What the block has.
        found: u8,
    },
    /// The block is of another generation than its parent's pointer says.
    #[error("parent transid mismatch, have {found} expect {expected}")]
    Generation {
        /// What the block has.
        found: Transid,
        /// What it should have.
        expected: Transid,
    },
    /// The block begins with another key than its parent's pointer says.
    #[error("first key mismatch, have {found} expect {expected}")]
    FirstKey {
        /// What the block has.
        found: Key,
        /// What it should have.
        expected: Key,
    },
    /// The block has no item, and its parent's pointer says its first key.
    #[error("no first key, expect {expected}")]
    Empty {
        /// What it should have.
        expected: Key,
    },
    /// The device of the copy is missing.
    #[error("device {devid} is missing")]
    Missing {
        /// Number of the device.
        devid: u64,
    },
    /// It is right by itself, and differs from another copy that is so, too.
    #[error("it differs from another copy, and both are right by themselves")]
    Differs,
    /// The copy cannot be read.
    #[error("{0}")]
    Unreadable(ReadProblem),
}

/// In documents it stands as its sentence.
impl serde::Serialize for BlockError {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A checksum as the kernel prints it: its bytes in the order in which they are stored.
fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold("0x".to_owned(), |text, byte| format!("{text}{byte:02x}"))
}

/// A copy of a block that is not what it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadCopy {
    /// Counted from 1, as the kernel does.
    pub mirror: u16,
    /// Device id and place of the copy; nothing for one that was to be rebuilt from parity.
    pub place: Option<(u64, Physical)>,
    /// What is wrong with it.
    pub error: BlockError,
}

impl BadCopy {
    /// Whether there is nothing wrong but that its device is missing.
    pub fn is_missing(&self) -> bool {
        matches!(self.error, BlockError::Missing { .. })
    }
}

impl fmt::Display for BadCopy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)?;
        match self.place {
            Some((devid, physical)) => write!(f, " (device {devid} at {physical})"),
            None => Ok(()),
        }
    }
}

/// No copy of a block is good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoGoodCopy {
    /// Logical address of the block.
    pub logical: Logical,
    /// Empty if no chunk holds the address.
    pub bad: Vec<BadCopy>,
}

impl std::error::Error for NoGoodCopy {}

impl fmt::Display for NoGoodCopy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Of a missing device the volume has told; what is wrong with another copy tells more.
        let telling = self.bad.iter().find(|copy| copy.place.is_some() && !copy.is_missing());
        let Some(telling) = telling.or(self.bad.first()) else {
            return f.write_str("no chunk holds this address");
        };
        telling.fmt(f)?;
        match self.bad.len() {
            1 => Ok(()),
            count => write!(f, ", and no better copy among {count}"),
        }
    }
}
