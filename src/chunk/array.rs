//! Adding chunks to the system chunk array and removing them (`btrfs_add_system_chunk` and `btrfs_del_sys_chunk` in
//! fs/btrfs/volumes.c).

use zerocopy::IntoBytes;

use crate::disk::volume::{Chunk, Stripe};
use crate::disk::{DiskKey, Key, KeyType, Logical, Superblock, objectid};
use crate::volume::ChunkMapping;
use crate::volume::chunk_items::structs_of;
use crate::volume::sys_chunk_array::{BadEntry, Entries, has_room};

/// Appends a chunk for which there is room; without it nothing is changed and `false` returned. [`has_room`] tells before
/// anything of the chunk is made: one that is not in the array cannot be read when the filesystem is opened.
#[must_use]
pub fn append(superblock: &mut Superblock, logical: Logical, chunk: &Chunk, stripes: &[Stripe]) -> bool {
    if !has_room(superblock, stripes.len()) {
        return false;
    }
    let key = Key::new(objectid::FIRST_CHUNK_TREE, KeyType::CHUNK_ITEM, logical.0);
    let entry = [DiskKey::from(key).as_bytes(), chunk.as_bytes(), stripes.as_bytes()].concat();
    let start = superblock.sys_chunk_array().len();
    superblock.sys_chunk_array[start..start + entry.len()].copy_from_slice(&entry);
    superblock.sys_chunk_array_size = ((start + entry.len()) as u32).into();
    true
}

/// Appends chunks in their order, until one has no room: the number of its stripes is returned then, and nothing of it is appended.
///
/// # Errors
/// The array is full.
pub fn append_all<'c>(
    superblock: &mut Superblock,
    chunks: impl Iterator<Item = &'c ChunkMapping>,
) -> Result<(), usize> {
    for chunk in chunks {
        let (item, stripes) = structs_of(chunk, superblock.sectorsize.get());
        if !append(superblock, chunk.logical, &item, &stripes) {
            return Err(stripes.len());
        }
    }
    Ok(())
}

/// Removes a chunk, however often it stands there, and zeroes what it leaves. An array that makes no sense is left as it
/// is.
///
/// # Errors
/// The first entry that makes no sense.
pub fn remove(superblock: &mut Superblock, logical: Logical) -> Result<(), BadEntry> {
    let mut kept = Vec::new();
    for entry in Entries::new(superblock.sys_chunk_array()) {
        let entry = entry?;
        if entry.key.offset != logical.0 {
            kept.extend_from_slice(DiskKey::from(entry.key).as_bytes());
            kept.extend_from_slice(entry.chunk.as_bytes());
            kept.extend_from_slice(entry.stripes.as_bytes());
        }
    }
    superblock.sys_chunk_array.fill(0);
    superblock.sys_chunk_array[..kept.len()].copy_from_slice(&kept);
    superblock.sys_chunk_array_size = (kept.len() as u32).into();
    Ok(())
}

/// Gives the stripes of a chunk other places, wherever it stands. An array that makes no sense is left as it is.
///
/// # Errors
/// The first entry that makes no sense.
pub fn set_stripes(superblock: &mut Superblock, logical: Logical, stripes: &[Stripe]) -> Result<(), BadEntry> {
    let mut bytes = Vec::new();
    for entry in Entries::new(superblock.sys_chunk_array()) {
        let entry = entry?;
        let is_own = entry.key.offset == logical.0 && entry.stripes.len() == stripes.len();
        bytes.extend_from_slice(DiskKey::from(entry.key).as_bytes());
        bytes.extend_from_slice(entry.chunk.as_bytes());
        bytes.extend_from_slice(if is_own { stripes.as_bytes() } else { entry.stripes.as_bytes() });
    }
    superblock.sys_chunk_array[..bytes.len()].copy_from_slice(&bytes);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::volume::sys_chunk_array::entry_size;

    fn chunk(num_stripes: usize) -> (Chunk, Vec<Stripe>) {
        let mut chunk = Chunk::zeroed();
        chunk.num_stripes = (num_stripes as u16).into();
        (chunk, vec![Stripe::zeroed(); num_stripes])
    }

    fn addresses(superblock: &Superblock) -> Vec<u64> {
        Entries::new(superblock.sys_chunk_array()).map(|entry| entry.unwrap().key.offset).collect()
    }

    #[test]
    fn the_array_takes_as_many_chunks_as_fit_and_not_a_byte_more() {
        let fits =
            [(1, 21), (2, 15), (3, 12), (4, 10), (6, 7), (8, 6), (12, 4), (18, 3), (20, 2), (29, 2), (30, 1), (58, 1)];
        for (num_stripes, fit) in fits {
            let mut superblock = Superblock::zeroed();
            let (chunk, stripes) = chunk(num_stripes);
            let mut expected = Vec::new();
            while append(&mut superblock, Logical(expected.len() as u64 * 4096), &chunk, &stripes) {
                expected.push(expected.len() as u64 * 4096);
            }
            assert_eq!((expected.len(), entry_size(num_stripes)), (fit, 65 + 32 * num_stripes));
            assert_eq!(addresses(&superblock), expected);
            assert!(!has_room(&superblock, num_stripes));
        }
    }

    #[test]
    fn removal_takes_nothing_else_and_leaves_nothing_behind() {
        let mut superblock = Superblock::zeroed();
        for logical in 1..=4_u64 {
            let (chunk, stripes) = chunk(logical as usize);
            assert!(append(&mut superblock, Logical(logical), &chunk, &stripes));
        }
        remove(&mut superblock, Logical(2)).unwrap();
        remove(&mut superblock, Logical(9)).unwrap();
        assert_eq!(addresses(&superblock), [1, 3, 4]);
        let used = superblock.sys_chunk_array().len();
        assert!(superblock.sys_chunk_array[used..].iter().all(|byte| *byte == 0));
        superblock.sys_chunk_array[8] = 1;
        let before = superblock.sys_chunk_array;
        assert!(remove(&mut superblock, Logical(3)).is_err());
        assert_eq!(superblock.sys_chunk_array, before);
    }
}
