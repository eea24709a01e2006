//! Trees, superblocks and chunks as text and as JSON.
//!
//! The text is that of `btrfs inspect-internal` of btrfs-progs 6.19, which scripts read; the JSON has every field under
//! its kernel name.

pub mod chunks;
pub mod devices;
pub mod json;
pub mod layout;
pub mod put;
pub mod superblock;
pub mod svg;
pub mod text;
pub mod tree;

use crate::disk::CsumType;
use crate::disk::flags::incompat::SIMPLE_QUOTA;
use crate::volume::Volume;

/// What to show of names and checksums, and what the superblock tells about items.
#[derive(Clone, Copy, Debug)]
pub struct Style {
    /// Whether names and values are replaced.
    pub hide_names: bool,
    /// The checksum of each tree block in its heading.
    pub csum_headers: bool,
    /// The checksums of checksum items.
    pub csum_items: bool,
    /// Type of all checksums.
    pub csum_type: CsumType,
    /// Bytes of a block of data.
    pub sectorsize: u32,
    /// Whether quota status items carry the generation in which simple quotas were enabled.
    pub simple_quota: bool,
}

impl Style {
    /// All names and no checksums.
    pub fn of(volume: &Volume) -> Self {
        Self {
            hide_names: false,
            csum_headers: false,
            csum_items: false,
            csum_type: volume.format().csum_type,
            sectorsize: volume.format().sectorsize,
            simple_quota: volume.superblock().has_incompat(SIMPLE_QUOTA),
        }
    }
}
