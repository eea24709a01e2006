//! Flags and their names. Bits that are not known are kept, and shown as a number.

/// Bits and their kernel names, in the order in which dumps print them.
pub type FlagNames = &'static [(u64, &'static str)];

/// All bits that have a name.
pub const fn all(names: FlagNames) -> u64 {
    let (mut bits, mut index) = (0, 0);
    while index < names.len() {
        bits |= names[index].0;
        index += 1;
    }
    bits
}

macro_rules! flags {
    ($(#[$doc:meta])* $module:ident($prefix:literal) { $($name:ident = $bit:expr,)* }) => {
        $(#[$doc])*
        pub mod $module {
            $(
                #[doc = concat!("Bit ", stringify!($bit), ": `", $prefix, stringify!($name), "`.")]
                pub const $name: u64 = 1 << $bit;
            )*
            /// All of them and their names, in the order in which dumps print them.
            pub const NAMES: super::FlagNames = &[$(($name, stringify!($name)),)*];
        }
    };
}

flags! {
    /// What a chunk or a block group holds and how it is replicated.
    block_group("BTRFS_BLOCK_GROUP_") {
        DATA = 0, METADATA = 2, SYSTEM = 1,
        RAID0 = 3, RAID1 = 4, DUP = 5, RAID10 = 6, RAID5 = 7, RAID6 = 8, RAID1C3 = 9, RAID1C4 = 10,
        REMAPPED = 11, METADATA_REMAP = 12,
    }
}
flags! {
    /// Flags of an inode item; the upper half is kept out of older kernels' way.
    inode("BTRFS_INODE_") {
        NODATASUM = 0, NODATACOW = 1, READONLY = 2, NOCOMPRESS = 3, PREALLOC = 4, SYNC = 5, IMMUTABLE = 6, APPEND = 7,
        NODUMP = 8, NOATIME = 9, DIRSYNC = 10, COMPRESS = 11, ROOT_ITEM_INIT = 31, RO_VERITY = 32,
    }
}
flags! {
    /// Flags of a root item.
    root("BTRFS_ROOT_SUBVOL_") { RDONLY = 0, DEAD = 48, }
}
flags! {
    /// Flags of an extent item.
    extent("BTRFS_EXTENT_FLAG_") { DATA = 0, TREE_BLOCK = 1, FULL_BACKREF = 8, }
}
flags! {
    /// Flags of a tree block's header; the backref revision is in the top byte.
    header("BTRFS_HEADER_FLAG_") { WRITTEN = 0, RELOC = 1, }
}
flags! {
    /// Flags of a superblock.
    superblock("BTRFS_SUPER_FLAG_") {
        WRITTEN = 0, RELOC = 1, ERROR = 2, SEEDING = 32, METADUMP = 33, METADUMP_V2 = 34, CHANGING_FSID = 35,
        CHANGING_FSID_V2 = 36, CHANGING_BG_TREE = 38, CHANGING_DATA_CSUM = 39, CHANGING_META_CSUM = 40,
    }
}
flags! {
    /// Features which a kernel that does not know them may write anyway.
    compat("BTRFS_FEATURE_COMPAT_") {}
}
flags! {
    /// Features which a kernel that does not know them may only read.
    compat_ro("BTRFS_FEATURE_COMPAT_RO_") { FREE_SPACE_TREE = 0, FREE_SPACE_TREE_VALID = 1, VERITY = 2, BLOCK_GROUP_TREE = 3, }
}
flags! {
    /// Features which a kernel that does not know them must not mount.
    incompat("BTRFS_FEATURE_INCOMPAT_") {
        MIXED_BACKREF = 0, DEFAULT_SUBVOL = 1, MIXED_GROUPS = 2, COMPRESS_LZO = 3, COMPRESS_ZSTD = 4, BIG_METADATA = 5,
        EXTENDED_IREF = 6, RAID56 = 7, SKINNY_METADATA = 8, NO_HOLES = 9, METADATA_UUID = 10, RAID1C34 = 11, ZONED = 12,
        EXTENT_TREE_V2 = 13, RAID_STRIPE_TREE = 14, SIMPLE_QUOTA = 16, REMAP_TREE = 17,
    }
}
flags! {
    /// State of the quota groups.
    qgroup_status("BTRFS_QGROUP_STATUS_FLAG_") { ON = 0, RESCAN = 1, INCONSISTENT = 2, SIMPLE_MODE = 3, }
}
flags! {
    /// Which limits of a quota group are set.
    qgroup_limit("BTRFS_QGROUP_LIMIT_") { MAX_RFER = 0, MAX_EXCL = 1, RSV_RFER = 2, RSV_EXCL = 3, RFER_CMPR = 4, EXCL_CMPR = 5, }
}
flags! {
    /// Form of a block group's free space in the free space tree.
    free_space_info("BTRFS_FREE_SPACE_") { USING_BITMAPS = 0, }
}
flags! {
    /// Which kinds of block groups a balance works on.
    balance("BTRFS_BALANCE_") { DATA = 0, SYSTEM = 1, METADATA = 2, FORCE = 3, RESUME = 4, }
}
flags! {
    /// Which filters of a balance are set.
    balance_args("BTRFS_BALANCE_ARGS_") {
        PROFILES = 0, USAGE = 1, DEVID = 2, DRANGE = 3, VRANGE = 4, LIMIT = 5, LIMIT_RANGE = 6, STRIPES_RANGE = 7,
        CONVERT = 8, SOFT = 9, USAGE_RANGE = 10,
    }
}

/// The backref revision stands in the top byte of a header's flags.
pub const BACKREF_REV_SHIFT: u32 = 56;
/// The bits of the backref revision.
pub const BACKREF_REV_MASK: u64 = 0xff << BACKREF_REV_SHIFT;
/// The revision of all filesystems that Linux 2.6.31 or later made; 0 before.
pub const MIXED_BACKREF_REV: u8 = 1;
