//! The error of the library: the work cannot go on. Every error says where.

mod file;

use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::disk::fields::Uuid;
use crate::disk::{Ino, Key, Logical, Physical, Transid, TreeId};

pub use file::{CompressedProblem, FileProblem, RangeProblem};

pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a tree cannot be changed as it was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EditProblem {
    #[error("exists already")]
    Exists,
    #[error("does not exist")]
    Missing,
    #[error("would be out of order")]
    OutOfOrder,
    #[error("is too large for a leaf: {size} bytes, at most {limit}")]
    TooLarge { size: usize, limit: usize },
    #[error("has no {count} bytes to take away, only {size}")]
    TooSmall { count: usize, size: usize },
    #[error("needs more levels than a tree may have")]
    TooHigh,
}

/// A new state that is on the disk of some devices, or may be: something failed after the first superblock of it was on its
/// way. Both the old state and the new one are whole.
#[derive(Debug)]
pub struct PartlyPublished {
    /// Devices whose primary superblock is on the disk for sure. With one of them the new state is found; if there is none
    /// the old state may be found, or the new one.
    pub reached: Vec<PathBuf>,
    /// How many devices should have it.
    pub devices: usize,
    /// What failed, in its order.
    pub failures: Vec<Failure>,
}

/// A step of a publication that failed.
#[derive(Debug, thiserror::Error)]
#[error("{what}: {error}")]
pub struct Failure {
    pub what: &'static str,
    pub error: Error,
}

impl PartlyPublished {
    /// Whether the new state is on the disk of some device for sure.
    pub fn is_sure(&self) -> bool {
        !self.reached.is_empty()
    }
}

