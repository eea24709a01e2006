//! Hashes that stand in the offsets of keys and in the order of references.

/// CRC-32C without the usual inversions, started from `seed`.
fn raw_crc32c(seed: u32, data: &[u8]) -> u32 {
    !crc32c::crc32c_append(!seed, data)
}

/// The offset of a directory item's or extended attribute's key (`btrfs_name_hash`).
pub fn dir_item(name: &[u8]) -> u64 {
    raw_crc32c(!1, name).into()
}

/// The offset of an extended inode reference's key (`btrfs_extref_hash`).
pub fn inode_extref(parent: u64, name: &[u8]) -> u64 {
    raw_crc32c(parent as u32, name).into()
}

/// The offset of a keyed data reference's key, and the order of inline ones (`hash_extent_data_ref`).
pub fn extent_data_ref(root: u64, objectid: u64, offset: u64) -> u64 {
    let high = raw_crc32c(!0, &root.to_le_bytes());
    let low = raw_crc32c(raw_crc32c(!0, &objectid.to_le_bytes()), &offset.to_le_bytes());
    (u64::from(high) << 31) ^ u64::from(low)
}

/// So many data references to an extent may have the same hash: their keys follow each other (`insert_extent_data_ref`).
pub const MAX_COLLISIONS: u64 = 16;

#[cfg(test)]
mod tests {
    #[test]
    fn hashes_are_those_that_the_kernel_stores() {
        assert_eq!(super::dir_item(b"default"), 2378154706);
        assert_eq!(super::extent_data_ref(258, 307, 0), 0x44d6_4df9_7393_8126);
    }
}
