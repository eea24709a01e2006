//! Which files have data that is bad in every copy.

use crate::disk::Logical;
use crate::error::Result;
use crate::progress::Progress;
use crate::tree::{BlockPlace, Scan, Tree, Visit, Visitor};
use crate::volume::Volume;

use super::moving::{FileExtentAt, file_extents_at};
use super::trees::Trees;

/// A range of a file that reads as damaged, before and after.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Damaged {
    /// A tree that has the file; snapshots may have it, too.
    pub tree: u64,
    /// Its inode.
    pub inode: u64,
    /// First byte in the file.
    pub offset: u64,
    /// Bytes.
    pub length: u64,
}

/// Sectors that are lost, by address.
struct Lost<'l> {
    sectors: &'l [Logical],
    sectorsize: u64,
}

impl Visitor for Lost<'_> {
    type Part = Vec<Damaged>;

    fn visit(&self, part: &mut Vec<Damaged>, place: &BlockPlace<'_>, visit: Visit<'_>) {
        let Visit::Leaf(leaf) = visit else { return };
        let files = file_extents_at(leaf);
        part.extend(files.flat_map(|file| self.of_file(place.tree.id(), &file)));
    }
}

impl Lost<'_> {
    /// What a file extent has of the lost sectors: of a compressed extent all is lost.
    fn of_file(&self, tree: u64, file: &FileExtentAt) -> Vec<Damaged> {
        let (start, length) = (file.extent.0, file.disk.disk_num_bytes.get());
        let (offset, bytes) = (file.disk.offset.get(), file.disk.num_bytes.get());
        let (used, end) = match file.is_compressed {
            true => (start, start.saturating_add(length)),
            false => (start.saturating_add(offset), start.saturating_add(offset).saturating_add(bytes)),
        };
        let first = self.sectors.partition_point(|sector| sector.0 < used);
        let lost = self.sectors[first..].iter().take_while(|sector| sector.0 < end);
        let damaged = |offset, length| Damaged { tree, inode: file.key.objectid, offset, length };
        if file.is_compressed {
            return lost.take(1).map(|_| damaged(file.key.offset, bytes)).collect();
        }
        let mut ranges: Vec<Damaged> = Vec::new();
        for sector in lost {
            let at = file.key.offset.saturating_add(sector.0 - used);
            match ranges.last_mut() {
                Some(last) if last.offset + last.length == at => last.length += self.sectorsize,
                _ => ranges.push(damaged(at, self.sectorsize)),
            }
        }
        ranges
    }
}

/// The files that have some of these sectors, which are sorted.
pub fn files_of(volume: &Volume, trees: &[Tree], sectors: &[Logical], threads: usize) -> Vec<Damaged> {
    if sectors.is_empty() {
        return Vec::new();
    }
    let lost = Lost { sectors, sectorsize: volume.format().sectorsize.into() };
    let progress = Progress::default();
    let mut damaged = Scan::new(volume, threads, &progress).run(trees, &lost).concat();
    damaged.sort_unstable();
    damaged
}

/// The files of all trees that hold these sectors.
///
/// # Errors
/// A relocation by the kernel that was cut off; a root tree that cannot be read.
pub fn damaged_files(volume: &Volume, sectors: &[Logical], threads: usize) -> Result<Vec<Damaged>> {
    Ok(files_of(volume, &Trees::read(volume)?.files, sectors, threads))
}
