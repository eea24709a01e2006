//! Which bit a checksum says has flipped.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::disk::csum::{CSUM_SIZE, CsumType};
use crate::parallel::{lock, on_threads};

/// CRC-32C, its bits reversed.
const CASTAGNOLI: u32 = 0x82f6_3b78;
/// Bytes that are hashed at most to find a bit: a few seconds of work.
const MOST_HASHED: u64 = 4 << 30;
const MOST_XXHASHED: u64 = 40 << 30;
/// A thread tries the bits of so many bytes at once.
const SHARE: usize = 64;

/// A bit of a block: its byte, and its number there, 0 for the lowest.
pub(super) type Bit = (usize, u8);

/// The bit of the stored checksum that differs from the computed one, if only that one does.
pub(super) fn stored_bit(csum_type: CsumType, bytes: &[u8]) -> Option<Bit> {
    let (stored, data) = bytes.split_first_chunk::<CSUM_SIZE>()?;
    let computed = csum_type.compute(data);
    let differing = |index: &usize| stored[*index] != computed[*index];
    let mut differing = (0..csum_type.size()).filter(differing);
    let (index, None) = (differing.next()?, differing.next()) else { return None };
    let difference = stored[index] ^ computed[index];
    (difference.count_ones() == 1).then_some((index, difference.trailing_zeros() as u8))
}

/// The bit that flipped behind the checksum, if the stored CRC-32C is right without the flip. One bit at most explains it: two blocks
/// with the same CRC-32C differ in four bits at least.
pub(super) fn crc32c_bit(bytes: &[u8]) -> Option<Bit> {
    let (stored, data) = bytes.split_first_chunk::<CSUM_SIZE>()?;
    let stored = u32::from_le_bytes(*stored.first_chunk()?);
    let syndrome = crc32c::crc32c(data) ^ stored;
    // What the flip of one bit does to the checksum depends only on how far from the end the bit stands.
    let mut effect = CASTAGNOLI;
    for offset in (CSUM_SIZE..bytes.len()).rev() {
        for bit in (0..8).rev() {
            if effect == syndrome {
                return Some((offset, bit));
            }
            effect = (effect >> 1) ^ if effect & 1 == 0 { 0 } else { CASTAGNOLI };
        }
    }
    None
}

/// The same for a checksum that is not linear: all bits are tried, unless that takes too long. A block that two bits make
/// right does not exist.
pub(super) fn hashed_bit(csum_type: CsumType, bytes: &[u8], threads: usize) -> Option<Bit> {
    let length = bytes.len().saturating_sub(CSUM_SIZE) as u64;
    let most = if csum_type == CsumType::Xxhash { MOST_XXHASHED } else { MOST_HASHED };
    if length * length * 8 > most {
        return None;
    }
    let found = Mutex::new(None);
    let next = AtomicUsize::new(CSUM_SIZE);
    on_threads(threads, || {
        let mut bytes = bytes.to_vec();
        loop {
            let start = next.fetch_add(SHARE, Ordering::Relaxed);
            if start >= bytes.len() || lock(&found).is_some() {
                return;
            }
            for offset in start..(start + SHARE).min(bytes.len()) {
                for bit in 0..8 {
                    bytes[offset] ^= 1 << bit;
                    if csum_type.matches(&bytes) {
                        *lock(&found) = Some((offset, bit));
                    }
                    bytes[offset] ^= 1 << bit;
                }
            }
        }
    });
    *lock(&found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(csum_type: CsumType, size: usize) -> Vec<u8> {
        let mut bytes: Vec<u8> = (0..size as u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        csum_type.stamp(&mut bytes);
        bytes
    }

    #[test]
    fn a_flipped_bit_is_not_taken_for_another_one() {
        for size in [4096, 16384, 65536] {
            let bytes = block(CsumType::Crc32c, size);
            assert_eq!(crc32c_bit(&bytes), None);
            for offset in (0..4).chain((CSUM_SIZE..size).step_by(37)).chain([size - 1]) {
                for bit in 0..8 {
                    let mut flipped = bytes.clone();
                    flipped[offset] ^= 1 << bit;
                    let found = stored_bit(CsumType::Crc32c, &flipped).or_else(|| crc32c_bit(&flipped));
                    assert_eq!(found, Some((offset, bit)));
                }
            }
        }
        for csum_type in [CsumType::Xxhash, CsumType::Sha256, CsumType::Blake2] {
            let bytes = block(csum_type, 512);
            for offset in [0, csum_type.size() - 1, CSUM_SIZE, 77, 511] {
                let mut flipped = bytes.clone();
                flipped[offset] ^= 4;
                let found = stored_bit(csum_type, &flipped).or_else(|| hashed_bit(csum_type, &flipped, 2));
                assert_eq!(found, Some((offset, 2)));
            }
        }
    }

    #[test]
    fn two_flipped_bits_are_not_taken_for_one() {
        let bytes = block(CsumType::Crc32c, 16384);
        for other in (33..16384).step_by(97) {
            let mut flipped = bytes.clone();
            flipped[32] ^= 1;
            flipped[other] ^= 128;
            assert_eq!((stored_bit(CsumType::Crc32c, &flipped), crc32c_bit(&flipped)), (None, None));
        }
    }
}
