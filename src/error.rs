//! The error of the library: the work cannot go on. Every error says where.

mod address;
mod balance;
mod chunk;
mod code;
mod copy;
mod device;
mod edit;
mod extent;
mod file;
mod free_space;
mod published;
mod relocation;
mod tree;
mod undo;

use std::io;
use std::path::PathBuf;

use crate::disk::fields::Uuid;
use crate::disk::{Ino, Key, Logical, Physical, Transid, TreeId};

pub use address::{AddressProblem, Addressed};
pub use balance::BalanceProblem;
pub use chunk::{BadEntryProblem, ChunkProblem};
pub use copy::{BadCopy, BlockError, NoGoodCopy, ReadProblem};
pub use device::DeviceProblem;
pub use edit::{EditError, EditProblem};
pub use extent::ExtentProblem;
pub use file::{CompressedProblem, FileProblem, RangeProblem};
pub use free_space::{FreeSpaceItemProblem, FreeSpaceProblem};
pub use relocation::RelocationProblem;
pub use tree::TreeProblem;
pub use undo::UndoProblem;

/// A result of the library: the error is [`Error`] where no other is named.
pub type Result<T, E = Error> = std::result::Result<T, E>;

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
    /// The step, as a phrase.
    pub what: &'static str,
    /// Why it failed.
    pub error: Error,
}

