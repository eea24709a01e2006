//! Superblocks: where a filesystem begins.

use zerocopy::IntoBytes;
use zerocopy::little_endian::{U16, U32, U64};

use super::csum::{CSUM_SIZE, CsumType};
use super::fields::{Bytes, Flags, Structures, Text, Uuid, disk_struct, trim_at_nul};
use super::flags;
use super::volume::DevItem;
use super::{Logical, Physical, Transid, flags::incompat, objectid};

/// Bytes of a superblock.
pub const SUPER_INFO_SIZE: usize = 4096;
/// `_BHRfS_M`, little-endian.
pub const MAGIC: u64 = u64::from_le_bytes(*b"_BHRfS_M");
/// Where the superblock and its mirrors stand on each device that reaches so far.
pub const SUPER_OFFSETS: [Physical; 3] = [Physical(64 << 10), Physical(64 << 20), Physical(256 << 30)];
/// Bytes of the `sys_chunk_array`.
pub const SYSTEM_CHUNK_ARRAY_SIZE: usize = 2048;
/// Slots for roots of earlier commits.
pub const NUM_BACKUP_ROOTS: usize = 4;
/// Bytes of a label with its terminator.
pub const LABEL_SIZE: usize = 256;

/// Where superblocks stand on a device of `size` bytes.
pub fn super_offsets(size: u64) -> impl Iterator<Item = Physical> {
    SUPER_OFFSETS.into_iter().filter(move |offset| offset.0 + SUPER_INFO_SIZE as u64 <= size)
}

/// Whether a range of a device reaches into a superblock.
pub fn is_over_superblock(start: Physical, length: u64) -> bool {
    let end = start.0.saturating_add(length);
    SUPER_OFFSETS.into_iter().any(|offset| start.0 < offset.0 + SUPER_INFO_SIZE as u64 && offset.0 < end)
}

disk_struct! {
    /// The superblock, 4 KiB at [`SUPER_OFFSETS`].
    Superblock: 4096 {
        /// Checksum of all bytes behind it.
        csum: [u8; CSUM_SIZE] => Bytes,

        /// Uuid of the filesystem.
        fsid: Uuid,

        /// Its own byte offset on the device.
        bytenr: U64,
        /// State: [`flags::superblock`].
        flags: U64 => Flags(flags::superblock::NAMES),

        /// [`MAGIC`].
        magic: U64,
        /// Generation of the last commit.
        generation: U64,

        /// Logical address of the root tree's root block.
        root: U64,
        /// Logical address of the chunk tree's root block.
        chunk_root: U64,

        /// Logical address of the root of the log trees; 0 if there is no log.
        log_root: U64,
        /// Unused.
        __unused_log_root_transid: U64,

        /// Bytes of all devices.
        total_bytes: U64,
        /// Bytes of all extents.
        bytes_used: U64,

        /// Directory of the root tree: 6.
        root_dir_objectid: U64,
        /// Number of devices.
        num_devices: U64,

        /// Bytes of a block of data.
        sectorsize: U32,
        /// Bytes of a tree block.
        nodesize: U32,
        /// The nodesize.
        __unused_leafsize: U32,
        /// The sectorsize.
        stripesize: U32,

        /// Bytes of the `sys_chunk_array` that are used.
        sys_chunk_array_size: U32,
        /// Generation of the chunk tree's root block.
        chunk_root_generation: U64,
        /// [`flags::compat`].
        compat_flags: U64 => Flags(flags::compat::NAMES),
        /// [`flags::compat_ro`].
        compat_ro_flags: U64 => Flags(flags::compat_ro::NAMES),
        /// [`flags::incompat`].
        incompat_flags: U64 => Flags(flags::incompat::NAMES),
        /// Type of all checksums: [`CsumType`].
        csum_type: U16,
        /// Level of the root tree's root block.
        root_level: u8,
        /// Level of the chunk tree's root block.
        chunk_root_level: u8,
        /// Level of the root block of the log trees.
        log_root_level: u8,
        /// The device that the superblock stands on.
        dev_item: DevItem,

        /// Name of the filesystem, which a zero byte ends.
        label: [u8; LABEL_SIZE] => Text,

        /// Generation of the v1 free space cache; 0 or all ones where there is none.
        cache_generation: U64,
        /// Generation up to which the uuid tree is right.
        uuid_tree_generation: U64,

        /// The fsid in tree blocks where `METADATA_UUID` is set.
        metadata_uuid: Uuid,

        /// Number of extent, checksum and free space trees with extent tree v2.
        nr_global_roots: U64,
        /// Logical address of the remap tree's root block.
        remap_root: U64,

        /// Generation of the remap tree's root block.
        remap_root_generation: U64,
        /// Level of the remap tree's root block.
        remap_root_level: u8,
        /// Zero.
        reserved: [u8; 199] => Bytes,

        /// Key and chunk of every SYSTEM chunk, one after the other, up to `sys_chunk_array_size`.
        sys_chunk_array: [u8; SYSTEM_CHUNK_ARRAY_SIZE] => Bytes,

        /// Roots of earlier commits, in a ring.
        super_roots: [RootBackup; NUM_BACKUP_ROOTS] => Structures,

        /// Zero.
        padding: [u8; 565] => Bytes,
    }

    /// The roots of an earlier commit.
    RootBackup: 168 {
        /// Logical address of the root tree's root block.
        tree_root: U64,
        /// Its generation: that of the commit.
        tree_root_gen: U64,

        /// Logical address of the chunk tree's root block.
        chunk_root: U64,
        /// Its generation.
        chunk_root_gen: U64,

        /// Logical address of the extent tree's root block.
        extent_root: U64,
        /// Its generation.
        extent_root_gen: U64,

        /// Logical address of the top-level subvolume's root block.
        fs_root: U64,
        /// Its generation.
        fs_root_gen: U64,

        /// Logical address of the device tree's root block.
        dev_root: U64,
        /// Its generation.
        dev_root_gen: U64,

        /// Logical address of the checksum tree's root block.
        csum_root: U64,
        /// Its generation.
        csum_root_gen: U64,

        /// Bytes of all devices.
        total_bytes: U64,
        /// Bytes of all extents.
        bytes_used: U64,

        /// Number of devices.
        num_devices: U64,
        /// Zero.
        unused_64: [U64; 4],

        /// Level of the root tree's root block.
        tree_root_level: u8,
        /// Level of the chunk tree's root block.
        chunk_root_level: u8,
        /// Level of the extent tree's root block.
        extent_root_level: u8,
        /// Level of the top-level subvolume's root block.
        fs_root_level: u8,
        /// Level of the device tree's root block.
        dev_root_level: u8,
        /// Level of the checksum tree's root block.
        csum_root_level: u8,
        /// Zero.
        unused_8: [u8; 10],
    }
}

