//! What files consist of: extents, holes and inline data.

use crate::block::ItemRef;
use crate::disk::inode::{FileExtentDisk, FileExtentItem, compression, file_extent_type};
use crate::finding::findings;

use super::Context;
use super::inode::check_number;

findings! {
    /// Damage to a file extent item.
    FileExtentDamage {
        /// A file extent item does not have its size.
        Size("file-extent-size", Error, "invalid item size for file extent, have {have} expect {expect}") {
            have: u32, expect: u32,
        }
        /// The key of a file extent has an offset that is not aligned.
        KeyOffset("file-extent-key-unaligned", Error, "unaligned file offset, have {have} should be aligned to {alignment}") {
            have: u64, alignment: u32,
        }
        /// The type of a file extent is not known.
        Type("file-extent-type", Error, "invalid type for file extent, have {have} expect [0, {limit}]") {
            have: u8, limit: u8,
        }
        /// The compression of a file extent is not known.
        Compression("file-extent-compression", Error, "invalid compression for file extent, have {have} expect [0, {limit}]") {
            have: u8, limit: u8,
        }
        /// A file extent is encrypted, which is not known.
        Encryption("file-extent-encryption", Error, "invalid encryption for file extent, have {have} expect 0") { have: u8 }
        /// A file extent is encoded in a way that is not known.
        Encoding("file-extent-encoding", Error, "invalid other encoding for file extent, have {have} expect 0") { have: u16 }
        /// A file extent was made in a generation that the superblock does not know.
        Generation("file-extent-generation", Error, "invalid file extent generation, have {have} expect [0, {limit}]") {
            have: u64, limit: u64,
        }
        /// Inline data does not stand at the beginning of its file.
        InlineOffset("file-extent-inline-offset", Error, "invalid file offset for inline extent, have {have} expect 0") {
            have: u64,
        }
        /// Inline data that is not compressed has another length than it says.
        InlineSize("file-extent-inline-size", Error, "invalid ram_bytes for uncompressed inline extent, have {have} expect {expect}") {
            have: u64, expect: u32,
        }
        /// Inline data is longer than a sector, compressed or not.
        InlineTooLong("file-extent-inline-too-long", Error, "inline extent too long, have {have} expect no more than {limit}") {
            have: u64, limit: u32,
        }
        /// A file extent has no bytes.
        Empty("file-extent-empty", Error, "file extent without bytes") { }
        /// An address or a length in a file extent is not aligned.
        Unaligned("file-extent-unaligned", Error, "invalid {field} for file extent, have {have} should be aligned to {alignment}") {
            field: &'static str, have: u64, alignment: u32,
        }
        /// A file extent reaches past the end of all addresses.
        Overflow("file-extent-overflow", Error, "{field} overflows, start {start} length {length}") {
            field: &'static str, start: u64, length: u64,
        }
        /// An extent on disk has no length there.
        DiskSize("file-extent-disk-size", Error, "invalid disk_num_bytes for extent at {disk_bytenr}, have 0") {
            disk_bytenr: u64,
        }
        /// A hole has a length on disk, as btrfs-convert wrote it.
        HoleSize("file-extent-hole-size", Note, "invalid disk_num_bytes for hole, have {have} expect 0") { have: u64 }
        /// A file extent uses more of an extent than there is.
        Beyond("file-extent-beyond", Error, "file extent ends beyond its extent, offset {offset} num_bytes {num_bytes} expect an end of at most {limit}") {
            offset: u64, num_bytes: u64, limit: u64,
        }
        /// A compressed extent is longer than compressed extents can be.
        CompressedSize("file-extent-compressed-size", Error, "compressed extent too long, {field} {have} expect no more than {limit}") {
            field: &'static str, have: u64, limit: u64,
        }
        /// A preallocated extent is a hole, or is compressed.
        Prealloc("file-extent-prealloc", Error, "invalid preallocated extent, disk_bytenr {disk_bytenr} compression {compression}") {
            disk_bytenr: u64, compression: u8,
        }
        /// The lengths of an uncompressed extent on disk and in memory differ, as some kernels wrote them.
        RamBytes("file-extent-ram-bytes", Note, "ram_bytes of an uncompressed extent differs, have {have} expect {expect}") {
            have: u64, expect: u64,
        }
        /// A file extent begins before the one before it ends.
        Overlap("file-extent-item-overlap", Error, "file extent overlaps the previous one, which ends at {previous_end}") {
            previous_end: u64,
        }
    }
}

/// The longest compressed extent, both before and after compression (`BTRFS_MAX_COMPRESSED`).
const MAX_COMPRESSED: u64 = 128 * 1024;

