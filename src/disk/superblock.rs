//! Superblocks: where a filesystem begins.

use zerocopy::IntoBytes;
use zerocopy::little_endian::{U16, U32, U64};

use super::csum::{CSUM_SIZE, CsumType};
use super::fields::{Bytes, Flags, Structures, Text, Uuid, disk_struct, trim_at_nul};
use super::flags;
use super::volume::DevItem;
use super::{Logical, Physical, Transid, flags::incompat};

pub const SUPER_INFO_SIZE: usize = 4096;
pub const MAGIC: u64 = u64::from_le_bytes(*b"_BHRfS_M");
/// Where the superblock and its mirrors stand on each device that reaches so far.
pub const SUPER_OFFSETS: [Physical; 3] = [Physical(64 << 10), Physical(64 << 20), Physical(256 << 30)];
pub const SYSTEM_CHUNK_ARRAY_SIZE: usize = 2048;
pub const NUM_BACKUP_ROOTS: usize = 4;
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
        csum: [u8; CSUM_SIZE] => Bytes,

        fsid: Uuid,

        /// Its own byte offset on the device.
        bytenr: U64,
        flags: U64 => Flags(flags::superblock::NAMES),

        magic: U64,
        generation: U64,

        root: U64,
        chunk_root: U64,

        log_root: U64,
        __unused_log_root_transid: U64,

        total_bytes: U64,
        bytes_used: U64,

        root_dir_objectid: U64,
        num_devices: U64,

        sectorsize: U32,
        nodesize: U32,
        __unused_leafsize: U32,
        stripesize: U32,

        sys_chunk_array_size: U32,
        chunk_root_generation: U64,
        compat_flags: U64 => Flags(flags::compat::NAMES),
        compat_ro_flags: U64 => Flags(flags::compat_ro::NAMES),
        incompat_flags: U64 => Flags(flags::incompat::NAMES),
        csum_type: U16,
        root_level: u8,
        chunk_root_level: u8,
        log_root_level: u8,
        dev_item: DevItem,

        label: [u8; LABEL_SIZE] => Text,

        cache_generation: U64,
        uuid_tree_generation: U64,

        /// The fsid in tree blocks where `METADATA_UUID` is set.
        metadata_uuid: Uuid,

        nr_global_roots: U64,
        remap_root: U64,

        remap_root_generation: U64,
        remap_root_level: u8,
        reserved: [u8; 199] => Bytes,

        /// Key and chunk of every SYSTEM chunk, one after the other, up to `sys_chunk_array_size`.
        sys_chunk_array: [u8; SYSTEM_CHUNK_ARRAY_SIZE] => Bytes,

        super_roots: [RootBackup; NUM_BACKUP_ROOTS] => Structures,

        padding: [u8; 565] => Bytes,
    }

    /// The roots of an earlier commit.
    RootBackup: 168 {
        tree_root: U64,
        tree_root_gen: U64,

        chunk_root: U64,
        chunk_root_gen: U64,

        extent_root: U64,
        extent_root_gen: U64,

        fs_root: U64,
        fs_root_gen: U64,

        dev_root: U64,
        dev_root_gen: U64,

        csum_root: U64,
        csum_root_gen: U64,

        total_bytes: U64,
        bytes_used: U64,

        num_devices: U64,
        unused_64: [U64; 4],

        tree_root_level: u8,
        chunk_root_level: u8,
        extent_root_level: u8,
        fs_root_level: u8,
        dev_root_level: u8,
        csum_root_level: u8,
        unused_8: [u8; 10],
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

    pub fn csum_type(&self) -> Option<CsumType> {
        CsumType::from_raw(self.csum_type.get())
    }

    /// Whether the magic is there and the checksum is of a known type and right.
    pub fn is_intact(&self) -> bool {
        self.magic.get() == MAGIC && self.csum_type().is_some_and(|csum_type| csum_type.matches(self.as_bytes()))
    }

    pub fn generation(&self) -> Transid {
        self.generation.into()
    }

    pub fn root(&self) -> Logical {
        self.root.into()
    }

    pub fn chunk_root(&self) -> Logical {
        self.chunk_root.into()
    }

    pub fn has_incompat(&self, flag: u64) -> bool {
        self.incompat_flags.get() & flag != 0
    }

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