/// The work cannot go on. The text is one line for a person; what else is needed stands in the fields.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The image cannot be opened.
    #[error("{}: {source}", path.display())]
    Open {
        /// Path of the image.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },

    /// Neither a file nor a block device.
    #[error("{}: {kind} is not an image or a block device", path.display())]
    NotAnImage {
        /// Path of the image.
        path: PathBuf,
        /// What it is.
        kind: &'static str,
    },

    /// Another program or the kernel uses the image, so that it cannot be written.
    #[error("{}: in use: {holder}", path.display())]
    InUse {
        /// Path of the image.
        path: PathBuf,
        /// What uses it, as a phrase.
        holder: String,
    },

    /// The image cannot be opened for writing.
    #[error("{}: cannot be written: {reason}", path.display())]
    ReadOnly {
        /// Path of the image.
        path: PathBuf,
        /// Why, as a phrase.
        reason: String,
    },

    /// The system cannot read a range of the image.
    #[error("{}: read error at offset {offset}: {source}", path.display())]
    Read {
        /// Path of the image.
        path: PathBuf,
        /// First byte of the range.
        offset: Physical,
        /// What the system said.
        source: io::Error,
    },

    /// The image ends before the range that is read.
    #[error("{}: ends at {size}, cannot read {length} bytes at offset {offset}", path.display())]
    Short {
        /// Path of the image.
        path: PathBuf,
        /// First byte of the range.
        offset: Physical,
        /// Bytes of the range.
        length: usize,
        /// Bytes of the image.
        size: u64,
    },

    /// The system cannot write a range of the image.
    #[error("{}: write error at offset {offset}: {source}", path.display())]
    Write {
        /// Path of the image.
        path: PathBuf,
        /// First byte of the range.
        offset: Physical,
        /// What the system said.
        source: io::Error,
    },

    /// The image ends before the range that is written; nothing was written.
    #[error("{}: ends at {size}, cannot write {length} bytes at offset {offset}", path.display())]
    PastEnd {
        /// Path of the image.
        path: PathBuf,
        /// First byte of the range.
        offset: Physical,
        /// Bytes of the range.
        length: u64,
        /// Bytes of the image.
        size: u64,
    },

    /// The system cannot tell whether what was written is on the disk.
    #[error("{}: what was written may not have reached the disk: {source}", path.display())]
    Sync {
        /// Path of the image.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },

    /// The image holds something that `force` was not given for.
    #[error("{}: holds {found}", path.display())]
    Occupied {
        /// Path of the image.
        path: PathBuf,
        /// What it holds, as a phrase.
        found: &'static str,
    },

    /// The file cannot be made as long as the filesystem needs.
    #[error("{}: cannot be made {size} bytes long: {source}", path.display())]
    Resize {
        /// Path of the image.
        path: PathBuf,
        /// Bytes that it should have.
        size: u64,
        /// What the system said.
        source: io::Error,
    },

    /// The image is smaller than a filesystem needs.
    #[error("{}: has {has} bytes, {wanted} are wanted", path.display())]
    TooSmall {
        /// Path of the image.
        path: PathBuf,
        /// Bytes that are needed.
        wanted: u64,
        /// Bytes of the image.
        has: u64,
    },

    /// The device is too small for a new filesystem of this kind.
    #[error("{}: too small for such a filesystem: has {has} bytes, at least {least} are needed", path.display())]
    SmallDevice {
        /// Path of the image.
        path: PathBuf,
        /// Bytes that the filesystem would have on it.
        has: u64,
        /// Bytes that each device needs, if all are of one size.
        least: u64,
    },

    /// The image has no btrfs superblock.
    #[error("{}: not btrfs: {found}", path.display())]
    NotBtrfs {
        /// Path of the image.
        path: PathBuf,
        /// What it holds, as a phrase.
        found: &'static str,
    },

    /// The image is smaller than its superblock says.
    #[error("{}: truncated: has {size} bytes, the filesystem's device {total_bytes}", path.display())]
    Truncated {
        /// Path of the image.
        path: PathBuf,
        /// Bytes of the image.
        size: u64,
        /// Bytes of the device in the superblock.
        total_bytes: u64,
    },

    /// The superblock cannot be used.
    #[error("{}: superblock at {offset}: {problem}", path.display())]
    Superblock {
        /// Path of the image.
        path: PathBuf,
        /// Where it stands on the device.
        offset: Physical,
        /// What is wrong.
        problem: String,
    },

    /// Two images do not belong together.
    #[error("{} and {}: {problem}", first.display(), second.display())]
    Unrelated {
        /// Path of an image.
        first: PathBuf,
        /// Path of the other image.
        second: PathBuf,
        /// What is wrong.
        problem: &'static str,
    },

    /// An image of the filesystem was not given.
    #[error("device {devid} ({uuid}) is missing: give all {devices} images")]
    MissingDevice {
        /// Number of the device.
        devid: u64,
        /// Uuid of the device.
        uuid: Uuid,
        /// Number of devices of the filesystem.
        devices: u64,
    },

    /// The device lacks a part of what was written after its superblock.
    #[error(
        "{}: device {devid} is stale: its superblock is of generation {generation}, that of others {newest}, and it misses \
        {missed}; mount the filesystem and scrub it, or replace the device",
        path.display()
    )]
    StaleDevice {
        /// Path of the image.
        path: PathBuf,
        /// Number of the device.
        devid: u64,
        /// Generation of its superblock.
        generation: Transid,
        /// Generation of the newest superblock.
        newest: Transid,
        /// The first part that it lacks, as a phrase.
        missed: String,
    },

    /// A block, a chunk or another thing with an address cannot be read, or is not what it should be.
    #[error("{what} {logical}: {problem}")]
    Block {
        /// What stands at the address.
        what: Addressed,
        /// Logical address.
        logical: Logical,
        /// What is wrong.
        problem: AddressProblem,
    },

    /// What is asked for contradicts the item of an extent.
    #[error("extent {logical} {problem}")]
    Extent {
        /// Logical address.
        logical: Logical,
        /// What is wrong.
        problem: ExtentProblem,
    },

    /// A tree cannot be changed as it was asked for.
    #[error("tree {tree}: item {key}: {problem}")]
    Edit {
        /// Id of the tree.
        tree: u64,
        /// Key of the item.
        key: Key,
        /// What is wrong.
        problem: EditProblem,
    },

    /// A file cannot be found or read, or a range of it cannot.
    #[error("tree {tree} inode {ino}: {problem}")]
    File {
        /// Id of the tree.
        tree: TreeId,
        /// Number of the inode.
        ino: Ino,
        /// Why it cannot be read.
        problem: Box<FileProblem>,
    },

    /// The root tree has no root of the tree.
    #[error("tree {tree}{} is missing", if name.is_empty() { String::new() } else { format!(" ({name})") })]
    NoTree {
        /// Id of the tree.
        tree: u64,
        /// Its kernel name; empty for a subvolume.
        name: &'static str,
    },

    /// The tree cannot be used as it was asked for.
    #[error("tree {tree} {problem}")]
    Tree {
        /// Id of the tree.
        tree: u64,
        /// What is wrong.
        problem: TreeProblem,
    },

    /// Simple quotas are on, which a change cannot keep in step.
    #[error("simple quotas are on, which this command cannot keep in step: disable them first")]
    SimpleQuotas,

    /// A superblock cannot count the bytes of all devices.
    #[error("the devices would have 16 EiB or more together, which is more than a superblock can say")]
    TooMuch,

    /// The device cannot be used as it was asked for.
    #[error("device {devid} {problem}")]
    Device {
        /// Number of the device.
        devid: u64,
        /// What is wrong.
        problem: DeviceProblem,
    },

    /// A device with chunks cannot be removed.
    #[error("device {devid} is in use: {chunks} chunks have {bytes} bytes of it")]
    DeviceInUse {
        /// Number of the device.
        devid: u64,
        /// Number of its chunks.
        chunks: usize,
        /// Bytes of it that they have.
        bytes: u64,
    },

    /// The last device that can be written cannot be removed.
    #[error("device {devid} is the last that can be written")]
    LastDevice {
        /// Number of the device.
        devid: u64,
    },

    /// Without the device a profile has too few devices.
    #[error("device {devid} is needed: chunks of profile {profile} want at least {devices} devices")]
    TooFewDevices {
        /// Number of the device.
        devid: u64,
        /// Name of the profile.
        profile: &'static str,
        /// Devices that it needs.
        devices: u16,
    },

    /// A device cannot have the size.
    #[error("device {devid} cannot have {size} bytes: its chunks need {least}, its image has {most}")]
    DeviceSize {
        /// Number of the device.
        devid: u64,
        /// Bytes that were asked for.
        size: u64,
        /// Bytes that its chunks need.
        least: u64,
        /// Bytes of its image.
        most: u64,
    },

    /// There is too little space.
    #[error("no {what} space left: {wanted} bytes are needed, {left} are left")]
    NoSpace {
        /// Kind of the space: device, data, metadata or system.
        what: &'static str,
        /// Bytes that are needed.
        wanted: u64,
        /// Bytes that are available.
        left: u64,
    },

    /// The filesystem contradicts itself.
    #[error("the filesystem is damaged, check it first: {problem}")]
    Damaged {
        /// What is wrong.
        problem: String,
    },

    /// What was to be written contradicts itself. No image has caused it, and no option changes it.
    #[error("a fault of this program, not of the filesystem: {problem}; please report it")]
    Internal {
        /// What contradicts itself.
        problem: String,
    },

    /// A copy was asked for that a chunk does not have.
    #[error("there is no mirror {mirror} of {logical}, its chunk has {mirrors}")]
    NoMirror {
        /// Logical address.
        logical: Logical,
        /// Number of the copy, from 1.
        mirror: u16,
        /// Copies that the chunk has.
        mirrors: u16,
    },

    /// There are too few devices for a profile.
    #[error("chunks of profile {profile} need {needed} devices, there {} {devices}", if *devices == 1 { "is" } else { "are" })]
    FewDevices {
        /// Name of the profile.
        profile: &'static str,
        /// Devices that it needs.
        needed: u16,
        /// Devices that can take a chunk.
        devices: usize,
    },

    /// A chunk cannot be as small as it was asked for.
    #[error("a chunk of {size} bytes is too small: each of its stripes has at least {least}")]
    ChunkSize {
        /// Bytes that were asked for.
        size: u64,
        /// Bytes of a stripe at the least.
        least: u64,
    },

    /// The `sys_chunk_array` of the superblock cannot hold another SYSTEM chunk.
    #[error("the system chunk array has no room for a chunk of {stripes} stripes")]
    SysChunkArrayFull {
        /// Stripes of the chunk.
        stripes: usize,
    },

    /// No chunk begins at the address.
    #[error("there is no chunk at {logical}")]
    NoChunk {
        /// Logical address.
        logical: Logical,
    },

    /// A chunk with extents cannot be removed.
    #[error("chunk {logical} is in use: {used} bytes")]
    ChunkInUse {
        /// Logical address.
        logical: Logical,
        /// Bytes of its extents.
        used: u64,
    },

    /// The filesystem needs a chunk of the type.
    #[error("chunk {logical} is the last of its type")]
    LastChunk {
        /// Logical address.
        logical: Logical,
    },

    /// The filesystem is not balanced as it was asked for.
    #[error(transparent)]
    Balance(#[from] BalanceProblem),

    /// A log tree was not replayed.
    #[error("there is a log that was not replayed: mount the filesystem once, or it would be lost")]
    PendingLog,

    /// A device replacement is under way.
    #[error("a device is being replaced: mount the filesystem and let that finish")]
    Replacing,

    /// What lies in block groups cannot be moved elsewhere.
    #[error(transparent)]
    Relocation(#[from] RelocationProblem),

    /// The items that a commit writes change with every round.
    #[error("after {rounds} rounds the trees still do not say what they are: check the filesystem; nothing is written")]
    NeverSettles {
        /// Rounds that were made.
        rounds: usize,
    },

    /// A change failed in the middle or was dropped, so that the transaction cannot be committed.
    #[error("a change was left half done: nothing is written")]
    Poisoned,

    /// The one error of a change after which the filesystem is not what it was.
    #[error("{0}")]
    PartlyPublished(Box<PartlyPublished>),

    /// An undo file cannot be used. Nothing was written.
    #[error("{}: {problem}", path.display())]
    Undo {
        /// Path of the undo file.
        path: PathBuf,
        /// What is wrong with it, or with the images.
        problem: UndoProblem,
    },

    /// A part of what an undo file holds was put back, then something failed.
    #[error("a part was put back, then this failed: {0}; run the same again")]
    PartlyUndone(Box<Error>),

    /// None of the backup roots in the superblock leads to a tree.
    #[error("there are no older backup roots that can be read")]
    NoBackupRoot,

    /// A place that files are brought to cannot be made, opened or written.
    #[error("{}: {source}", path.display())]
    Target {
        /// Path of the place.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },

    /// A file that a new filesystem is filled from cannot be read.
    #[error("{}: cannot be read: {source}", path.display())]
    Source {
        /// Path of the file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },

    /// A file changed while it was copied.
    #[error("{}: changed while it was read", path.display())]
    Changed {
        /// Path of the file.
        path: PathBuf,
    },

    /// The data of a file cannot be shared with an image.
    #[error("{}: cannot share data with {}: {problem}", path.display(), image.display())]
    NotShared {
        /// Path of the file.
        path: PathBuf,
        /// Path of the image.
        image: PathBuf,
        /// What is wrong.
        problem: String,
    },

    /// The compressor cannot be set up.
    #[error("{method} compression cannot begin: {source}")]
    Compression {
        /// Its name.
        method: &'static str,
        /// What the system said.
        source: io::Error,
    },

    /// btrfs cannot hold a file, or the source has no such file.
    #[error("{}: {problem}", path.display())]
    Unfit {
        /// Path of the file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },

    /// A temporary file cannot be written or read.
    #[error("temporary file in {dir}: {0}", dir = std::env::temp_dir().display())]
    Temporary(io::Error),

    /// The caller's [`crate::progress::Progress`] stopped the work.
    #[error("interrupted")]
    Interrupted,

    /// The output of a dump or a report cannot be written.
    #[error("cannot write: {0}")]
    Output(#[from] io::Error),
}
