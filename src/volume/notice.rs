//! What is odd about an opened volume, although it could be opened.

use crate::disk::fields::Uuid;
use crate::disk::{Logical, Transid};
use crate::error::ChunkProblem;

/// A device that lacks a part of what was written after its superblock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StaleDevice {
    /// Uuid of the device.
    pub uuid: Uuid,
    /// What it lacks.
    pub missed: Missed,
}

/// The first part of what a device should hold that was not found on it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} {logical}: {problem}")]
pub struct Missed {
    /// What stands at the address.
    pub what: &'static str,
    /// Its logical address.
    pub logical: Logical,
    /// What was found in its place.
    pub problem: String,
}

/// Whether something unusual was met that a person should hear of, although the filesystem could be opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Notice {
    /// An image of the filesystem was not given.
    #[error("device {devid} ({uuid}) is missing")]
    MissingDevice {
        /// Number of the device.
        devid: u64,
        /// Uuid of the device.
        uuid: Uuid,
    },
    /// A device lacks a part of what was written after its superblock, and is not used.
    #[error("device {devid} ({uuid}) is stale and left out: it is of generation {generation} and misses {missed}")]
    StaleDevice {
        /// Number of the device.
        devid: u64,
        /// Uuid of the device.
        uuid: Uuid,
        /// Generation of its superblock.
        generation: Transid,
        /// What it lacks.
        missed: Missed,
    },
    /// The primary superblock of an image is damaged, and a mirror is used.
    #[error("{path}: primary superblock is damaged, the one at {offset} is used")]
    MirrorSuperblock {
        /// Path of the image.
        path: String,
        /// Where the mirror stands on the device.
        offset: u64,
    },
    /// A chunk makes no sense, and is left out.
    #[error("chunk {logical}: {problem}")]
    Chunk {
        /// Logical address.
        logical: Logical,
        /// What is wrong.
        problem: ChunkProblem,
    },
    /// A block of the chunk tree cannot be read, or a copy of it is bad.
    #[error("chunk tree block {logical}: {problem}")]
    ChunkTreeBlock {
        /// Logical address.
        logical: Logical,
        /// What is wrong.
        problem: String,
    },
    /// A block of the chunk tree was found by reading the devices.
    #[error("chunk tree block {logical}: {problem}; it was searched for on the devices and found at {place}")]
    FoundBlock {
        /// Logical address.
        logical: Logical,
        /// What is wrong.
        problem: String,
        /// Where it was found.
        place: String,
    },
    /// An entry of the `sys_chunk_array` makes no sense.
    #[error("system chunk array: {problem} at offset {offset}")]
    SysChunkArray {
        /// First byte of the entry in the array.
        offset: usize,
        /// What is wrong.
        problem: String,
    },
    /// The `sys_chunk_array` does not agree with the chunk tree on a chunk.
    #[error("system chunk array: chunk {logical} {problem}")]
    SysChunk {
        /// Logical address.
        logical: Logical,
        /// What is wrong.
        problem: &'static str,
    },
    /// An image is smaller than its superblock says.
    #[error("{path}: truncated: has {size} bytes, the filesystem's device {total_bytes}")]
    Truncated {
        /// Path of the image.
        path: String,
        /// Bytes of the image.
        size: u64,
        /// Bytes of the device in the superblock.
        total_bytes: u64,
    },
}
