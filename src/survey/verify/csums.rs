//! The checksums of a range, from the leaves that hold them.

use crate::block::verify::Expected;
use crate::block::{BlockKind, Leaf};
use crate::disk::{KeyType, Logical, objectid};
use crate::volume::Volume;

/// The checksums of one range of data.
#[derive(Default)]
pub struct RangeCsums {
    start: u64,
    sectorsize: u64,
    size: usize,
    /// One after the other, for each sector of the range.
    bytes: Vec<u8>,
    present: Vec<bool>,
    block: Vec<u8>,
}

impl RangeCsums {
    /// Reads the checksums of `start..end` out of `leaves`. Those in leaves that cannot be read are not known.
    pub fn read(&mut self, volume: &Volume, leaves: &[Expected], start: Logical, end: Logical) {
        let format = volume.format();
        self.start = start.0;
        self.sectorsize = format.sectorsize.into();
        self.size = format.csum_type.size();
        let sectors = end.0.saturating_sub(start.0) / self.sectorsize;
        self.present.clear();
        self.present.resize(sectors as usize, false);
        self.bytes.resize(sectors as usize * self.size, 0);
        let mut block = std::mem::take(&mut self.block);
        for leaf in leaves {
            if let Ok(read) = volume.read_block(leaf, &mut block)
                && let BlockKind::Leaf(leaf) = read.block.kind()
            {
                self.take(leaf);
            }
        }
        self.block = block;
    }

    /// Items that no sound filesystem has are left out: the item verifier reports them.
    fn take(&mut self, leaf: Leaf<'_>) {
        for item in leaf.items().flatten() {
            let is_csum = (item.key.objectid, item.key.key_type) == (objectid::EXTENT_CSUM, KeyType::EXTENT_CSUM);
            if !is_csum || !item.key.offset.is_multiple_of(self.sectorsize) {
                continue;
            }
            let (first, own) = (item.key.offset / self.sectorsize, self.start / self.sectorsize);
            let to = first.saturating_sub(own) as usize;
            let from = own.saturating_sub(first) as usize;
            let csums = item.data.chunks_exact(self.size).skip(from);
            let places = self.bytes.chunks_exact_mut(self.size).zip(&mut self.present).skip(to);
            for (sum, (place, present)) in csums.zip(places) {
                place.copy_from_slice(sum);
                *present = true;
            }
        }
    }

    /// The checksum of the sector at `logical`.
    pub fn get(&self, logical: Logical) -> Option<&[u8]> {
        let sector = (logical.0.checked_sub(self.start)? / self.sectorsize) as usize;
        if !*self.present.get(sector)? {
            return None;
        }
        self.bytes.get(sector * self.size..(sector + 1) * self.size)
    }

    /// Bytes of data whose checksums are known.
    pub fn data_bytes(&self) -> u64 {
        self.present.iter().filter(|present| **present).count() as u64 * self.sectorsize
    }
}
