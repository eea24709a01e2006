//! Where in a block a bit stands, for a report.

use std::fmt;
use std::mem::offset_of;

use crate::block::{Block, BlockKind};
use crate::disk::Key;
use crate::disk::csum::CSUM_SIZE;
use crate::disk::node::{HEADER_SIZE, Header, Item, KeyPtr};

/// The field that a bit stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Field {
    /// The checksum of the block.
    Csum,
    /// A field of the header.
    Header {
        /// Its name.
        field: &'static str,
    },
    /// Key, offset or size of an item.
    Item {
        /// Slot in the leaf, from 0.
        slot: usize,
        /// Key of the item.
        key: Key,
        /// Name of the field.
        field: &'static str,
    },
    /// The data of an item.
    Data {
        /// Slot in the leaf, from 0.
        slot: usize,
        /// Key of the item.
        key: Key,
        /// Byte in the data, from 0.
        offset: usize,
    },
    /// A pointer of a node.
    Pointer {
        /// Slot in the node, from 0.
        slot: usize,
        /// Key of the pointer.
        key: Key,
        /// Name of the field.
        field: &'static str,
    },
    /// What no item and no pointer takes.
    Unused,
}

const HEADER_FIELDS: &[(usize, &str)] = &[
    (offset_of!(Header, fsid), "fsid"),
    (offset_of!(Header, bytenr), "bytenr"),
    (offset_of!(Header, flags), "flags"),
    (offset_of!(Header, chunk_tree_uuid), "chunk_tree_uuid"),
    (offset_of!(Header, generation), "generation"),
    (offset_of!(Header, owner), "owner"),
    (offset_of!(Header, nritems), "nritems"),
    (offset_of!(Header, level), "level"),
];

// A key is 17 bytes: object id, type and offset.
const ITEM_FIELDS: &[(usize, &str)] = &[
    (0, "objectid"),
    (8, "type"),
    (9, "key offset"),
    (offset_of!(Item, offset), "offset"),
    (offset_of!(Item, size), "size"),
];

const POINTER_FIELDS: &[(usize, &str)] = &[
    (0, "objectid"),
    (8, "type"),
    (9, "key offset"),
    (offset_of!(KeyPtr, blockptr), "blockptr"),
    (offset_of!(KeyPtr, generation), "generation"),
];

fn name(fields: &[(usize, &'static str)], offset: usize) -> &'static str {
    fields.iter().rev().find(|(start, _)| *start <= offset).map_or("", |(_, name)| name)
}

impl Field {
    /// The field at `offset` in a block that is in order.
    pub(super) fn at(block: Block<'_>, offset: usize) -> Self {
        if offset < CSUM_SIZE {
            return Self::Csum;
        }
        let Some(within) = offset.checked_sub(HEADER_SIZE) else {
            return Self::Header { field: name(HEADER_FIELDS, offset) };
        };
        match block.kind() {
            BlockKind::Leaf(leaf) => {
                let slot = within / size_of::<Item>();
                if let Some(item) = leaf.headers().get(slot) {
                    let field = name(ITEM_FIELDS, within % size_of::<Item>());
                    return Self::Item { slot, key: Key::from(&item.key), field };
                }
                let holds = |item: &Item| {
                    let start = item.offset.get() as usize;
                    (start..start.saturating_add(item.size.get() as usize)).contains(&within)
                };
                match leaf.headers().iter().position(holds).and_then(|slot| leaf.item(slot)) {
                    Some(item) => {
                        let (slot, offset) = (item.slot as usize, within - item.offset as usize);
                        Self::Data { slot, key: item.key, offset }
                    }
                    None => Self::Unused,
                }
            }
            BlockKind::Node(node) => {
                let slot = within / size_of::<KeyPtr>();
                node.ptrs().get(slot).map_or(Self::Unused, |ptr| {
                    let field = name(POINTER_FIELDS, within % size_of::<KeyPtr>());
                    Self::Pointer { slot, key: Key::from(&ptr.key), field }
                })
            }
        }
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Field::Csum => f.write_str("the checksum"),
            Field::Header { field } => write!(f, "{field} of the header"),
            Field::Item { slot, key, field } => write!(f, "{field} of item {slot} {key}"),
            Field::Data { slot, key, offset } => write!(f, "byte {offset} of the data of item {slot} {key}"),
            Field::Pointer { slot, key, field } => write!(f, "{field} of pointer {slot} {key}"),
            Field::Unused => f.write_str("unused space"),
        }
    }
}
