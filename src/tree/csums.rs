//! The checksums of data, found by address.

use crate::disk::{Key, KeyType, Logical, objectid};
use crate::volume::{NoGoodCopy, Volume};

use super::TreeRoot;

/// A run of sectors and their checksums, one after the other.
#[derive(Clone, Copy)]
pub struct CsumRun<'a> {
    /// Logical address of the first sector.
    pub logical: Logical,
    /// The checksums, one after the other.
    pub csums: &'a [u8],
}

/// The checksum tree, if the filesystem has one.
#[derive(Clone, Copy, Debug)]
pub struct CsumRoot {
    root: Option<TreeRoot>,
}

impl CsumRoot {
    /// The checksum tree that this root tree leads to.
    pub fn of(volume: &Volume, root_tree: &TreeRoot) -> Result<Self, NoGoodCopy> {
        let root = root_tree.find_child(volume, objectid::CSUM_TREE)?;
        Ok(Self { root })
    }

    /// The root of the checksum tree, if there is one.
    pub fn root(&self) -> Option<TreeRoot> {
        self.root
    }

    /// Hands the checksums of all sectors in `ranges` to `visit`, in order. The ranges, start and end, are sorted and
    /// disjoint. Items that no sound filesystem has are passed over.
    pub fn for_each(
        &self,
        volume: &Volume,
        ranges: &[(u64, u64)],
        mut visit: impl FnMut(CsumRun<'_>),
    ) -> Result<(), NoGoodCopy> {
        let Some(root) = self.root else { return Ok(()) };
        let format = volume.format();
        let (size, sectorsize) = (format.csum_type.size(), u64::from(format.sectorsize));
        // An item begins no further before the first of its sectors that counts.
        let longest = u64::from(format.nodesize) / size as u64 * sectorsize;
        // Ranges so near to each other may share leaves, which are read once.
        for ranges in ranges.chunk_by(|one, next| next.0.saturating_sub(one.1) <= longest) {
            let (Some(first), Some(last)) = (ranges.first(), ranges.last()) else { continue };
            let key = |offset| Key::new(objectid::EXTENT_CSUM, KeyType::EXTENT_CSUM, offset);
            let (from, to) = (key(first.0.saturating_sub(longest)), key(last.1.saturating_sub(1)));
            root.range(volume, from, to, |item| {
                let start = item.key.offset;
                let end = start.saturating_add((item.data.len() / size) as u64 * sectorsize);
                let is_csum = (item.key.objectid, item.key.key_type) == (objectid::EXTENT_CSUM, KeyType::EXTENT_CSUM);
                if !is_csum || !start.is_multiple_of(sectorsize) {
                    return;
                }
                let next = ranges.partition_point(|range| range.1 <= start);
                for range in ranges[next..].iter().take_while(|range| range.0 < end) {
                    let first = range.0.max(start) / sectorsize;
                    let sectors = range.1.min(end).div_ceil(sectorsize).saturating_sub(first);
                    let skipped = (first - start / sectorsize) as usize;
                    let csums = item.data.get(skipped * size..).unwrap_or_default();
                    let length = (sectors as usize).saturating_mul(size).min(csums.len() / size * size);
                    visit(CsumRun { logical: Logical(first * sectorsize), csums: &csums[..length] });
                }
            })?;
        }
        Ok(())
    }
}
