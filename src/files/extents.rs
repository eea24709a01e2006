//! What a file consists of: the file extent items of one leaf at a time.

use crate::block::decompress::{Compression, MAX_COMPRESSED};
use crate::disk::inode::{FileExtentDisk, FileExtentItem, file_extent_type};
use crate::disk::{Key, KeyType, Logical};
use crate::error::RangeProblem;
use crate::tree::Span;

use super::id::InodeId;
use super::notice::Notice;
use super::store::{Files, Subtree};

/// A range of a file, and where its bytes are.
#[derive(Clone, Debug)]
pub(super) struct Extent {
    /// Offsets in the file.
    pub start: u64,
    pub end: u64,
    pub source: Source,
}

#[derive(Clone, Debug)]
pub(super) enum Source {
    /// A hole: zeroes.
    Hole,
    /// Preallocated: zeroes too.
    Prealloc,
    Inline(Vec<u8>),
    InlineCompressed {
        method: Compression,
        data: Vec<u8>,
        ram_bytes: usize,
    },
    /// Data at an address, from there on as it is in the file.
    Plain {
        logical: Logical,
        /// How far behind the beginning of the extent the address is.
        offset: u64,
        /// Length of the extent.
        disk_num_bytes: u64,
    },
    Compressed(CompressedExtent),
    Damaged(RangeProblem),
}

/// A compressed extent, which is read and decompressed as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CompressedExtent {
    pub logical: Logical,
    pub method: Compression,
    /// Length on disk.
    pub disk_num_bytes: usize,
    /// Length decompressed.
    pub ram_bytes: usize,
    /// Where in the decompressed bytes the range of the file begins.
    pub offset: usize,
}

/// The extents of a file that stand in one leaf, in order and without overlap.
#[derive(Debug)]
pub(super) struct Window {
    /// The range of the file that these extents and the holes between them make.
    pub start: u64,
    pub end: u64,
    pub extents: Vec<Extent>,
    /// Why nothing is known of this range.
    pub unknown: Option<RangeProblem>,
}

impl Window {
    pub fn holds(&self, offset: u64) -> bool {
        (self.start..self.end).contains(&offset)
    }

    /// The extent that holds `offset`, or the end of the hole where there is none.
    pub fn find(&self, offset: u64) -> Result<&Extent, u64> {
        let next = self.extents.partition_point(|extent| extent.end <= offset);
        match self.extents.get(next) {
            Some(extent) if extent.start <= offset => Ok(extent),
            Some(extent) => Err(extent.start),
            None => Err(self.end),
        }
    }
}

impl Files<'_> {
    /// The extents of a file around `offset`. A window without an end goes on to [`u64::MAX`].
    pub(super) fn window(&self, id: InodeId, subtree: &Subtree, offset: u64) -> Window {
        let key = |offset| Key::new(id.ino.0, KeyType::EXTENT_DATA, offset);
        match subtree.root.leaf_at(self.volume, &self.cache, key(offset)) {
            Ok(read) => {
                read.bad.iter().for_each(|(logical, copy)| self.notice_copy(id.tree, *logical, copy));
                let (start, end) = range_of(id, read.span);
                let mut extents = Vec::new();
                for item in read.items().filter(|item| key(0) <= item.key && item.key <= key(u64::MAX)) {
                    extents.extend(extent(item.key.offset, item.data, self.volume.format().sectorsize));
                }
                self.put_in_order(id, &mut extents, end);
                Window { start, end, extents, unknown: None }
            }
            Err(unreadable) => {
                self.notice_block(id.tree, &unreadable.block);
                let (start, end) = range_of(id, unreadable.span);
                let (logical, problem) = (unreadable.block.logical, unreadable.block);
                let unknown = Some(RangeProblem::TreeBlock { logical, problem });
                Window { start, end, extents: Vec::new(), unknown }
            }
        }
    }

    /// Where the last extent of a file ends; nothing if it has none, or if that is not known.
    pub(super) fn last_extent_end(&self, id: InodeId, subtree: &Subtree) -> Option<u64> {
        let extents = self.window(id, subtree, u64::MAX).extents.into_iter();
        let known = extents.filter(|extent| !matches!(extent.source, Source::Damaged(_)));
        known.map(|extent| extent.end).max()
    }

    /// Cuts each extent at the beginning of the next, as the kernel finds them.
    fn put_in_order(&self, id: InodeId, extents: &mut Vec<Extent>, end: u64) {
        extents.sort_by_key(|extent| extent.start);
        extents.dedup_by_key(|extent| extent.start);
        let starts: Vec<u64> = extents.iter().skip(1).map(|extent| extent.start).chain([end]).collect();
        for (extent, next) in extents.iter_mut().zip(starts) {
            if extent.end > next {
                self.notice(|| Notice::Overlap { id, offset: next });
                extent.end = next;
            }
        }
        extents.retain(|extent| extent.start < extent.end);
    }
}

