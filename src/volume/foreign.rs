//! Other filesystems, told by their magic numbers, so that an error can name them.

use crate::disk::Physical;
use crate::image::Image;

/// Offset, magic bytes and name.
const SIGNATURES: [(u64, &[u8], &str); 15] = [
    (0x438, b"\x53\xef", "an ext2, ext3 or ext4 filesystem"),
    (0, b"XFSB", "an XFS filesystem"),
    (0, b"LUKS\xba\xbe", "a LUKS volume"),
    (0x1_0034, b"ReIsEr", "a ReiserFS filesystem"),
    (0x400, b"\x10\x20\xf5\xf2", "an F2FS filesystem"),
    (0x400, b"\xe2\xe1\xf5\xe0", "an EROFS filesystem"),
    (0, b"hsqs", "a SquashFS filesystem"),
    (0x1018, b"\xc6\x85\x73\xf6\x4e\x1a\x45\xca", "a bcachefs filesystem"),
    (0xff6, b"SWAPSPACE2", "swap space"),
    (0x8001, b"CD001", "an ISO 9660 filesystem"),
    (3, b"NTFS    ", "an NTFS filesystem"),
    (3, b"EXFAT   ", "an exFAT filesystem"),
    (0x52, b"FAT32   ", "a FAT filesystem"),
    (0x36, b"FAT", "a FAT filesystem"),
    (0x1fe, b"\x55\xaa", "a partition table or boot sector"),
];

/// What stands on the image where no btrfs does, if it is known.
pub fn identify(image: &Image) -> Option<&'static str> {
    let found = |(offset, magic, _): &&(u64, &[u8], &str)| {
        let mut buffer = [0; 16];
        let bytes = &mut buffer[..magic.len()];
        image.read(Physical(*offset), bytes).is_ok() && bytes == *magic
    };
    SIGNATURES.iter().find(found).map(|(_, _, name)| *name)
}
