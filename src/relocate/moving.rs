//! Data that is on the move, and the file extents that refer to it.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::block::verify::Expected;
use crate::block::{Block, Leaf};
use crate::disk::inode::{FileExtentDisk, FileExtentItem, file_extent_type};
use crate::disk::node::HEADER_SIZE;
use crate::disk::{Key, KeyType, Logical};
use crate::error::{Addressed, EditError, Error, Result};
use crate::progress::Progress;
use crate::tree::{BlockPlace, Scan, Tree, Visit, Visitor};
use crate::volume::{BadCopy, Volume};

use super::contents::DataExtent;

/// An extent with its new place.
#[derive(Debug)]
struct MovingExtent {
    extent: DataExtent,
    to: Logical,
    /// File extents that were found to refer to it.
    found: AtomicU64,
    /// Whether one of them has bytes: the others are preallocated.
    has_bytes: AtomicBool,
}

/// The extents of a batch, by address.
#[derive(Debug, Default)]
pub struct Moving {
    extents: Vec<MovingExtent>,
}

/// A range that is copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Copy {
    pub from: Logical,
    pub to: Logical,
    pub length: u64,
}

/// A file extent with blocks of its own, in a leaf.
pub struct FileExtentAt {
    /// Key of its item.
    pub key: Key,
    /// Where its address stands in the block.
    pub at: usize,
    /// The extent.
    pub extent: Logical,
    /// What of the extent the file has, and how many bytes.
    pub disk: FileExtentDisk,
    /// Whether the extent is compressed.
    pub is_compressed: bool,
    is_prealloc: bool,
}

