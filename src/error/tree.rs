//! Why a tree cannot be used as it was asked for.

/// What keeps a tree from being opened or changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TreeProblem {
    /// A transaction changes the tree by itself.
    #[error("is changed by the transaction alone")]
    Own,
    /// The subvolume has no name any more, and the kernel deletes its files.
    #[error("is being deleted")]
    Deleting,
    /// A balance by the kernel was cut off while it moved the tree.
    #[error("is being relocated: mount the filesystem and let the balance finish")]
    Relocating,
    /// The tree would be higher than a tree may be.
    #[error("has more blocks than a tree holds")]
    TooHigh,
    /// The root item of the tree is not of its form.
    #[error("has a root item that cannot be changed")]
    RootItem,
}
