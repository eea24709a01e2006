//! The file that holds the v1 cache of one block group.
//!
//! It is made of pages, which are sectors: page 0 begins with the CRC-32C of every page and the generation; entries
//! follow, none across pages; then a page for each entry that is a bitmap.

use crate::disk::inode::{FileExtentDisk, FileExtentItem, file_extent_type};
use crate::disk::space::{FreeSpaceEntry, FreeSpaceHeader, free_space_entry_type};
use crate::disk::{CsumType, Logical};
use crate::problem::CacheFault;
use crate::survey::Item;
use crate::volume::{ChunkMapping, Volume};

use super::free_ranges::FreeRanges;

const CRC_SIZE: usize = size_of::<u32>();

/// Why a cache was not read.
pub enum NotRead {
    /// It is not as the kernel writes it.
    Damaged(CacheFault),
    /// Its device is missing or fails.
    Unreadable,
}

type Result<T> = std::result::Result<T, NotRead>;

fn damaged<T>(fault: CacheFault) -> Result<T> {
    Err(NotRead::Damaged(fault))
}

pub struct CacheFile<'a> {
    volume: &'a Volume,
    /// File extent items.
    extents: &'a [Item],
    pages: u64,
    page_size: usize,
}

impl<'a> CacheFile<'a> {
    /// The file with these file extent items and this size in bytes.
    pub fn new(volume: &'a Volume, extents: &'a [Item], size: u64) -> Self {
        let page_size = volume.format().sectorsize as usize;
        Self { volume, extents, pages: size.div_ceil(page_size as u64), page_size }
    }

    /// The free ranges that the file lists of a block group.
    pub fn read(&self, header: &FreeSpaceHeader, chunk: &ChunkMapping) -> Result<FreeRanges> {
        // The kernel has all checksums and the generation in page 0.
        let crcs_size = usize::try_from(self.pages).ok().and_then(|pages| pages.checked_mul(CRC_SIZE));
        let start = crcs_size.and_then(|size| size.checked_add(size_of::<u64>()));
        let Some((crcs_size, start)) = crcs_size.zip(start.filter(|start| *start <= self.page_size)) else {
            return damaged(CacheFault::Pages { have: self.pages });
        };
        let mut page = vec![0; self.page_size];
        self.read_page(0, &mut page, |page| is_crc_of(&page[..CRC_SIZE], &page[crcs_size..]))?;
        let crcs = page[..crcs_size].to_vec();
        let generation = u64::from_le_bytes(page[crcs_size..start].try_into().unwrap_or_default());
        if generation != header.generation.get() {
            return damaged(CacheFault::Generation { have: generation, expect: header.generation.get() });
        }
        let read_checked = |index: u64, page: &mut Vec<u8>| {
            let start = (index as usize).saturating_mul(CRC_SIZE);
            let crc = crcs.get(start..start.saturating_add(CRC_SIZE));
            let Some(crc) = crc else { return damaged(CacheFault::PastEnd { page: index }) };
            self.read_page(index, page, |page| is_crc_of(crc, page))
        };

        let sectorsize = self.page_size as u64;
        let mut free = FreeRanges::default();
        let mut bitmaps = Vec::new();
        let (mut index, mut position) = (0, start);
        for _ in 0..header.num_entries.get() {
            if self.page_size - position < size_of::<FreeSpaceEntry>() {
                (index, position) = (index + 1, 0);
                read_checked(index, &mut page)?;
            }
            let Some((entry, _)) = FreeSpaceEntry::read_prefix(&page[position..]) else { break };
            position += size_of::<FreeSpaceEntry>();
            let (offset, bytes) = (entry.offset.get(), entry.bytes.get());
            let end = offset.checked_add(bytes);
            let is_inside = offset >= chunk.logical.0 && end.is_some_and(|end| end <= chunk.end().0);
            if bytes == 0 || !is_inside || !(offset | bytes).is_multiple_of(sectorsize) {
                return damaged(CacheFault::Entry { offset, bytes });
            }
            match entry.r#type {
                free_space_entry_type::EXTENT => free.add(offset, bytes),
                free_space_entry_type::BITMAP => bitmaps.push((offset, bytes)),
                have => return damaged(CacheFault::EntryType { have }),
            }
        }
        if bitmaps.len() as u64 != header.num_bitmaps.get() {
            let (have, expect) = (bitmaps.len() as u64, header.num_bitmaps.get());
            return damaged(CacheFault::Bitmaps { have, expect });
        }
        for (offset, bytes) in bitmaps {
            index += 1;
            read_checked(index, &mut page)?;
            let bits: u64 = page.iter().map(|byte| u64::from(byte.count_ones())).sum();
            let have = bits.saturating_mul(sectorsize);
            if have != bytes {
                return damaged(CacheFault::Bitmap { offset, have, expect: bytes });
            }
            free.add_bitmap(offset, &page, sectorsize, chunk.end().0);
        }
        Ok(free)
    }

    /// Fills `page` from the first copy that has the right checksum.
    fn read_page(&self, index: u64, page: &mut [u8], is_good: impl Fn(&[u8]) -> bool) -> Result<()> {
        let Some(logical) = self.place(index) else { return damaged(CacheFault::NoData { page: index }) };
        let mut was_read = false;
        for mirror in 1..=self.volume.mirrors(logical) {
            if self.volume.read(logical, mirror, page).is_ok() {
                if is_good(page) {
                    return Ok(());
                }
                was_read = true;
            }
        }
        match was_read {
            true => damaged(CacheFault::Csum { page: index }),
            false => Err(NotRead::Unreadable),
        }
    }

    /// Where a page lies.
    fn place(&self, index: u64) -> Option<Logical> {
        let position = index.checked_mul(self.page_size as u64)?;
        let after = self.extents.partition_point(|item| item.key.offset <= position);
        let item = self.extents.get(after.checked_sub(1)?)?;
        let (extent, rest) = FileExtentItem::read_prefix(&item.data)?;
        let (disk, _) = FileExtentDisk::read_prefix(rest)?;
        let offset = position - item.key.offset;
        let is_plain = extent.r#type == file_extent_type::REG && extent.compression == 0;
        let is_there = is_plain && disk.disk_bytenr.get() != 0 && offset < disk.num_bytes.get();
        let offset = disk.offset.get().checked_add(offset).filter(|_| is_there)?;
        Logical::from(disk.disk_bytenr).checked_add(offset)
    }
}

fn is_crc_of(crc: &[u8], data: &[u8]) -> bool {
    CsumType::Crc32c.compute(data).starts_with(crc)
}
