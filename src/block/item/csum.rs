//! Checksums of file data.

use crate::block::ItemRef;
use crate::disk::objectid;
use crate::finding::findings;

use super::{Context, Rules};

findings! {
    /// Damage to a checksum item.
    CsumDamage {
        /// The key of a checksum item is not that of checksum items.
        Key("csum-key", Error, "invalid key objectid for csum item, have {have} expect {expect}") { have: u64, expect: u64 }
        /// The key of a checksum item has an offset that is not aligned.
        Unaligned("csum-unaligned", Error, "unaligned key offset for csum item, have {have} should be aligned to {alignment}") {
            have: u64, alignment: u32,
        }
        /// A checksum item does not consist of whole checksums.
        Size("csum-size", Error, "invalid size of csum item, have {have} expect a multiple of {csum_size}") {
            have: u32, csum_size: u32,
        }
        /// A checksum item covers addresses past the end of all addresses.
        Overflow("csum-overflow", Error, "csum range overflows, start {start} length {length}") { start: u64, length: u64 }
        /// A checksum item begins before the one before it ends.
        Overlap("csum-item-overlap", Error, "csum range overlaps the previous one, which ends at {previous_end}") {
            previous_end: u64,
        }
    }
}

/// Bytes of data that an item of this size covers.
fn covered(size: usize, rules: &Rules) -> u64 {
    (size / rules.csum_type.size()) as u64 * u64::from(rules.sectorsize)
}

pub(super) fn check(cx: &mut Context<'_>, item: &ItemRef<'_>) {
    let (key, size, rules) = (item.key, item.data.len(), cx.rules);
    match key.objectid {
        objectid::EXTENT_CSUM => {}
        // Checksums of another type, while btrfs-progs changes the type.
        objectid::CSUM_CHANGE => return,
        have => cx.found(CsumDamage::Key { have, expect: objectid::EXTENT_CSUM }),
    }
    if !rules.is_sector_aligned(key.offset) {
        cx.found(CsumDamage::Unaligned { have: key.offset, alignment: rules.sectorsize });
    }
    let csum_size = rules.csum_type.size();
    if size == 0 || !size.is_multiple_of(csum_size) {
        cx.found(CsumDamage::Size { have: size as u32, csum_size: csum_size as u32 });
    }
    let (start, length) = (key.offset, covered(size, rules));
    if start.checked_add(length).is_none() {
        cx.found(CsumDamage::Overflow { start, length });
    }
    if let Some(previous) = cx.previous_alike(item).filter(|previous| previous.key < key) {
        let previous_end = previous.key.offset.saturating_add(covered(previous.data.len(), rules));
        if previous_end > key.offset {
            cx.found(CsumDamage::Overlap { previous_end });
        }
    }
}
