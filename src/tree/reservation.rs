//! How much space a change of a tree may need.
//!
//! A change may copy each block on a path, and an insertion may split each of them too (`btrfs_calc_insert_metadata_size`
//! and `btrfs_calc_metadata_size` in fs/btrfs/delalloc-space.c and block-rsv.c of the kernel).

use crate::disk::{MAX_LEVEL, Profile};

/// Bytes for changing or deleting one item.
pub fn to_change_item(nodesize: u32) -> u64 {
    u64::from(nodesize) * MAX_LEVEL as u64
}

/// Bytes for inserting one item.
pub fn to_insert_item(nodesize: u32) -> u64 {
    2 * to_change_item(nodesize)
}

/// Bytes for inserting so many items.
pub fn to_insert_items(nodesize: u32, items: u64) -> u64 {
    to_insert_item(nodesize).saturating_mul(items)
}

/// Bytes for deleting so many items of trees whose roots stand no higher than `level`: each deletion may copy a path and, at
/// each level of it, both neighbours that blocks are merged with. One level more leaves room for a tree that grows meanwhile.
pub fn to_delete_items(nodesize: u32, items: u64, level: u8) -> u64 {
    let levels = (u64::from(level) + 2).min(MAX_LEVEL as u64);
    u64::from(nodesize).saturating_mul(3 * levels).saturating_mul(items).min(to_insert_items(nodesize, items))
}

/// Bytes of system space for adding or removing a chunk of this profile: its item, and the items of its devices.
pub fn to_change_chunk(nodesize: u32, profile: Profile, rw_devices: u64) -> u64 {
    let devices = match profile.geometry().devs_max {
        0 => rw_devices,
        most => most.into(),
    };
    to_change_item(nodesize).saturating_mul(devices).saturating_add(to_insert_item(nodesize))
}

/// Blocks that the kernel keeps for itself at the least (its global reserve), and those that it wants to have beside them
/// before it lets files be written.
const GLOBAL_NODES: u64 = 352;
const WRITE_NODES: u64 = 288;
/// The global reserve is as large as the trees that describe space, up to this.
const MAX_GLOBAL: u64 = 512 << 20;

/// Bytes of metadata that must be free for the kernel to write, where the trees that describe space have so many.
pub fn to_write_files(nodesize: u32, global: u64) -> u64 {
    let nodes = |count: u64| count * u64::from(nodesize);
    let least = nodes(GLOBAL_NODES);
    global.clamp(least, MAX_GLOBAL.max(least)) + nodes(WRITE_NODES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deletions_are_promised_what_trees_of_their_height_need_and_no_more_than_insertions() {
        assert_eq!([0, 1, 2, 3, 7].map(|level| to_delete_items(1, 5, level)), [30, 45, 60, 75, 80]);
        assert_eq!(to_delete_items(65536, u64::MAX, 7), u64::MAX);
    }

    #[test]
    fn reservations_are_those_of_the_kernel() {
        // KiB by nodesize and number of devices.
        let expected = [
            (4, [96, 128, 160, 192, 320, 640]),
            (16, [384, 512, 640, 768, 1280, 2560]),
            (32, [768, 1024, 1280, 1536, 2560, 5120]),
            (64, [1536, 2048, 2560, 3072, 5120, 10240]),
        ];
        for (nodesize, kib) in expected {
            for (devices, kib) in [1, 2, 3, 4, 8, 18].into_iter().zip(kib) {
                assert_eq!(to_change_chunk(nodesize << 10, Profile::Raid0, devices), kib << 10);
            }
        }
        assert_eq!(to_change_chunk(16384, Profile::Dup, 18), 384 << 10);
        assert_eq!(to_change_chunk(16384, Profile::Raid1c4, 18), 768 << 10);
    }
}
