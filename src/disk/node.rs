//! Tree blocks: the header, the items of a leaf and the pointers of a node.

use zerocopy::little_endian::{U32, U64};

use super::csum::CSUM_SIZE;
use super::fields::{Bytes, FieldVisitor, Uuid, View, disk_struct};
use super::flags::{self, BACKREF_REV_MASK, BACKREF_REV_SHIFT};
use super::key::DiskKey;

disk_struct! {
    /// The beginning of every tree block.
    Header: 101 {
        /// Checksum of all bytes behind it.
        csum: [u8; CSUM_SIZE] => Bytes,

        /// Uuid of the filesystem: [`super::Superblock::metadata_fsid`].
        fsid: Uuid,

        /// Its own logical address.
        bytenr: U64,
        /// The backref revision stands in the top byte.
        flags: U64 => WithoutBackrefRev,

        /// Uuid of the chunk tree, the same in all blocks.
        chunk_tree_uuid: Uuid,

        /// Generation in which the block was written.
        generation: U64,
        /// Id of the tree that the block was allocated for.
        owner: U64,

        /// Number of items or pointers.
        nritems: U32,
        /// Level in the tree; 0 for a leaf.
        level: u8,
    }

    /// An item of a leaf: its data stands `offset` bytes past the header.
    Item: 25 {
        /// Key of the item.
        key: DiskKey,
        /// First byte of the data, from the end of the header.
        offset: U32,
        /// Bytes of the data.
        size: U32,
    }

    /// A pointer of a node to the block whose first key is `key`.
    KeyPtr: 33 {
        /// First key of the block.
        key: DiskKey,
        /// Logical address of the block.
        blockptr: U64,
        /// Generation of the block.
        generation: U64,
    }
}

struct WithoutBackrefRev;

impl View<U64> for WithoutBackrefRev {
    fn visit<V: FieldVisitor>(&self, name: &'static str, value: &U64, visitor: &mut V) {
        visitor.flags(name, value.get() & !BACKREF_REV_MASK, flags::header::NAMES);
    }
}

/// Bytes of a header.
pub const HEADER_SIZE: usize = size_of::<Header>();

impl Header {
    /// The flags without the backref revision.
    pub fn flag_bits(&self) -> u64 {
        self.flags.get() & !BACKREF_REV_MASK
    }

    /// The backref revision: 1 in all filesystems of today.
    pub fn backref_rev(&self) -> u8 {
        (self.flags.get() >> BACKREF_REV_SHIFT) as u8
    }
}

/// Bytes for items and their data in a leaf.
pub const fn leaf_data_size(nodesize: u32) -> u32 {
    nodesize - HEADER_SIZE as u32
}

/// Pointers that a node can hold.
pub const fn node_ptrs(nodesize: u32) -> u32 {
    leaf_data_size(nodesize) / size_of::<KeyPtr>() as u32
}
