//! What a new filesystem is to be, what is taken where nothing is said, and what contradicts itself.

use crate::disk::fields::Uuid;
use crate::disk::flags::{compat_ro, incompat};
use crate::disk::inode::Timespec;
use crate::disk::superblock::LABEL_SIZE;
use crate::disk::{CsumType, MAX_NODESIZE, MAX_SECTORSIZE, MIN_NODESIZE, MIN_SECTORSIZE, Profile};

use super::features::{Features, Quotas};
use super::identity::{self, Identity};

const DEFAULT_NODESIZE: u32 = 16 << 10;
const DEFAULT_SECTORSIZE: u32 = 4096;

/// The longest data that stands in a leaf without being compressed: the kernel's default (`BTRFS_DEFAULT_MAX_INLINE`).
pub const MAX_INLINE: u64 = 2048;

/// What was asked for; nothing where the default is to be taken.
#[derive(Clone, Debug, Default)]
pub(super) struct Asked {
    pub label: Vec<u8>,
    pub data: Option<Profile>,
    pub metadata: Option<Profile>,
    /// Data and metadata in the same block groups.
    pub mixed: bool,
    pub csum_type: Option<CsumType>,
    pub nodesize: Option<u32>,
    pub sectorsize: Option<u32>,
    pub features: Features,
    pub fsid: Option<Uuid>,
    /// Of the one device.
    pub device_uuid: Option<Uuid>,
    /// Seconds since 1970.
    pub time: Option<u64>,
}

/// What a filesystem will be.
#[derive(Clone, Debug)]
pub struct Options {
    /// Name of the filesystem.
    pub label: Vec<u8>,
    /// Profile of data.
    pub data: Profile,
    /// Profile of metadata.
    pub metadata: Profile,
    /// Whether data and metadata are in the same block groups.
    pub mixed: bool,
    /// Type of all checksums.
    pub csum_type: CsumType,
    /// Bytes of a tree block.
    pub nodesize: u32,
    /// Bytes of a block of data.
    pub sectorsize: u32,
    /// [`incompat`] flags.
    pub incompat: u64,
    /// [`compat_ro`] flags.
    pub compat_ro: u64,
    /// How quotas are counted, if they are.
    pub quotas: Option<Quotas>,
    /// Uuids and times.
    pub identity: Identity,
    /// Defaults that it does without.
    pub dropped: Vec<Dropped>,
}

/// A default feature that is left out, since another one that it needs was taken away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("feature {feature} is left out: it needs {needed}")]
pub struct Dropped {
    pub feature: &'static str,
    pub needed: &'static str,
}

/// Why there can be no such filesystem.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Conflict {
    /// A size of blocks is impossible.
    #[error("invalid {name} {have}: a power of two from {least} to {most} is needed")]
    Size {
        /// Which size.
        name: &'static str,
        /// The size.
        have: u32,
        /// The least size.
        least: u32,
        /// The greatest size.
        most: u32,
    },
    /// A tree block would be smaller than a block of data.
    #[error("nodesize {nodesize} is smaller than sectorsize {sectorsize}")]
    SmallNodes {
        /// Bytes of a tree block.
        nodesize: u32,
        /// Bytes of a block of data.
        sectorsize: u32,
    },
    /// Mixed block groups need tree blocks as large as blocks of data.
    #[error("with mixed block groups nodesize must be sectorsize {sectorsize}, not {nodesize}")]
    MixedSizes {
        /// Bytes of a tree block.
        nodesize: u32,
        /// Bytes of a block of data.
        sectorsize: u32,
    },
    /// Mixed block groups have one profile.
    #[error("with mixed block groups data and metadata have one profile, not {} and {}", data.name(), metadata.name())]
    MixedProfiles {
        /// Profile of data.
        data: Profile,
        /// Profile of metadata.
        metadata: Profile,
    },
    /// A profile needs more devices.
    #[error(
        "{what} profile {} needs {} devices, there {} {devices}",
        profile.name(), profile.geometry().devs_min, if *devices == 1 { "is" } else { "are" }
    )]
    FewDevices {
        /// What the profile is for.
        what: &'static str,
        /// The profile.
        profile: Profile,
        /// Number of devices.
        devices: usize,
    },
    /// The label does not fit.
    #[error("a label has at most {} bytes, this one has {length}", LABEL_SIZE - 1)]
    LongLabel {
        /// Its bytes.
        length: usize,
    },
    /// The label has a byte that it must not have.
    #[error("a label has no newline and no zero byte")]
    BadLabel,
    /// A device uuid was given for several devices.
    #[error("a device uuid can be given to one device alone, there are {devices}")]
    DeviceUuid {
        /// Number of devices.
        devices: usize,
    },
    /// A feature needs another one.
    #[error("feature {feature} needs {needed}")]
    Needs {
        /// The feature.
        feature: &'static str,
        /// What it needs.
        needed: &'static str,
    },
    /// Both kinds of quotas were chosen.
    #[error("full quotas and simple quotas exclude each other")]
    TwoQuotas,
    /// No image was given.
    #[error("no image is named")]
    NoImage,
    /// Two subvolumes were to be the default.
    #[error("more than one subvolume is to be the default")]
    TwoDefaults,
    /// Several devices were to be shrunk.
    #[error("a filesystem on several devices cannot be shrunk, there are {devices}")]
    ShrunkDevices {
        /// Number of devices.
        devices: usize,
    },
}

