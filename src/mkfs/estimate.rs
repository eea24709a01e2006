//! What a filesystem is expected to hold.

/// What the content will need about; 0 where that is not known.
#[derive(Clone, Copy, Debug, Default)]
pub struct Estimate {
    /// Bytes of tree blocks, counted once however many copies there are.
    pub metadata: u64,
    /// Those of them that describe space: the kernel keeps as much free.
    pub global: u64,
    /// Bytes of data, counted likewise.
    pub data: u64,
    /// What of both comes in any case.
    pub least_metadata: u64,
    /// Bytes of data at the least.
    pub least_data: u64,
    /// Whether that is a guess: more data may come, and less.
    pub is_guess: bool,
}