/// The file extents of a leaf that have blocks.
pub fn file_extents_at(leaf: Leaf<'_>) -> impl Iterator<Item = FileExtentAt> {
    leaf.items().flatten().filter(|item| item.key.key_type == KeyType::EXTENT_DATA).filter_map(|item| {
        let (extent, rest) = FileExtentItem::read_prefix(item.data)?;
        let (disk, _) = FileExtentDisk::read_prefix(rest).filter(|_| extent.r#type != file_extent_type::INLINE)?;
        let logical = Logical::from(disk.disk_bytenr);
        let at = HEADER_SIZE + item.offset as usize + size_of::<FileExtentItem>();
        (logical != Logical(0)).then_some(FileExtentAt {
            key: item.key,
            at,
            extent: logical,
            disk: *disk,
            is_compressed: extent.compression != 0,
            is_prealloc: extent.r#type == file_extent_type::PREALLOC,
        })
    })
}

impl Moving {
    /// Extents by address, with their new places.
    pub fn new(placed: Vec<(DataExtent, Logical)>) -> Self {
        let (found, has_bytes) = (|| AtomicU64::new(0), || AtomicBool::new(false));
        let moving = |(extent, to)| MovingExtent { extent, to, found: found(), has_bytes: has_bytes() };
        Self { extents: placed.into_iter().map(moving).collect() }
    }

    pub fn is_empty(&self) -> bool {
        self.extents.is_empty()
    }

    pub fn count(&self) -> u64 {
        self.extents.len() as u64
    }

    /// Bytes of all extents.
    pub fn bytes(&self) -> u64 {
        self.extents.iter().map(|moving| moving.extent.length).sum()
    }

    fn get(&self, extent: Logical) -> Option<&MovingExtent> {
        let index = self.extents.binary_search_by_key(&extent, |moving| moving.extent.start).ok()?;
        self.extents.get(index)
    }

    /// The new place of the extent that begins at an address.
    pub fn to(&self, extent: Logical) -> Option<Logical> {
        self.get(extent).map(|moving| moving.to)
    }

    /// The extents, by address, with their new places.
    pub fn iter(&self) -> impl Iterator<Item = (DataExtent, Logical)> {
        self.extents.iter().map(|moving| (moving.extent, moving.to))
    }

    /// The ranges that are copied, joined where they are at both ends. Of what is preallocated, `has_checksums` tells whether
    /// the kernel wrote something to it once: its bytes have to agree with its checksums.
    pub fn copies(&self, has_checksums: impl Fn(DataExtent) -> bool) -> Vec<Copy> {
        let mut copies: Vec<Copy> = Vec::new();
        let is_written =
            |moving: &&MovingExtent| moving.has_bytes.load(Ordering::Relaxed) || has_checksums(moving.extent);
        for moving in self.extents.iter().filter(is_written) {
            let (from, to, length) = (moving.extent.start, moving.to, moving.extent.length);
            match copies.last_mut() {
                Some(last) if (last.from.0 + last.length, last.to.0 + last.length) == (from.0, to.0) => {
                    last.length += length;
                }
                _ => copies.push(Copy { from, to, length }),
            }
        }
        copies
    }

    /// Finds the leaves that refer to the extents. What refers to them is just what their items say, or the filesystem is
    /// damaged.
    ///
    /// # Errors
    /// A block that cannot be read, and extents with more or fewer references than their items say.
    pub fn find_leaves(&self, volume: &Volume, trees: &[Tree], threads: usize) -> Result<HashSet<Logical>> {
        if self.is_empty() {
            return Ok(HashSet::new());
        }
        let progress = Progress::default();
        let scan = Scan::new(volume, threads, &progress);
        let mut leaves = HashSet::new();
        for part in scan.run(trees, self) {
            if let Some(logical) = part.unreadable {
                let problem = format!("tree block {logical} cannot be read");
                return Err(Error::Damaged { problem });
            }
            leaves.extend(part.leaves);
        }
        let is_wrong = |moving: &&MovingExtent| moving.found.load(Ordering::Relaxed) != moving.extent.refs;
        match self.extents.iter().find(is_wrong) {
            Some(moving) => {
                let found = moving.found.load(Ordering::Relaxed);
                let DataExtent { start, refs, .. } = moving.extent;
                let problem = format!("extent {start} says that it has {refs} references, {found} were found");
                Err(Error::Damaged { problem })
            }
            None => Ok(leaves),
        }
    }
}

/// What one thread finds.
#[derive(Default)]
pub struct FoundLeaves {
    leaves: Vec<Logical>,
    unreadable: Option<Logical>,
}

impl Visitor for Moving {
    type Part = FoundLeaves;

    fn visit(&self, part: &mut FoundLeaves, _: &BlockPlace<'_>, visit: Visit<'_>) {
        let Visit::Leaf(leaf) = visit else { return };
        let before = part.leaves.len();
        for file in file_extents_at(leaf) {
            let Some(moving) = self.get(file.extent) else { continue };
            moving.found.fetch_add(1, Ordering::Relaxed);
            if !file.is_prealloc {
                moving.has_bytes.store(true, Ordering::Relaxed);
            }
            if part.leaves.len() == before {
                part.leaves.push(leaf.block().logical());
            }
        }
    }

    fn unreadable(&self, part: &mut FoundLeaves, place: &BlockPlace<'_>, _: Vec<BadCopy>) {
        part.unreadable = Some(place.expected.logical);
    }
}

/// Lets the file extents of a leaf lead to the new places.
///
/// # Errors
/// The bytes are no leaf.
pub fn forward_leaf(bytes: &mut [u8], expected: &Expected, moving: &Moving) -> Result<()> {
    let changes: Vec<(usize, Logical)> = match Block::new(bytes).map(|block| block.kind()) {
        Some(crate::block::BlockKind::Leaf(leaf)) => {
            let to = |file: FileExtentAt| moving.to(file.extent).map(|to| (file.at, to));
            file_extents_at(leaf).filter_map(to).collect()
        }
        _ => {
            let problem = EditError::Malformed("level").into();
            return Err(Error::Block { what: Addressed::TreeBlock, logical: expected.logical, problem });
        }
    };
    for (at, to) in changes {
        if let Some(place) = bytes.get_mut(at..at + size_of::<u64>()) {
            place.copy_from_slice(&to.0.to_le_bytes());
        }
    }
    Ok(())
}