impl Options {
    /// What a filesystem on so many devices will be.
    pub(super) fn new(asked: Asked, devices: usize) -> Result<Self, Conflict> {
        let mixed = asked.mixed || asked.features.mixed;
        let sectorsize = asked.sectorsize.unwrap_or(DEFAULT_SECTORSIZE);
        check_size("sectorsize", sectorsize, MIN_SECTORSIZE, MAX_SECTORSIZE)?;
        let default_nodesize = if mixed { sectorsize } else { DEFAULT_NODESIZE.max(sectorsize) };
        let nodesize = asked.nodesize.unwrap_or(default_nodesize);
        check_size("nodesize", nodesize, MIN_NODESIZE, MAX_NODESIZE)?;
        if nodesize < sectorsize {
            return Err(Conflict::SmallNodes { nodesize, sectorsize });
        }
        if mixed && nodesize != sectorsize {
            return Err(Conflict::MixedSizes { nodesize, sectorsize });
        }
        let (data, metadata) = profiles(&asked, mixed, devices)?;
        check_label(&asked.label)?;
        if asked.device_uuid.is_some() && devices > 1 {
            return Err(Conflict::DeviceUuid { devices });
        }
        let (compat_ro, dropped) = possible(&asked.features)?;
        let quotas = quotas(&asked.features)?;
        let mut incompat = asked.features.incompat | incompat::MIXED_BACKREF;
        for profile in [data, metadata] {
            incompat |= profile.feature().unwrap_or_default();
        }
        incompat |= if mixed { incompat::MIXED_GROUPS } else { 0 };
        incompat |= if nodesize > DEFAULT_SECTORSIZE { incompat::BIG_METADATA } else { 0 };
        incompat |= if quotas == Some(Quotas::Simple) { incompat::SIMPLE_QUOTA } else { 0 };
        let seconds = |sec: u64| Timespec { sec: sec.into(), nsec: 0.into() };
        let identity = Identity {
            fsid: asked.fsid.unwrap_or_else(Uuid::random),
            device_uuid: asked.device_uuid,
            time: asked.time.map_or_else(identity::now, seconds),
            is_fixed: asked.time.is_some(),
        };
        Ok(Self {
            label: asked.label,
            data,
            metadata,
            mixed,
            csum_type: asked.csum_type.unwrap_or(CsumType::Crc32c),
            nodesize,
            sectorsize,
            incompat,
            compat_ro,
            quotas,
            identity,
            dropped,
        })
    }

    /// Whether a feature of [`incompat`] is on.
    pub fn has_incompat(&self, flag: u64) -> bool {
        self.incompat & flag != 0
    }

    /// Whether a feature of [`compat_ro`] is on.
    pub fn has_compat_ro(&self, flag: u64) -> bool {
        self.compat_ro & flag != 0
    }
}

fn check_size(name: &'static str, have: u32, least: u32, most: u32) -> Result<(), Conflict> {
    match have.is_power_of_two() && (least..=most).contains(&have) {
        true => Ok(()),
        false => Err(Conflict::Size { name, have, least, most }),
    }
}

fn check_label(label: &[u8]) -> Result<(), Conflict> {
    if label.len() >= LABEL_SIZE {
        return Err(Conflict::LongLabel { length: label.len() });
    }
    match label.iter().any(|byte| matches!(byte, b'\n' | 0)) {
        true => Err(Conflict::BadLabel),
        false => Ok(()),
    }
}

/// Of data and of metadata. Those of mixed groups follow each other.
fn profiles(asked: &Asked, mixed: bool, devices: usize) -> Result<(Profile, Profile), Conflict> {
    let default_metadata = match devices {
        _ if mixed => Profile::Single,
        1 => Profile::Dup,
        _ => Profile::Raid1,
    };
    let other = |profile: Option<Profile>| profile.filter(|_| mixed);
    let data = asked.data.or(other(asked.metadata)).unwrap_or(Profile::Single);
    let metadata = asked.metadata.or(other(asked.data)).unwrap_or(default_metadata);
    if mixed && data != metadata {
        return Err(Conflict::MixedProfiles { data, metadata });
    }
    for (what, profile) in [("data", data), ("metadata", metadata)] {
        if devices < usize::from(profile.geometry().devs_min) {
            return Err(Conflict::FewDevices { what, profile, devices });
        }
    }
    Ok((data, metadata))
}

/// The compat_ro features without defaults that other choices rule out, and these defaults. What was asked for stays, or is an
/// error.
fn possible(features: &Features) -> Result<(u64, Vec<Dropped>), Conflict> {
    let Features { incompat, compat_ro, named, .. } = *features;
    if compat_ro & compat_ro::BLOCK_GROUP_TREE == 0 {
        return Ok((compat_ro, Vec::new()));
    }
    let feature = "block-group-tree";
    let needed = [
        ("free-space-tree", compat_ro & compat_ro::FREE_SPACE_TREE != 0),
        ("no-holes", incompat & incompat::NO_HOLES != 0),
    ];
    let Some((needed, _)) = needed.into_iter().find(|(_, is_there)| !is_there) else {
        return Ok((compat_ro, Vec::new()));
    };
    match named & compat_ro::BLOCK_GROUP_TREE {
        0 => Ok((compat_ro & !compat_ro::BLOCK_GROUP_TREE, vec![Dropped { feature, needed }])),
        _ => Err(Conflict::Needs { feature, needed }),
    }
}

fn quotas(features: &Features) -> Result<Option<Quotas>, Conflict> {
    match (features.full_quotas, features.simple_quotas) {
        (true, true) => Err(Conflict::TwoQuotas),
        (true, false) => Ok(Some(Quotas::Full)),
        (false, true) => Ok(Some(Quotas::Simple)),
        (false, false) => Ok(None),
    }
}
