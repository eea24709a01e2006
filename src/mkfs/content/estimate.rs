//! How much metadata a directory makes, before any of it is read.

use crate::disk::Profile;
use crate::disk::extent::{ExtentDataRef, ExtentInlineRef, ExtentItem};
use crate::disk::inode::{DirItem, FileExtentDisk, FileExtentItem, InodeItem, InodeRef};
use crate::disk::node::Item;

use super::super::Estimate;
use super::super::options::Options;
use super::super::source::Totals;
use super::compress::{self, Method};

/// What the content will need about. More may be needed where there are many extended attributes, or holes.
pub fn estimate(totals: &Totals, options: &Options, method: Option<Method>) -> Estimate {
    const fn item(size: usize) -> u64 {
        (size_of::<Item>() + size) as u64
    }
    let inode = item(size_of::<InodeItem>()) + item(size_of::<InodeRef>());
    // Under its hash and under its index.
    let entry = 2 * item(size_of::<DirItem>());
    let extent = item(size_of::<FileExtentItem>() + size_of::<FileExtentDisk>())
        + item(size_of::<ExtentItem>() + size_of::<ExtentInlineRef>() + size_of::<ExtentDataRef>());
    let compressed = method.map_or(0, |_| totals.data_bytes / compress::LIMIT as u64);
    let csums = totals.data_bytes / u64::from(options.sectorsize) * options.csum_type.size() as u64;
    let items = totals.inodes * inode
        + totals.entries * entry
        + 3 * totals.name_bytes
        + totals.inline_bytes
        + (totals.files + compressed) * extent
        + csums;
    // Leaves are not full to the last byte, and there are nodes above them.
    let metadata = items + items / 8 + 16 * u64::from(options.nodesize);
    // What compression saves nobody knows: this is less than it takes, and the rest is added as it is needed.
    let data = if method.is_some() { totals.data_bytes / 4 } else { totals.data_bytes };
    Estimate { metadata, data }
}

/// Bytes that a new filesystem is given for what is yet to come.
const LEEWAY: u64 = 64 << 20;

/// Bytes of each device of a filesystem that is sized to its content.
pub fn device_size(estimate: &Estimate, options: &Options, devices: u64) -> u64 {
    let raw = |bytes: u64, profile: Profile| {
        let geometry = profile.geometry();
        let (parity, copies) = (u64::from(geometry.nparity), u64::from(geometry.ncopies));
        bytes.saturating_mul(copies) / devices.saturating_sub(parity).max(1)
    };
    let (data, metadata) = (raw(estimate.data, options.data), raw(estimate.metadata, options.metadata));
    data.saturating_add(metadata).saturating_add(LEEWAY)
}
