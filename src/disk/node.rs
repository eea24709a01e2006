//! Tree blocks: the header, the items of a leaf and the pointers of a node.

use zerocopy::little_endian::{U32, U64};

use super::csum::CSUM_SIZE;
use super::fields::{Bytes, FieldVisitor, Uuid, View, disk_struct};
use super::flags::{self, BACKREF_REV_MASK, BACKREF_REV_SHIFT};
use super::key::DiskKey;

disk_struct! {
    /// The beginning of every tree block.
    Header: 101 {
        csum: [u8; CSUM_SIZE] => Bytes,

        fsid: Uuid,

        /// Its own logical address.
        bytenr: U64,
        /// The backref revision stands in the top byte.
        flags: U64 => WithoutBackrefRev,

        chunk_tree_uuid: Uuid,

        generation: U64,
        owner: U64,

        nritems: U32,
        level: u8,
    }

    /// An item of a leaf: its data stands `offset` bytes past the header.
    Item: 25 {
        key: DiskKey,
        offset: U32,
        size: U32,
    }

    /// A pointer of a node to the block whose first key is `key`.
    KeyPtr: 33 {
        key: DiskKey,
        blockptr: U64,
        generation: U64,
    }
}

struct WithoutBackrefRev;

impl View<U64> for WithoutBackrefRev {
    fn visit<V: FieldVisitor>(&self, name: &'static str, value: &U64, visitor: &mut V) {
        visitor.flags(name, value.get() & !BACKREF_REV_MASK, flags::header::NAMES);
    }
}

pub const HEADER_SIZE: usize = size_of::<Header>();

impl Header {
    /// The flags without the backref revision.
    pub fn flag_bits(&self) -> u64 {
        self.flags.get() & !BACKREF_REV_MASK
    }

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