impl fmt::Display for PartlyPublished {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.reached.len() {
            0 => f.write_str("the change may be on the disk, no device has it for sure")?,
            reached => {
                write!(f, "the change is on the disk of {reached} of {} devices, then this failed", self.devices)?
            }
        }
        for (number, failure) in self.failures.iter().enumerate() {
            write!(f, "{} {failure}", if number == 0 { ':' } else { ';' })?;
        }
        Ok(())
    }
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{}: {source}", path.display())]
    Open { path: PathBuf, source: io::Error },

    #[error("{}: {kind} is not an image or a block device", path.display())]
    NotAnImage { path: PathBuf, kind: &'static str },

    #[error("{}: in use: {holder}", path.display())]
    InUse { path: PathBuf, holder: String },

    #[error("{}: cannot be written: {reason}", path.display())]
    ReadOnly { path: PathBuf, reason: String },

    #[error("{}: read error at offset {offset}: {source}", path.display())]
    Read { path: PathBuf, offset: Physical, source: io::Error },

    #[error("{}: ends at {size}, cannot read {length} bytes at offset {offset}", path.display())]
    Short { path: PathBuf, offset: Physical, length: usize, size: u64 },

    #[error("{}: write error at offset {offset}: {source}", path.display())]
    Write { path: PathBuf, offset: Physical, source: io::Error },

    #[error("{}: ends at {size}, cannot write {length} bytes at offset {offset}", path.display())]
    PastEnd { path: PathBuf, offset: Physical, length: u64, size: u64 },

    #[error("{}: what was written may not have reached the disk: {source}", path.display())]
    Sync { path: PathBuf, source: io::Error },

    #[error("{}: holds {found}", path.display())]
    Occupied { path: PathBuf, found: &'static str },

    #[error("{}: cannot be made {size} bytes long: {source}", path.display())]
    Resize { path: PathBuf, size: u64, source: io::Error },

    #[error("{}: has {has} bytes, {wanted} are wanted", path.display())]
    TooSmall { path: PathBuf, wanted: u64, has: u64 },

    #[error("{}: too small for such a filesystem: has {has} bytes, at least {least} are needed", path.display())]
    SmallDevice { path: PathBuf, has: u64, least: u64 },

    #[error("{}: not btrfs: {found}", path.display())]
    NotBtrfs { path: PathBuf, found: &'static str },

    #[error("{}: truncated: has {size} bytes, the filesystem's device {total_bytes}", path.display())]
    Truncated { path: PathBuf, size: u64, total_bytes: u64 },

    #[error("{}: superblock at {offset}: {problem}", path.display())]
    Superblock { path: PathBuf, offset: Physical, problem: String },

    #[error("{} and {}: {problem}", first.display(), second.display())]
    Unrelated { first: PathBuf, second: PathBuf, problem: &'static str },

    #[error("device {devid} ({uuid}) is missing: give all {devices} images, or go on without it (--degraded)")]
    MissingDevice { devid: u64, uuid: Uuid, devices: u64 },

    #[error(
        "{}: device {devid} is stale: its superblock is of generation {generation}, that of others {newest}, and it misses \
        {missed}; mount the filesystem and scrub it, or replace the device, or go on without it (--degraded)",
        path.display()
    )]
    StaleDevice { path: PathBuf, devid: u64, generation: Transid, newest: Transid, missed: String },

    #[error("{what} {logical}: {problem}")]
    Block { what: &'static str, logical: Logical, problem: String },

    #[error("extent {logical} {problem}")]
    Extent { logical: Logical, problem: &'static str },

    #[error("tree {tree}: item {key}: {problem}")]
    Edit { tree: u64, key: Key, problem: EditProblem },

    /// A file cannot be found or read, or a range of it cannot.
    #[error("tree {tree} inode {ino}: {problem}")]
    File { tree: TreeId, ino: Ino, problem: Box<FileProblem> },

    #[error("tree {tree}{} is missing", if name.is_empty() { String::new() } else { format!(" ({name})") })]
    NoTree { tree: u64, name: &'static str },

    #[error("tree {tree} {problem}")]
    Tree { tree: u64, problem: &'static str },

    #[error("simple quotas count whose each extent is, which is not done here: turn them off first")]
    SimpleQuotas,

    #[error("the devices would have 16 EiB or more together, which is more than a superblock can say")]
    TooMuch,

    #[error("device {devid} {problem}")]
    Device { devid: u64, problem: &'static str },

    #[error("device {devid} is in use: {chunks} chunks have {bytes} bytes of it")]
    DeviceInUse { devid: u64, chunks: usize, bytes: u64 },

    #[error("device {devid} is the last that can be written")]
    LastDevice { devid: u64 },

    #[error("device {devid} is needed: chunks of profile {profile} want at least {devices} devices")]
    TooFewDevices { devid: u64, profile: &'static str, devices: u16 },

    #[error("device {devid} cannot have {size} bytes: its chunks need {least}, its image has {most}")]
    DeviceSize { devid: u64, size: u64, least: u64, most: u64 },

    #[error("no {what} space left: {wanted} bytes are needed, {left} are left")]
    NoSpace { what: &'static str, wanted: u64, left: u64 },

    #[error("the filesystem is damaged, check it first: {problem}")]
    Damaged { problem: String },

    /// What was to be written contradicts itself. No image has caused it, and no option changes it.
    #[error("a fault of this program, not of the filesystem: {problem}; please report it")]
    Internal { problem: String },

    #[error("there is no mirror {mirror} of {logical}, its chunk has {mirrors}")]
    NoMirror { logical: Logical, mirror: u16, mirrors: u16 },

    #[error("chunks of profile {profile} need {needed} devices, there are {devices}")]
    FewDevices { profile: &'static str, needed: u16, devices: usize },

    #[error("a chunk of {size} bytes is too small: each of its stripes has at least {least}")]
    ChunkSize { size: u64, least: u64 },

    #[error("the system chunk array has no room for a chunk of {stripes} stripes")]
    SystemArrayFull { stripes: usize },

    #[error("there is no chunk at {logical}")]
    NoChunk { logical: Logical },

    #[error("chunk {logical} is in use: {used} bytes")]
    ChunkInUse { logical: Logical, used: u64 },

    #[error("chunk {logical} is the last of its type")]
    LastChunk { logical: Logical },

    #[error("there is a log that was not replayed: mount the filesystem once, or it would be lost")]
    PendingLog,

    #[error("a device is being replaced: mount the filesystem and let that finish, or cancel it")]
    Replacing,

    #[error("after {rounds} rounds the trees still do not say what they are: check the filesystem; nothing is written")]
    NeverSettles { rounds: usize },

    #[error("a change was left half done: nothing is written")]
    Poisoned,

    /// The one error of a change after which the filesystem is not what it was.
    #[error("{0}")]
    PartlyPublished(Box<PartlyPublished>),

    #[error("there are no older backup roots that can be read")]
    NoBackupRoot,

    #[error("{}: cannot be read: {source}", path.display())]
    Source { path: PathBuf, source: io::Error },

    #[error("{}: changed while it was read", path.display())]
    Changed { path: PathBuf },

    #[error("{}: cannot share data with {}: {problem}", path.display(), image.display())]
    NotShared { path: PathBuf, image: PathBuf, problem: String },

    #[error("{method} compression cannot begin: {source}")]
    Compression { method: &'static str, source: io::Error },

    #[error("{}: {problem}", path.display())]
    Unfit { path: PathBuf, problem: String },

    #[error("temporary file in {dir}: {0}", dir = std::env::temp_dir().display())]
    Temporary(io::Error),

    #[error("interrupted")]
    Interrupted,

    #[error("cannot write: {0}")]
    Output(#[from] io::Error),
}
