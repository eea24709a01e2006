//! What of a chunk is never given out (`exclude_super_stripes` in fs/btrfs/block-group.c): the one statement for the
//! allocator, for mkfs, and for what the check expects of extents and of free space.

use crate::disk::superblock::{SUPER_INFO_SIZE, SUPER_OFFSETS};
use crate::disk::{Logical, Profile, STRIPE_LEN};

use super::chunk_map::ChunkMapping;

/// The logical addresses of a chunk below that of the primary superblock. The kernel gives none of them out, wherever they
/// lie on a device, and btrfs-progs opens no filesystem with its chunk root at 0.
pub fn low_range(chunk: &ChunkMapping) -> Option<(Logical, Logical)> {
    let end = chunk.end().min(Logical(SUPER_OFFSETS[0].0));
    (chunk.logical < end).then_some((chunk.logical, end))
}

/// The logical ranges of a chunk that are never given out, some of which may overlap. They count as free: the free space
/// tree lists them.
pub fn excluded_ranges(chunk: &ChunkMapping) -> Vec<(Logical, Logical)> {
    low_range(chunk).into_iter().chain(superblock_ranges(chunk)).collect()
}

/// The logical ranges whose copies would lie over a superblock of a device. Of chunks with parity these are whole rows.
pub fn superblock_ranges(chunk: &ChunkMapping) -> Vec<(Logical, Logical)> {
    let mut ranges = Vec::new();
    let columns = chunk.data_stripes();
    let row = match chunk.profile {
        Profile::Raid5 | Profile::Raid6 => columns.saturating_mul(STRIPE_LEN),
        _ => STRIPE_LEN,
    };
    for (index, stripe) in chunk.stripes.iter().enumerate() {
        for superblock in SUPER_OFFSETS {
            // Where the stripe is not aligned the superblock may lie in two elements.
            let Some(last) = superblock.0.saturating_add(SUPER_INFO_SIZE as u64 - 1).checked_sub(stripe.physical.0)
            else {
                continue;
            };
            let first = superblock.0.saturating_sub(stripe.physical.0);
            for element in [first / STRIPE_LEN, last / STRIPE_LEN] {
                if element.saturating_mul(STRIPE_LEN) >= chunk.stripe_size() {
                    continue;
                }
                let number = match chunk.profile {
                    Profile::Raid0 => element.saturating_mul(columns).saturating_add(index as u64),
                    Profile::Raid10 => {
                        let column = index as u64 / u64::from(chunk.sub_stripes());
                        element.saturating_mul(columns).saturating_add(column)
                    }
                    _ => element,
                };
                let start = chunk.logical.0.saturating_add(number.saturating_mul(row)).min(chunk.end().0);
                let end = start.saturating_add(row).min(chunk.end().0);
                ranges.push((Logical(start), Logical(end)));
            }
        }
    }
    ranges.sort();
    ranges.dedup();
    ranges
}
