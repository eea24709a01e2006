//! The checksums of superblocks, tree blocks and file data.

use sha2::Digest;

/// Room for a checksum in headers; shorter ones leave the rest zero.
pub const CSUM_SIZE: usize = 32;

/// A type of checksums (`BTRFS_CSUM_TYPE_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CsumType {
    /// CRC-32C, 4 bytes.
    Crc32c,
    /// XXH64, 8 bytes.
    Xxhash,
    /// SHA-256, 32 bytes.
    Sha256,
    /// BLAKE2b of 256 bits, 32 bytes.
    Blake2,
}

impl CsumType {
    /// All types, in the order of their numbers.
    pub const ALL: [CsumType; 4] = [CsumType::Crc32c, CsumType::Xxhash, CsumType::Sha256, CsumType::Blake2];

    /// The type that a superblock's `csum_type` names.
    pub fn from_raw(raw: u16) -> Option<Self> {
        Self::ALL.get(usize::from(raw)).copied()
    }

    /// The number in a superblock.
    pub fn raw(self) -> u16 {
        self as u16
    }

    /// As btrfs-progs call it.
    pub fn name(self) -> &'static str {
        match self {
            CsumType::Crc32c => "crc32c",
            CsumType::Xxhash => "xxhash64",
            CsumType::Sha256 => "sha256",
            CsumType::Blake2 => "blake2",
        }
    }

    /// Length of one checksum in bytes.
    pub fn size(self) -> usize {
        match self {
            CsumType::Crc32c => 4,
            CsumType::Xxhash => 8,
            CsumType::Sha256 | CsumType::Blake2 => 32,
        }
    }

    /// The checksum of `data`, as stored; bytes past [`CsumType::size`] are zero.
    pub fn compute(self, data: &[u8]) -> [u8; CSUM_SIZE] {
        let mut csum = [0; CSUM_SIZE];
        match self {
            CsumType::Crc32c => csum[..4].copy_from_slice(&crc32c::crc32c(data).to_le_bytes()),
            CsumType::Xxhash => csum[..8].copy_from_slice(&xxhash_rust::xxh64::xxh64(data, 0).to_le_bytes()),
            CsumType::Sha256 => csum.copy_from_slice(&sha2::Sha256::digest(data)),
            CsumType::Blake2 => {
                csum.copy_from_slice(blake2b_simd::Params::new().hash_length(CSUM_SIZE).hash(data).as_bytes())
            }
        }
        csum
    }

    /// Whether a block that begins with its own checksum carries the right one.
    pub fn matches(self, block: &[u8]) -> bool {
        match block.split_first_chunk::<CSUM_SIZE>() {
            Some((stored, data)) => stored[..self.size()] == self.compute(data)[..self.size()],
            None => false,
        }
    }

    /// Writes the checksum of a block into its first bytes; a block shorter than a checksum stays as it is.
    pub fn stamp(self, block: &mut [u8]) {
        if let Some((stored, data)) = block.split_first_chunk_mut::<CSUM_SIZE>() {
            *stored = self.compute(data);
        }
    }
}
