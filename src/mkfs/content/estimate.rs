//! How much metadata a directory makes, before any of it is read.

use crate::disk::Profile;
use crate::disk::extent::{ExtentDataRef, ExtentInlineRef, ExtentItem};
use crate::disk::inode::{DirItem, FileExtentDisk, FileExtentItem, InodeItem, InodeRef};
use crate::disk::node::{Item, leaf_data_size};
use crate::tree::reservation::to_write_files;

use super::super::estimate::Estimate;
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
    let file_extent = item(size_of::<FileExtentItem>() + size_of::<FileExtentDisk>());
    let extent = item(size_of::<ExtentItem>() + size_of::<ExtentInlineRef>() + size_of::<ExtentDataRef>());
    let extents = totals.files + method.map_or(0, |_| totals.data_bytes / compress::LIMIT as u64);
    let csums = totals.data_bytes / u64::from(options.sectorsize) * options.csum_type.size() as u64;
    let inline = totals.inline_files * item(size_of::<FileExtentItem>()) + totals.inline_bytes;
    let files = totals.inodes * inode + totals.entries * entry + 3 * totals.name_bytes + inline + extents * file_extent;
    // What ends a leaf is more likely a large item than a small one.
    let gap = GAP + inline * 1024 / files.max(1) * (inline / totals.inline_files.max(1)) / 1024;
    let global = blocks(csums + extents * extent, GAP, options.nodesize);
    let metadata = blocks(files, gap, options.nodesize) + global;
    // How much compression saves is not known: this is less than it takes, and the rest is added as it is needed.
    let is_guess = method.is_some();
    let data = if is_guess { totals.data_bytes / 4 } else { totals.data_bytes };
    let (least_inline, least_data) = if is_guess { (0, 0) } else { (totals.dense_inline_bytes, totals.dense_bytes) };
    let least_metadata = totals.inodes * inode + least_inline;
    Estimate { metadata, global, data, least_metadata, least_data, is_guess }
}

/// Bytes at the end of a leaf that the next item does not fit into, about.
const GAP: u64 = 128;

/// Bytes of the blocks that hold so many bytes of items, nodes above them among them.
fn blocks(items: u64, gap: u64, nodesize: u32) -> u64 {
    let leaf = u64::from(leaf_data_size(nodesize));
    let leaves = items / leaf.saturating_sub(gap).max(leaf / 2) + 8;
    (leaves + leaves / 32) * u64::from(nodesize)
}

/// Bytes that a new filesystem is given for what is yet to come, beside what the kernel needs to write at all. Mixed block
/// groups are for small devices.
const LEEWAY: u64 = 32 << 20;
const MIXED_LEEWAY: u64 = 16 << 20;

/// Bytes of each device of a filesystem that is sized to its content.
pub fn device_size(estimate: &Estimate, options: &Options, devices: u64) -> u64 {
    let raw = |bytes: u64, profile: Profile| {
        let geometry = profile.geometry();
        let (parity, copies) = (u64::from(geometry.nparity), u64::from(geometry.ncopies));
        bytes.saturating_mul(copies) / devices.saturating_sub(parity).max(1)
    };
    let metadata = estimate.metadata.saturating_add(to_write_files(options.nodesize, estimate.global));
    let (data, metadata) = (raw(estimate.data, options.data), raw(metadata, options.metadata));
    let leeway = if options.mixed { MIXED_LEEWAY } else { LEEWAY };
    data.saturating_add(metadata).saturating_add(leeway)
}
