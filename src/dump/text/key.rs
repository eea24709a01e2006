//! Keys, whose numbers mean different things under different types.

use crate::disk::key::QgroupId;
use crate::disk::{Key, KeyType, objectid};

use super::super::put::{HexNumber, Put, put};

/// The key as `key (OBJECTID TYPE OFFSET)`.
pub struct DumpKey(pub Key);

/// An object id as it is called under a key type; under type 0 as an id of a tree.
pub struct ObjectId(pub u64, pub KeyType);

impl Put for ObjectId {
    fn put(&self, out: &mut Vec<u8>) {
        let Self(id, key_type) = *self;
        match key_type {
            KeyType::PERSISTENT_ITEM if id == objectid::DEV_STATS => put!(out, "DEV_STATS"),
            KeyType::PERSISTENT_ITEM | KeyType::DEV_EXTENT => put!(out, id),
            KeyType::QGROUP_RELATION => put!(out, QgroupId(id)),
            KeyType::UUID_KEY_SUBVOL | KeyType::UUID_KEY_RECEIVED_SUBVOL => put!(out, UuidHalf(id)),
            KeyType::DEV_ITEM if id == objectid::DEV_ITEMS => put!(out, "DEV_ITEMS"),
            KeyType::CHUNK_ITEM if id == objectid::FIRST_CHUNK_TREE => put!(out, "FIRST_CHUNK_TREE"),
            _ => match objectid::name(id) {
                Some(name) => put!(out, name),
                None if id == u64::MAX => put!(out, "-1"),
                None => put!(out, id),
            },
        }
    }
}

impl Put for QgroupId {
    fn put(&self, out: &mut Vec<u8>) {
        put!(out, self.level(), "/", self.subvolume());
    }
}

/// Half of a uuid that stands in a key.
struct UuidHalf(u64);

impl Put for UuidHalf {
    fn put(&self, out: &mut Vec<u8>) {
        let digits = 64_u32.saturating_sub(self.0.leading_zeros()).div_ceil(4).max(1) as usize;
        put!(out, "0x", &"0000000000000000"[digits..], HexNumber(self.0));
    }
}

impl Put for DumpKey {
    fn put(&self, out: &mut Vec<u8>) {
        let Key { objectid: id, key_type, offset } = self.0;
        put!(out, "key (", ObjectId(id, key_type), " ");
        match key_type.name() {
            Some(name) => put!(out, name),
            None if key_type == KeyType(0) && id == objectid::FREE_SPACE => put!(out, "UNTYPED"),
            None => put!(out, "UNKNOWN.", key_type.0),
        }
        out.push(b' ');
        match key_type {
            KeyType::QGROUP_RELATION | KeyType::QGROUP_INFO | KeyType::QGROUP_LIMIT => put!(out, QgroupId(offset)),
            KeyType::UUID_KEY_SUBVOL | KeyType::UUID_KEY_RECEIVED_SUBVOL => put!(out, UuidHalf(offset)),
            KeyType::ROOT_ITEM if id == objectid::TREE_RELOC => put!(out, ObjectId(offset, key_type)),
            KeyType::ROOT_ITEM => put!(out, offset),
            _ if offset == u64::MAX => put!(out, "-1"),
            _ => put!(out, offset),
        }
        out.push(b')');
    }
}
