//! Replication profiles and their geometry (`btrfs_raid_array` in fs/btrfs/volumes.c).

use super::STRIPE_LEN;
use super::flags::{block_group, incompat};

/// How the data of a chunk is replicated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Profile {
    /// One copy.
    Single,
    /// Two copies on one device.
    Dup,
    /// Striped over devices, one copy.
    Raid0,
    /// Copies on two devices.
    Raid1,
    /// Copies on three devices.
    Raid1c3,
    /// Copies on four devices.
    Raid1c4,
    /// Striped over pairs of devices with two copies.
    Raid10,
    /// Striped, with one column of parity.
    Raid5,
    /// Striped, with two columns of parity.
    Raid6,
}

/// What a profile needs and what it gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// As `btrfs filesystem df` prints it.
    pub name: &'static str,
    /// The bit in block group flags; 0 for single.
    pub bit: u64,
    /// Stripes of one chunk on the same device.
    pub dev_stripes: u16,
    /// Stripes that hold the same data within a striped chunk.
    pub sub_stripes: u16,
    /// Devices of one chunk at the least.
    pub devs_min: u16,
    /// Devices of one chunk at the most; 0 for as many as there are.
    pub devs_max: u16,
    /// The number of devices of a chunk is a multiple of this.
    pub devs_increment: u16,
    /// Copies of each byte.
    pub ncopies: u16,
    /// Columns of parity.
    pub nparity: u16,
    /// Devices that may be missing while everything can still be read.
    pub tolerated_failures: u16,
}

impl Geometry {
    /// On how many of `available` devices a chunk lies that may have no more than `most`; nothing if these are too few.
    pub fn devices(&self, available: usize, most: usize) -> Option<usize> {
        let most = if self.devs_max == 0 { most } else { most.min(self.devs_max.into()) };
        let increment = usize::from(self.devs_increment);
        let count = available.min(most) / increment * increment;
        (count >= self.devs_min.into()).then_some(count)
    }

    /// Bytes that a device must have to take part.
    pub fn least(&self) -> u64 {
        STRIPE_LEN * u64::from(self.dev_stripes)
    }
}

impl Profile {
    /// All profiles.
    pub const ALL: [Profile; 9] = [
        Profile::Single,
        Profile::Dup,
        Profile::Raid0,
        Profile::Raid1,
        Profile::Raid1c3,
        Profile::Raid1c4,
        Profile::Raid10,
        Profile::Raid5,
        Profile::Raid6,
    ];

    /// What the profile needs and gives.
    pub const fn geometry(self) -> Geometry {
        const fn mirrored(name: &'static str, bit: u64, copies: u16) -> Geometry {
            Geometry {
                name,
                bit,
                dev_stripes: 1,
                sub_stripes: 1,
                devs_min: copies,
                devs_max: copies,
                devs_increment: copies,
                ncopies: copies,
                nparity: 0,
                tolerated_failures: copies - 1,
            }
        }
        const fn striped(name: &'static str, bit: u64, devs_min: u16, nparity: u16) -> Geometry {
            Geometry {
                devs_min,
                devs_max: 0,
                devs_increment: 1,
                ncopies: 1,
                nparity,
                tolerated_failures: nparity,
                ..mirrored(name, bit, 1)
            }
        }
        match self {
            Profile::Single => mirrored("single", 0, 1),
            Profile::Dup => Geometry { dev_stripes: 2, ncopies: 2, ..mirrored("DUP", block_group::DUP, 1) },
            Profile::Raid0 => striped("RAID0", block_group::RAID0, 1, 0),
            Profile::Raid1 => mirrored("RAID1", block_group::RAID1, 2),
            Profile::Raid1c3 => mirrored("RAID1C3", block_group::RAID1C3, 3),
            Profile::Raid1c4 => mirrored("RAID1C4", block_group::RAID1C4, 4),
            Profile::Raid10 => Geometry {
                sub_stripes: 2,
                devs_increment: 2,
                ncopies: 2,
                tolerated_failures: 1,
                ..striped("RAID10", block_group::RAID10, 2, 0)
            },
            Profile::Raid5 => striped("RAID5", block_group::RAID5, 2, 1),
            Profile::Raid6 => striped("RAID6", block_group::RAID6, 3, 2),
        }
    }

    /// The feature without which no chunk may have this profile.
    pub fn feature(self) -> Option<u64> {
        match self {
            Profile::Raid5 | Profile::Raid6 => Some(incompat::RAID56),
            Profile::Raid1c3 | Profile::Raid1c4 => Some(incompat::RAID1C34),
            _ => None,
        }
    }

    /// As `btrfs filesystem df` prints it.
    pub fn name(self) -> &'static str {
        self.geometry().name
    }

    /// The profile of these bits; nothing if there is more than one, or one that is not known.
    pub fn from_bits(bits: u64) -> Option<Profile> {
        Profile::ALL.into_iter().find(|profile| profile.geometry().bit == bits)
    }

    /// How many of `num_stripes` stripes hold data that differs from that of the others; 0 if the count is impossible.
    pub fn data_stripes(self, num_stripes: u16) -> u16 {
        let geometry = self.geometry();
        num_stripes.saturating_sub(geometry.nparity) / geometry.ncopies
    }

    /// Whether a chunk of this profile may have so many stripes (`btrfs_check_chunk_valid` in fs/btrfs/tree-checker.c).
    pub fn allows_stripes(self, num_stripes: u16, sub_stripes: u16) -> bool {
        match self {
            Profile::Single => num_stripes == 1,
            Profile::Dup | Profile::Raid1 => num_stripes == 2,
            Profile::Raid1c3 => num_stripes == 3,
            Profile::Raid1c4 => num_stripes == 4,
            Profile::Raid0 => num_stripes >= 1,
            Profile::Raid10 => num_stripes >= 2 && num_stripes.is_multiple_of(2) && sub_stripes == 2,
            Profile::Raid5 => num_stripes >= 2,
            Profile::Raid6 => num_stripes >= 3,
        }
    }
}
