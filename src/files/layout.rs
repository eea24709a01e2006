//! How a file lies on the disk, range by range.

use std::ops::Range;

use crate::block::decompress::Compression;
use crate::disk::Logical;
use crate::error::RangeProblem;
use crate::volume::Volume;

use super::extents::{Extent, Source};
use super::file::File;

/// A range of a file, and what its item says of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileExtent {
    /// First byte in the file.
    pub offset: u64,
    /// Bytes of the range, never 0.
    pub length: u64,
    /// What is there.
    pub kind: ExtentKind,
}

/// What a range of a file is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExtentKind {
    /// A hole.
    Hole,
    /// Space that is allocated and was never written: zeroes.
    Prealloc,
    /// Data in the tree.
    Inline {
        /// How it is compressed.
        compression: Option<Compression>,
    },
    /// Data, or a part of it.
    Disk(DiskExtent),
    /// Nothing is known of the range.
    Damaged(RangeProblem),
}

/// An extent of data, and what of it stands in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskExtent {
    /// Logical address of the extent.
    pub logical: Logical,
    /// Length on disk.
    pub disk_num_bytes: u64,
    /// Length decompressed.
    pub ram_bytes: u64,
    /// Where in the decompressed bytes the range of the file begins.
    pub offset: u64,
    /// How it is compressed.
    pub compression: Option<Compression>,
}

/// What of a file is data.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Layout {
    /// Ranges that are no zeroes by what their items say, in order, none beside another.
    pub data: Vec<Range<u64>>,
    /// Ranges of which nothing is known, or whose data has no place, in order, and why.
    pub lost: Vec<(Range<u64>, String)>,
    /// Address of the first data that has one.
    pub first: Option<Logical>,
    /// Bytes that the extents take, as the inode item counts them; nothing where some of them cannot be read.
    pub nbytes: Option<u64>,
}

impl File<'_, '_> {
    /// All extents of the file; no data is read.
    pub fn layout(&mut self) -> Layout {
        let mut layout = Layout { nbytes: Some(0), ..Layout::default() };
        let (volume, size) = (self.files.volume(), self.size);
        let mut offset = 0;
        loop {
            let window = self.window_at(offset);
            for extent in &window.extents {
                let end = extent.end.min(size);
                let kind = kind_of(extent, 0);
                if !matches!(kind, ExtentKind::Hole | ExtentKind::Damaged(_)) {
                    layout.nbytes = layout.nbytes.and_then(|sum| sum.checked_add(extent.end - extent.start));
                }
                match kind {
                    ExtentKind::Hole | ExtentKind::Prealloc => {}
                    ExtentKind::Inline { .. } => layout.add(extent.start, end),
                    ExtentKind::Damaged(problem) => {
                        layout.nbytes = None;
                        layout.lose(extent.start, end, &problem);
                    }
                    ExtentKind::Disk(disk) => {
                        layout.first.get_or_insert(disk.logical);
                        let mapped = extent.start.saturating_add(mapped(volume, &disk));
                        layout.add(extent.start, end.min(mapped));
                        layout.lose(extent.start.max(mapped), end, &"no chunk has the data");
                    }
                }
            }
            if let Some(problem) = &window.unknown {
                layout.nbytes = None;
                layout.lose(window.start.max(offset), window.end.min(size), problem);
            }
            if window.end == u64::MAX || window.end <= offset {
                return layout;
            }
            offset = window.end;
        }
    }

    /// What the file's items say of the range that begins at `offset`; nothing at the end of the file. No data is read.
    pub fn extent_at(&mut self, offset: u64) -> Option<FileExtent> {
        if offset >= self.size {
            return None;
        }
        let window = self.window_at(offset);
        let (end, kind) = match (&window.unknown, window.find(offset)) {
            (Some(problem), _) => (window.end, ExtentKind::Damaged(problem.clone())),
            (None, Ok(extent)) => (extent.end, kind_of(extent, offset - extent.start)),
            (None, Err(end)) => (end, ExtentKind::Hole),
        };
        Some(FileExtent { offset, length: end.min(self.size) - offset, kind })
    }
}

/// How many bytes of an extent there may be: those up to the end of the chunk, and no more than the images have. A compressed extent is
/// taken as a whole.
fn mapped(volume: &Volume, disk: &DiskExtent) -> u64 {
    let skip = if disk.compression.is_some() { 0 } else { disk.offset };
    let start = disk.logical.checked_add(skip);
    let Some((start, chunk)) = start.and_then(|start| Some((start, volume.chunks().find(start)?))) else { return 0 };
    if disk.compression.is_some() {
        return u64::MAX;
    }
    let images = volume.devices().iter().fold(0_u64, |sum, device| sum.saturating_add(device.image().size()));
    chunk.logical.0.saturating_add(chunk.length).saturating_sub(start.0).min(images)
}

impl Layout {
    fn lose(&mut self, start: u64, end: u64, reason: &dyn std::fmt::Display) {
        if start < end {
            self.lost.push((start..end, reason.to_string()));
        }
    }

    fn add(&mut self, start: u64, end: u64) {
        if start >= end {
            return;
        }
        match self.data.last_mut().filter(|last| last.end == start) {
            Some(last) => last.end = end,
            None => self.data.push(start..end),
        }
    }
}

/// What an extent is, from `skip` bytes behind its beginning on.
fn kind_of(extent: &Extent, skip: u64) -> ExtentKind {
    match &extent.source {
        Source::Hole => ExtentKind::Hole,
        Source::Prealloc => ExtentKind::Prealloc,
        Source::Inline(_) => ExtentKind::Inline { compression: None },
        Source::InlineCompressed { method, .. } => ExtentKind::Inline { compression: Some(*method) },
        Source::Plain { logical, offset, disk_num_bytes } => ExtentKind::Disk(DiskExtent {
            logical: Logical(logical.0 - offset),
            disk_num_bytes: *disk_num_bytes,
            ram_bytes: *disk_num_bytes,
            offset: offset.saturating_add(skip),
            compression: None,
        }),
        Source::Compressed(extent) => ExtentKind::Disk(DiskExtent {
            logical: extent.logical,
            disk_num_bytes: extent.disk_num_bytes as u64,
            ram_bytes: extent.ram_bytes as u64,
            offset: (extent.offset as u64).saturating_add(skip),
            compression: Some(extent.method),
        }),
        Source::Damaged(problem) => ExtentKind::Damaged(problem.clone()),
    }
}