pub(super) fn check(cx: &mut Context<'_>, item: &ItemRef<'_>) {
    check_number(cx, item.key);
    let key_offset = item.key.offset;
    if !cx.rules.is_sector_aligned(key_offset) {
        cx.found(FileExtentDamage::KeyOffset { have: key_offset, alignment: cx.rules.sectorsize });
    }
    let Some((extent, rest)) = FileExtentItem::read_prefix(item.data) else {
        let expect = size_of::<FileExtentItem>() as u32;
        return cx.found(FileExtentDamage::Size { have: item.data.len() as u32, expect });
    };
    check_previous(cx, item);
    if extent.compression > compression::ZSTD {
        cx.found(FileExtentDamage::Compression { have: extent.compression, limit: compression::ZSTD });
    }
    if extent.encryption != 0 {
        cx.found(FileExtentDamage::Encryption { have: extent.encryption });
    }
    if extent.other_encoding.get() != 0 {
        cx.found(FileExtentDamage::Encoding { have: extent.other_encoding.get() });
    }
    let (have, limit) = (extent.generation.get(), cx.rules.newest());
    if have > limit {
        cx.found(FileExtentDamage::Generation { have, limit });
    }
    match extent.r#type {
        file_extent_type::INLINE => check_inline(cx, key_offset, extent, rest),
        file_extent_type::REG | file_extent_type::PREALLOC => {
            let size = size_of::<FileExtentItem>() as u32;
            let size = |have, expect| FileExtentDamage::Size { have: size + have, expect: size + expect };
            if let Some(disk) = cx.exact::<FileExtentDisk, _>(rest, size) {
                check_on_disk(cx, key_offset, extent, disk);
            }
        }
        have => cx.found(FileExtentDamage::Type { have, limit: file_extent_type::PREALLOC }),
    }
}

fn check_inline(cx: &mut Context<'_>, key_offset: u64, extent: &FileExtentItem, data: &[u8]) {
    if key_offset != 0 {
        cx.found(FileExtentDamage::InlineOffset { have: key_offset });
    }
    let (ram_bytes, size, limit) = (extent.ram_bytes.get(), data.len() as u32, cx.rules.sectorsize);
    if ram_bytes == 0 || size == 0 {
        cx.found(FileExtentDamage::Empty {});
    }
    if extent.compression == compression::NONE && ram_bytes != u64::from(size) {
        cx.found(FileExtentDamage::InlineSize { have: ram_bytes, expect: size });
    } else if ram_bytes.max(size.into()) > limit.into() {
        cx.found(FileExtentDamage::InlineTooLong { have: ram_bytes.max(size.into()), limit });
    }
}

fn check_on_disk(cx: &mut Context<'_>, key_offset: u64, extent: &FileExtentItem, disk: &FileExtentDisk) {
    let (ram_bytes, disk_bytenr, disk_num_bytes, offset, num_bytes) = (
        extent.ram_bytes.get(),
        disk.disk_bytenr.get(),
        disk.disk_num_bytes.get(),
        disk.offset.get(),
        disk.num_bytes.get(),
    );
    let fields = [
        ("ram_bytes", ram_bytes),
        ("disk_bytenr", disk_bytenr),
        ("disk_num_bytes", disk_num_bytes),
        ("offset", offset),
        ("num_bytes", num_bytes),
    ];
    for (field, have) in fields {
        if !cx.rules.is_sector_aligned(have) {
            cx.found(FileExtentDamage::Unaligned { field, have, alignment: cx.rules.sectorsize });
        }
    }
    if num_bytes == 0 {
        cx.found(FileExtentDamage::Empty {});
    }
    let ends = [("file range", key_offset, num_bytes), ("disk range", disk_bytenr, disk_num_bytes)];
    for (field, start, length) in ends {
        if start.checked_add(length).is_none() {
            cx.found(FileExtentDamage::Overflow { field, start, length });
        }
    }
    let is_hole = disk_bytenr == 0;
    match (is_hole, disk_num_bytes) {
        (true, 0) => {}
        (true, have) => cx.found(FileExtentDamage::HoleSize { have }),
        (false, 0) => cx.found(FileExtentDamage::DiskSize { disk_bytenr }),
        (false, _) => {}
    }
    if offset.checked_add(num_bytes).is_none_or(|end| end > ram_bytes) {
        cx.found(FileExtentDamage::Beyond { offset, num_bytes, limit: ram_bytes });
    }
    let is_compressed = extent.compression != compression::NONE;
    if extent.r#type == file_extent_type::PREALLOC && (is_hole || is_compressed) {
        cx.found(FileExtentDamage::Prealloc { disk_bytenr, compression: extent.compression });
    }
    if is_hole {
        return;
    }
    if is_compressed {
        for (field, have) in [("ram_bytes", ram_bytes), ("disk_num_bytes", disk_num_bytes)] {
            if have > MAX_COMPRESSED {
                cx.found(FileExtentDamage::CompressedSize { field, have, limit: MAX_COMPRESSED });
            }
        }
    } else if ram_bytes != disk_num_bytes {
        cx.found(FileExtentDamage::RamBytes { have: ram_bytes, expect: disk_num_bytes });
    }
}

fn check_previous(cx: &mut Context<'_>, item: &ItemRef<'_>) {
    let Some(previous) = cx.previous_alike(item).filter(|previous| previous.key < item.key) else { return };
    if let Some(previous_end) = end(&previous, cx.rules.sectorsize)
        && previous_end > item.key.offset
    {
        cx.found(FileExtentDamage::Overlap { previous_end });
    }
}

/// Where an extent ends in its file; nothing if that cannot be told.
fn end(item: &ItemRef<'_>, sectorsize: u32) -> Option<u64> {
    let (extent, rest) = FileExtentItem::read_prefix(item.data)?;
    let length = match extent.r#type {
        file_extent_type::INLINE => extent.ram_bytes.get().checked_next_multiple_of(sectorsize.into())?,
        _ => FileExtentDisk::read_prefix(rest)?.0.num_bytes.get(),
    };
    item.key.offset.checked_add(length)
}
