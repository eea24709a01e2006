//! Why a chunk cannot be used.

use crate::disk::{KeyType, Logical, STRIPE_LEN};

/// Why a chunk makes no sense where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChunkProblem {
    /// More than one profile bit is set.
    #[error("invalid profile bits {bits:#x}, expect one at most")]
    ProfileBits {
        /// The profile bits of its type.
        bits: u64,
    },
    /// The profile does not allow so many stripes.
    #[error("invalid num_stripes {num_stripes} sub_stripes {sub_stripes} for profile {profile}")]
    Stripes {
        /// Number of stripes.
        num_stripes: u16,
        /// Stripes with the same data.
        sub_stripes: u16,
        /// Name of the profile.
        profile: &'static str,
    },
    /// It has no bytes, or reaches past the last address.
    #[error("invalid length {length}")]
    Length {
        /// Its bytes.
        length: u64,
    },
    /// The stripe elements are not of the one size that there is.
    #[error("invalid stripe_len, have {stripe_len} expect {STRIPE_LEN}")]
    StripeLen {
        /// Bytes of a stripe element.
        stripe_len: u64,
    },
    /// Another chunk has a part of its addresses.
    #[error("overlaps chunk {other}")]
    Overlaps {
        /// Logical address of the other chunk.
        other: Logical,
    },
    /// The item of the chunk ends before its stripes do.
    #[error("item too short for its stripes")]
    TooShort,
}

/// What is wrong with an entry of the `sys_chunk_array`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum BadEntryProblem {
    /// The array ends before the entry does.
    #[error("too short to read {needed} bytes")]
    Short {
        /// Bytes that the entry needs.
        needed: usize,
    },
    /// The chunk has no stripes.
    #[error("invalid number of stripes 0")]
    NoStripes,
    /// The key is of no chunk item.
    #[error("unexpected item type {}", key_type.0)]
    KeyType {
        /// Its type.
        key_type: KeyType,
    },
}

/// In documents it stands as its sentence.
impl serde::Serialize for BadEntryProblem {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
