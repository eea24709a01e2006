//! Other filesystems, told by their magic numbers, so that an error can name them.

use crate::disk::Physical;
use crate::error::{Error, Result};
use crate::image::Image;

pub(super) const BTRFS: &str = "a btrfs filesystem";
const MD: &str = "a member of an md array";
const UDF: &str = "a UDF filesystem";
const SWAP: &str = "swap space";
const FAT: &str = "a FAT filesystem";
const ZFS: &str = "a member of a ZFS pool";
const GPT: &str = "a GPT partition table";

/// Offset, magic bytes and name.
type Signature = (u64, &'static [u8], &'static str);

const OWN: [Signature; 2] = [(0x1_0040, b"_BHRfS_M", BTRFS), (0x400_0040, b"_BHRfS_M", BTRFS)];

/// What boot sectors share with partition tables stands last.
const SIGNATURES: [Signature; 42] = [
    (0x438, b"\x53\xef", "an ext2, ext3 or ext4 filesystem"),
    (0, b"XFSB", "an XFS filesystem"),
    (0, b"LUKS\xba\xbe", "a LUKS volume"),
    (0x218, b"LVM2 001", "an LVM2 physical volume"),
    (0x18, b"LVM2 001", "an LVM2 physical volume"),
    (0x418, b"LVM2 001", "an LVM2 physical volume"),
    (0x618, b"LVM2 001", "an LVM2 physical volume"),
    (0, b"\xfc\x4e\x2b\xa9", MD),
    (0x1000, b"\xfc\x4e\x2b\xa9", MD),
    (0x1_0034, b"ReIsEr", "a ReiserFS filesystem"),
    (0x2034, b"ReIsEr", "a ReiserFS filesystem"),
    (0x1_0000, b"ReIsEr4", "a Reiser4 filesystem"),
    (0x400, b"\x10\x20\xf5\xf2", "an F2FS filesystem"),
    (0x400, b"\xe2\xe1\xf5\xe0", "an EROFS filesystem"),
    (0, b"hsqs", "a SquashFS filesystem"),
    (0, b"sqsh", "a SquashFS filesystem"),
    (0, b"\x45\x3d\xcd\x28", "a cramfs filesystem"),
    (0x1018, b"\xc6\x85\x73\xf6\x4e\x1a\x45\xca", "a bcache device or bcachefs filesystem"),
    (0x1018, b"\xc6\x85\x73\xf6\x66\xce\x90\xa9", "a bcachefs filesystem"),
    (0x406, b"\x34\x34", "a NILFS2 filesystem"),
    (0x8000, b"JFS1", "a JFS filesystem"),
    (0xff6, b"SWAPSPACE2", SWAP),
    (0xff6, b"SWAP-SPACE", SWAP),
    (0x1ff6, b"SWAPSPACE2", SWAP),
    (0x3ff6, b"SWAPSPACE2", SWAP),
    (0xfff6, b"SWAPSPACE2", SWAP),
    (0x8001, b"CD001", "an ISO 9660 filesystem"),
    (0x8001, b"BEA01", UDF),
    (0x8001, b"NSR02", UDF),
    (0x8001, b"NSR03", UDF),
    (0x400, b"H+\x00\x04", "an HFS+ filesystem"),
    (0x20, b"NXSB", "an APFS container"),
    (0x1_0000, b"\x01\x16\x19\x70", "a GFS2 filesystem"),
    (0x2000, b"OCFSV2", "an OCFS2 filesystem"),
    (3, b"-FVE-FS-", "a BitLocker volume"),
    (0x200, b"EFI PART", GPT),
    (0x1000, b"EFI PART", GPT),
    (3, b"NTFS    ", "an NTFS filesystem"),
    (3, b"EXFAT   ", "an exFAT filesystem"),
    (0x52, b"FAT32   ", FAT),
    (0x36, b"FAT", FAT),
    (0x1fe, b"\x55\xaa", "a partition table or boot sector"),
];

/// ZFS writes its uberblocks around a ring in each of its labels.
const UBERBLOCKS: std::ops::Range<u64> = 0x2_0000..0x4_0000;
const UBERBLOCK_STEP: u64 = 0x400;
const UBERBLOCK: u64 = 0x00ba_b10c;

/// What stands on the image, if it is known. What cannot be read is an error: it may be anything.
///
/// # Errors
/// The image cannot be read where other filesystems and partition tables have their marks.
pub fn identify(image: &Image) -> Result<Option<&'static str>> {
    match find(image, &OWN)? {
        None => identify_other(image),
        found => Ok(found),
    }
}

/// What stands on the image beside what is left of a btrfs filesystem.
///
/// # Errors
/// As those of [`identify`].
pub fn identify_other(image: &Image) -> Result<Option<&'static str>> {
    let (boot, others) = SIGNATURES.split_at(SIGNATURES.len() - 1);
    if let Some(found) = find(image, others)? {
        return Ok(Some(found));
    }
    let mut label = vec![0; (UBERBLOCKS.end - UBERBLOCKS.start) as usize];
    let is_uberblock = |bytes: &[u8]| {
        let magic = bytes.first_chunk().map(|magic| u64::from_le_bytes(*magic)).unwrap_or_default();
        magic == UBERBLOCK || magic == UBERBLOCK.swap_bytes()
    };
    if is_there(image, UBERBLOCKS.start, &mut label)? && label.chunks_exact(UBERBLOCK_STEP as usize).any(is_uberblock) {
        return Ok(Some(ZFS));
    }
    // Older md arrays have their superblock at the end, and partition tables their second copy.
    let size = image.size();
    let md = [(size & !0xffff).checked_sub(0x1_0000), size.checked_sub(0x2000).map(|offset| offset & !0xfff)];
    let md = md.into_iter().flatten().map(|offset| (offset, &b"\xfc\x4e\x2b\xa9"[..], MD));
    let gpt = size.checked_sub(0x200).map(|offset| (offset, &b"EFI PART"[..], GPT));
    let at_end: Vec<Signature> = md.chain(gpt).collect();
    match find(image, &at_end)? {
        None => find(image, boot),
        found => Ok(found),
    }
}

/// The name of the first of the signatures that the image has.
fn find(image: &Image, signatures: &[Signature]) -> Result<Option<&'static str>> {
    for (offset, magic, name) in signatures {
        let mut buffer = [0; 16];
        let bytes = &mut buffer[..magic.len()];
        if is_there(image, *offset, bytes)? && bytes == *magic {
            return Ok(Some(name));
        }
    }
    Ok(None)
}

/// Fills `buffer`, unless the image is too short.
fn is_there(image: &Image, offset: u64, buffer: &mut [u8]) -> Result<bool> {
    match image.read(Physical(offset), buffer) {
        Err(Error::Short { .. }) => Ok(false),
        read => read.map(|()| true),
    }
}
