//! Why a device cannot be used as it was asked for.

/// What keeps a device from being used or changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DeviceProblem {
    /// The chunk tree does not have it.
    #[error("has no item in the chunk tree")]
    NoItem,
    /// The item in the chunk tree ends before its fields do.
    #[error("has a device item that is too short")]
    ShortItem,
    /// Two device extents have a part of the device in common.
    #[error("has device extents that overlap")]
    Overlaps,
    /// A seed cannot be replaced.
    #[error("is a seed: remove it instead")]
    Seed,
    /// Nothing is written to it.
    #[error("is missing or a seed")]
    NotWritten,
    /// No other device can have a greater number.
    #[error("has the last possible id")]
    LastId,
}
