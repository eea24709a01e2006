//! Why what lies in block groups cannot be moved elsewhere.

/// What keeps a relocation from its work. The batch that met it has changed nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RelocationProblem {
    /// Nothing more can be moved for want of space.
    #[error("not enough room for {what} of profile {profile}: {missing} bytes more would do")]
    NotEnoughRoom {
        /// Kind of the space: data, metadata or system.
        what: &'static str,
        /// Profile of the chunks that would take it.
        profile: &'static str,
        /// Bytes that would do for the next block group.
        missing: u64,
    },
    /// A relocation by the kernel was cut off, and simple quotas count what it made.
    #[error(
        "tree {tree} is being relocated, and simple quotas are on: mount the filesystem and let the balance finish"
    )]
    Relocating {
        /// Id of the tree.
        tree: u64,
    },
    /// It is not known what the checksums are of.
    #[error("checksums are being converted to another type: let that finish first")]
    ChangingCsums,
    /// The data is not there.
    #[error("this is a dump of metadata only")]
    MetadataDump,
}
