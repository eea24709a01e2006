//! What the flags of chunks and block groups say.

use zerocopy::little_endian::U64;

use super::flags::block_group;
use super::profile::Profile;

/// Type and profile of a chunk or block group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlockGroupFlags(pub u64);

impl BlockGroupFlags {
    /// Stands for single in the filters of a balance, where no bit means that nothing is said (`BTRFS_AVAIL_ALLOC_BIT_SINGLE`).
    pub const AVAIL_SINGLE: u64 = 1 << 48;
    /// The bits of the type.
    pub const TYPE_MASK: u64 = block_group::DATA | block_group::METADATA | block_group::SYSTEM;
    /// The bits of the profile.
    pub const PROFILE_MASK: u64 = block_group::RAID0
        | block_group::RAID1
        | block_group::DUP
        | block_group::RAID10
        | block_group::RAID5
        | block_group::RAID6
        | block_group::RAID1C3
        | block_group::RAID1C4;

    /// Whether all of `flags` are set.
    pub fn contains(self, flags: u64) -> bool {
        self.0 & flags == flags
    }

    /// The bits that tell what the chunk holds.
    pub fn type_bits(self) -> u64 {
        self.0 & Self::TYPE_MASK
    }

    /// What the chunk holds, for a person.
    pub fn type_name(self) -> &'static str {
        if self.contains(block_group::DATA | block_group::METADATA) {
            "data+metadata"
        } else if self.contains(block_group::DATA) {
            "data"
        } else if self.contains(block_group::SYSTEM) {
            "system"
        } else {
            "metadata"
        }
    }

    /// The bits that tell how it is replicated; none for single.
    pub fn profile_bits(self) -> u64 {
        self.0 & Self::PROFILE_MASK
    }

    /// The profile; nothing if more than one profile bit is set.
    pub fn profile(self) -> Option<Profile> {
        Profile::from_bits(self.profile_bits())
    }
}

impl From<U64> for BlockGroupFlags {
    fn from(raw: U64) -> Self {
        Self(raw.get())
    }
}