impl RootBackup {
    /// Notes the root of a tree, of those that a backup has room for and that the superblock itself does not name.
    pub fn set_root(&mut self, tree: u64, root: Logical, generation: Transid, level: u8) {
        let (logical, generation) = (root.0.into(), generation.0.into());
        match tree {
            objectid::EXTENT_TREE => {
                (self.extent_root, self.extent_root_gen, self.extent_root_level) = (logical, generation, level);
            }
            objectid::FS_TREE => (self.fs_root, self.fs_root_gen, self.fs_root_level) = (logical, generation, level),
            objectid::DEV_TREE => {
                (self.dev_root, self.dev_root_gen, self.dev_root_level) = (logical, generation, level)
            }
            objectid::CSUM_TREE => {
                (self.csum_root, self.csum_root_gen, self.csum_root_level) = (logical, generation, level);
            }
            _ => {}
        }
    }
}

impl Superblock {
    /// Reads a superblock from its 4096 bytes; nothing of it is verified.
    pub fn from_block(block: &[u8; SUPER_INFO_SIZE]) -> &Self {
        zerocopy::transmute_ref!(block)
    }

    /// The label up to its terminator.
    pub fn label(&self) -> &[u8] {
        trim_at_nul(&self.label)
    }

    /// The type of all checksums; nothing for a number that stands for none.
    pub fn csum_type(&self) -> Option<CsumType> {
        CsumType::from_raw(self.csum_type.get())
    }

    /// Whether the magic is there and the checksum is of a known type and right.
    pub fn is_intact(&self) -> bool {
        self.magic.get() == MAGIC && self.csum_type().is_some_and(|csum_type| csum_type.matches(self.as_bytes()))
    }

    /// Generation of the last commit.
    pub fn generation(&self) -> Transid {
        self.generation.into()
    }

    /// Address of the root tree's root block.
    pub fn root(&self) -> Logical {
        self.root.into()
    }

    /// Address of the chunk tree's root block.
    pub fn chunk_root(&self) -> Logical {
        self.chunk_root.into()
    }

    /// Whether any of these flags of [`flags::superblock`] is set.
    pub fn has_flag(&self, flag: u64) -> bool {
        self.flags.get() & flag != 0
    }

    /// Whether a change of the type of checksums was cut or is under way: data and metadata may have checksums of two types.
    pub fn is_changing_csums(&self) -> bool {
        self.has_flag(flags::superblock::CHANGING_DATA_CSUM | flags::superblock::CHANGING_META_CSUM)
    }

    /// Whether a feature of [`flags::incompat`] is on.
    pub fn has_incompat(&self, flag: u64) -> bool {
        self.incompat_flags.get() & flag != 0
    }

    /// Whether a feature of [`flags::compat_ro`] is on.
    pub fn has_compat_ro(&self, flag: u64) -> bool {
        self.compat_ro_flags.get() & flag != 0
    }

    /// The fsid that the headers of tree blocks and the device items carry.
    pub fn metadata_fsid(&self) -> Uuid {
        if self.has_incompat(incompat::METADATA_UUID) { self.metadata_uuid } else { self.fsid }
    }

    /// The slot of `super_roots` for the next commit: the one after the newest, around the ring.
    pub fn next_backup_slot(&self) -> usize {
        let slots = self.super_roots.iter().enumerate().filter(|(_, backup)| backup.tree_root.get() != 0);
        let newest = slots.max_by_key(|(_, backup)| backup.tree_root_gen.get());
        newest.map_or(0, |(slot, _)| (slot + 1) % NUM_BACKUP_ROOTS)
    }

    /// Fills the next backup slot as the kernel does: with these roots, and what the superblock itself says of the tree
    /// root, the chunk root and the totals.
    pub fn add_backup(&mut self, roots: &RootBackup) {
        self.super_roots[self.next_backup_slot()] = RootBackup {
            tree_root: self.root,
            tree_root_gen: self.generation,
            tree_root_level: self.root_level,
            chunk_root: self.chunk_root,
            chunk_root_gen: self.chunk_root_generation,
            chunk_root_level: self.chunk_root_level,
            total_bytes: self.total_bytes,
            bytes_used: self.bytes_used,
            num_devices: self.num_devices,
            ..*roots
        };
    }

    /// The used part of the system chunk array; an impossible size is cut to what there is.
    pub fn sys_chunk_array(&self) -> &[u8] {
        let size = self.sys_chunk_array_size.get() as usize;
        &self.sys_chunk_array[..size.min(SYSTEM_CHUNK_ARRAY_SIZE)]
    }
}
