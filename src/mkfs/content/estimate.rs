//! How much metadata a directory makes, before any of it is read.

use crate::disk::extent::{ExtentDataRef, ExtentInlineRef, ExtentItem};
use crate::disk::inode::{DirItem, FileExtentDisk, FileExtentItem, InodeItem, InodeRef};
use crate::disk::node::Item;

use super::super::options::Options;
use super::super::source::Totals;
use super::super::Estimate;
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
    Estimate { metadata: items + items / 8 + 16 * u64::from(options.nodesize) }
}
