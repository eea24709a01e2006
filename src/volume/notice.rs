//! What is odd about an opened volume, although it could be opened.

use crate::disk::fields::Uuid;
use crate::disk::{Logical, Transid};

/// A device that lacks a part of what was written after its superblock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StaleDevice {
    pub uuid: Uuid,
    pub missed: Missed,
}

/// The first part of what a device should hold that was not found on it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} {logical}: {problem}")]
pub struct Missed {
    pub what: &'static str,
    pub logical: Logical,
    pub problem: String,
}

/// Whether something unusual was met that a person should hear of, although the filesystem could be opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Notice {
    #[error("device {devid} ({uuid}) is missing")]
    MissingDevice { devid: u64, uuid: Uuid },
    #[error("device {devid} ({uuid}) is stale and left out: it is of generation {generation} and misses {missed}")]
    StaleDevice { devid: u64, uuid: Uuid, generation: Transid, missed: Missed },
    #[error("{path}: primary superblock is damaged, the one at {offset} is used")]
    MirrorSuperblock { path: String, offset: u64 },
    #[error("chunk {logical}: {problem}")]
    Chunk { logical: Logical, problem: String },
    #[error("chunk tree block {logical}: {problem}")]
    ChunkTreeBlock { logical: Logical, problem: String },
    #[error("chunk tree block {logical}: {problem}; it was searched for on the devices and found at {place}")]
    FoundBlock { logical: Logical, problem: String, place: String },
    #[error("system chunk array: {problem} at offset {offset}")]
    SysChunkArray { offset: usize, problem: String },
    #[error("system chunk array: chunk {logical} {problem}")]
    SysChunk { logical: Logical, problem: &'static str },
    #[error("{path}: truncated: has {size} bytes, the filesystem's device {total_bytes}")]
    Truncated { path: String, size: u64, total_bytes: u64 },
}