/// The range of a file whose extents stand in a span of keys.
fn range_of(id: InodeId, span: Span) -> (u64, u64) {
    let key = |offset| Key::new(id.ino.0, KeyType::EXTENT_DATA, offset);
    let start = if span.first <= key(0) { 0 } else { span.first.offset };
    match span.end.filter(|end| *end <= key(u64::MAX)) {
        Some(end) => (start, end.offset),
        None => (start, u64::MAX),
    }
}

/// The extent that an item describes. One whose length is not known has all that is left of the file.
fn extent(start: u64, item: &[u8], sectorsize: u32) -> Option<Extent> {
    let damaged = |field, have, end| Extent { start, end, source: Source::Damaged(RangeProblem::Item { field, have }) };
    let Some((head, rest)) = FileExtentItem::read_prefix(item) else {
        return Some(damaged("size", item.len() as u64, u64::MAX));
    };
    let disk = FileExtentDisk::read_prefix(rest).map(|(disk, _)| disk);
    let is_inline = head.r#type == file_extent_type::INLINE;
    let ram_bytes = head.ram_bytes.get();
    let length = match (is_inline, disk) {
        (true, _) => ram_bytes,
        (false, Some(disk)) => disk.num_bytes.get(),
        (false, None) => return Some(damaged("size", item.len() as u64, u64::MAX)),
    };
    if length == 0 {
        return None;
    }
    let Some(end) = start.checked_add(length) else {
        return Some(damaged("num_bytes", length, u64::MAX));
    };
    let method = Compression::from_raw(head.compression);
    let unknown = [
        ("encryption", u64::from(head.encryption)),
        ("other_encoding", head.other_encoding.get().into()),
        ("compression", if method.is_some() { 0 } else { head.compression.into() }),
        ("type", if head.r#type <= file_extent_type::PREALLOC { 0 } else { head.r#type.into() }),
    ];
    if let Some((field, have)) = unknown.into_iter().find(|(_, have)| *have != 0) {
        return Some(damaged(field, have, end));
    }
    let source = match disk {
        _ if is_inline => inline_source(ram_bytes, method, rest),
        Some(disk) if disk.disk_bytenr.get() == 0 => Ok(Source::Hole),
        Some(_) if head.r#type == file_extent_type::PREALLOC => Ok(Source::Prealloc),
        Some(disk) => disk_source(ram_bytes, method, disk, sectorsize),
        None => Err(("size", item.len() as u64)),
    };
    Some(match source {
        Ok(source) => Extent { start, end, source },
        Err((field, have)) => damaged(field, have, end),
    })
}

/// A field of an item, and the value that it cannot have.
type BadField = (&'static str, u64);

fn inline_source(ram_bytes: u64, method: Option<Compression>, data: &[u8]) -> Result<Source, BadField> {
    // No more is taken from the tree than a leaf has, and no more is made of it than of any compressed extent.
    let limit = if method.is_some() { MAX_COMPRESSED } else { data.len() };
    let length = usize::try_from(ram_bytes).ok().filter(|length| *length <= limit).ok_or(("ram_bytes", ram_bytes))?;
    Ok(match method {
        Some(method) => Source::InlineCompressed { method, data: data.to_vec(), ram_bytes: length },
        None => Source::Inline(data.get(..length).unwrap_or_default().to_vec()),
    })
}

fn disk_source(
    ram_bytes: u64,
    method: Option<Compression>,
    disk: &FileExtentDisk,
    sectorsize: u32,
) -> Result<Source, BadField> {
    let logical = Logical::from(disk.disk_bytenr);
    let (disk_num_bytes, offset, num_bytes) = (disk.disk_num_bytes.get(), disk.offset.get(), disk.num_bytes.get());
    if !logical.is_aligned(sectorsize) || logical.checked_add(disk_num_bytes).is_none() {
        return Err(("disk_bytenr", logical.0));
    }
    if disk_num_bytes == 0 || !disk_num_bytes.is_multiple_of(sectorsize.into()) {
        return Err(("disk_num_bytes", disk_num_bytes));
    }
    let size = if method.is_some() { ram_bytes } else { disk_num_bytes };
    if offset.checked_add(num_bytes).is_none_or(|end| end > size) {
        return Err(("offset", offset));
    }
    let Some(method) = method else {
        let at = logical.checked_add(offset).ok_or(("offset", offset))?;
        return Ok(Source::Plain { logical: at, offset, disk_num_bytes });
    };
    let bounded = |field, have: u64| match usize::try_from(have) {
        Ok(length) if length <= MAX_COMPRESSED => Ok(length),
        _ => Err((field, have)),
    };
    Ok(Source::Compressed(CompressedExtent {
        logical,
        method,
        disk_num_bytes: bounded("disk_num_bytes", disk_num_bytes)?,
        ram_bytes: bounded("ram_bytes", ram_bytes)?,
        offset: bounded("offset", offset)?,
    }))
}
