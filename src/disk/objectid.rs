//! Reserved object ids: the ids of trees, and of what is not an inode.

use std::fmt;

/// In the device tree, the object id of the errors that are counted.
pub const DEV_STATS: u64 = 0;
/// The tree of the roots of all trees but the chunk tree, the log trees and itself.
pub const ROOT_TREE: u64 = 1;
/// In the chunk tree, the object id of device items.
pub const DEV_ITEMS: u64 = 1;
/// The tree of extents and their back references.
pub const EXTENT_TREE: u64 = 2;
/// The tree of chunks and devices.
pub const CHUNK_TREE: u64 = 3;
/// The tree of device extents.
pub const DEV_TREE: u64 = 4;
/// The top-level subvolume.
pub const FS_TREE: u64 = 5;
/// In the root tree, the directory whose entry `default` names the default subvolume.
pub const ROOT_TREE_DIR: u64 = 6;
/// The tree of the checksums of data.
pub const CSUM_TREE: u64 = 7;
/// The tree of quota groups.
pub const QUOTA_TREE: u64 = 8;
/// The tree that leads from uuids to subvolumes.
pub const UUID_TREE: u64 = 9;
/// The tree of free space.
pub const FREE_SPACE_TREE: u64 = 10;
/// The tree of block groups, where they do not stand in the extent tree.
pub const BLOCK_GROUP_TREE: u64 = 11;
/// The tree that tells where data lies on the devices of a chunk.
pub const RAID_STRIPE_TREE: u64 = 12;
/// The tree of ranges that were relocated by remapping.
pub const REMAP_TREE: u64 = 13;
/// Object id of the balance that is under way.
pub const BALANCE: u64 = -4_i64 as u64;
/// Object id of the items that tell of deleted inodes and subvolumes.
pub const ORPHAN: u64 = -5_i64 as u64;
/// Id of log trees.
pub const TREE_LOG: u64 = -6_i64 as u64;
/// Object id of link counts to mend while a log is replayed.
pub const TREE_LOG_FIXUP: u64 = -7_i64 as u64;
/// Id of the trees of a relocation of metadata.
pub const TREE_RELOC: u64 = -8_i64 as u64;
/// The tree of the inodes by which data is relocated.
pub const DATA_RELOC_TREE: u64 = -9_i64 as u64;
/// Object id of the checksums of data.
pub const EXTENT_CSUM: u64 = -10_i64 as u64;
/// Object id of the headers of the v1 free space cache.
pub const FREE_SPACE: u64 = -11_i64 as u64;
/// Object id of the cache of free inode numbers, which kernels no longer keep.
pub const FREE_INO: u64 = -12_i64 as u64;
/// A conversion of the checksum type that is under way (btrfs-progs only).
pub const CSUM_CHANGE: u64 = -13_i64 as u64;
/// Stands for several object ids in messages; no item has it.
pub const MULTIPLE: u64 = -255_i64 as u64;

/// The first id of subvolumes and of inodes in them.
pub const FIRST_FREE: u64 = 256;
/// The last id of subvolumes and of inodes in them.
pub const LAST_FREE: u64 = -256_i64 as u64;
/// The object id of every chunk item.
pub const FIRST_CHUNK_TREE: u64 = 256;
/// The inode number of a subvolume's root directory.
pub const ROOT_DIR: u64 = FIRST_FREE;

/// Whether the tree with this id holds files: the top-level tree, subvolumes and snapshots.
pub fn is_fs_tree(tree: u64) -> bool {
    tree == FS_TREE || is_subvolume(tree)
}

/// Whether the tree with this id is a subvolume or a snapshot other than the top-level tree.
pub fn is_subvolume(tree: u64) -> bool {
    (FIRST_FREE..=LAST_FREE).contains(&tree)
}

/// Whether blocks of the tree with this id may be shared with others, by snapshots or while they are relocated.
pub fn may_share_blocks(tree: u64) -> bool {
    is_fs_tree(tree) || matches!(tree, TREE_RELOC | DATA_RELOC_TREE)
}

/// The name that dumps print for a reserved id where no key type gives it another meaning.
pub fn name(objectid: u64) -> Option<&'static str> {
    Some(match objectid {
        ROOT_TREE => "ROOT_TREE",
        EXTENT_TREE => "EXTENT_TREE",
        CHUNK_TREE => "CHUNK_TREE",
        DEV_TREE => "DEV_TREE",
        FS_TREE => "FS_TREE",
        ROOT_TREE_DIR => "ROOT_TREE_DIR",
        CSUM_TREE => "CSUM_TREE",
        QUOTA_TREE => "QUOTA_TREE",
        UUID_TREE => "UUID_TREE",
        FREE_SPACE_TREE => "FREE_SPACE_TREE",
        BLOCK_GROUP_TREE => "BLOCK_GROUP_TREE",
        RAID_STRIPE_TREE => "RAID_STRIPE_TREE",
        REMAP_TREE => "REMAP_TREE",
        BALANCE => "BALANCE",
        ORPHAN => "ORPHAN",
        TREE_LOG => "TREE_LOG",
        TREE_LOG_FIXUP => "LOG_FIXUP",
        TREE_RELOC => "TREE_RELOC",
        DATA_RELOC_TREE => "DATA_RELOC_TREE",
        EXTENT_CSUM => "EXTENT_CSUM",
        FREE_SPACE => "FREE_SPACE",
        FREE_INO => "FREE_INO",
        CSUM_CHANGE => "CSUM_CHANGE",
        MULTIPLE => "MULTIPLE",
        _ => return None,
    })
}

/// The id of a tree as messages have it: its name, or its number where it has none. Reserved ids that are not known are the
/// negative numbers that the format documents have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TreeName(pub u64);

impl fmt::Display for TreeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match name(self.0) {
            Some(name) => f.write_str(name),
            None if self.0 > LAST_FREE => self.0.cast_signed().fmt(f),
            None => self.0.fmt(f),
        }
    }
}

/// What messages have of the id of a tree.
pub fn tree_name(tree: &u64) -> TreeName {
    TreeName(*tree)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_tree_goes_by_a_number_that_only_computers_read() {
        let names = [FS_TREE, 256, DATA_RELOC_TREE, LAST_FREE + 9].map(|tree| TreeName(tree).to_string());
        assert_eq!(names, ["FS_TREE", "256", "DATA_RELOC_TREE", "-247"]);
    }
}
