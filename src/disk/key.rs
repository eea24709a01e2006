//! Keys: every item of every tree is found by one.

use std::fmt;

use zerocopy::little_endian::U64;

/// A key as stored. Its bytes do not sort as keys do: convert to [`Key`] to compare.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    zerocopy::FromBytes,
    zerocopy::IntoBytes,
    zerocopy::KnownLayout,
    zerocopy::Immutable,
    zerocopy::Unaligned,
)]
#[repr(C)]
pub struct DiskKey {
    pub objectid: U64,
    pub r#type: u8,
    pub offset: U64,
}

const _: () = assert!(size_of::<DiskKey>() == 17);

impl DiskKey {
    /// The key at the start of `bytes`, and what follows it; nothing if `bytes` is too short.
    pub fn read_prefix(bytes: &[u8]) -> Option<(&Self, &[u8])> {
        zerocopy::FromBytes::ref_from_prefix(bytes).ok()
    }
}

/// A key in host form; the order of the trees is the order of its fields.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    pub objectid: u64,
    pub key_type: KeyType,
    pub offset: u64,
}

impl Key {
    pub const MIN: Key = Key::new(0, KeyType(0), 0);
    pub const MAX: Key = Key::new(u64::MAX, KeyType(u8::MAX), u64::MAX);

    pub const fn new(objectid: u64, key_type: KeyType, offset: u64) -> Self {
        Self { objectid, key_type, offset }
    }

    /// The least key above this one; nothing for [`Key::MAX`].
    pub fn successor(self) -> Option<Key> {
        let Key { objectid, key_type: KeyType(key_type), offset } = self;
        if let Some(offset) = offset.checked_add(1) {
            return Some(Key { offset, ..self });
        }
        match key_type.checked_add(1) {
            Some(key_type) => Some(Key::new(objectid, KeyType(key_type), 0)),
            None => Some(Key::new(objectid.checked_add(1)?, KeyType(0), 0)),
        }
    }

    /// The greatest key below this one; nothing for [`Key::MIN`].
    pub fn predecessor(self) -> Option<Key> {
        let Key { objectid, key_type: KeyType(key_type), offset } = self;
        if let Some(offset) = offset.checked_sub(1) {
            return Some(Key { offset, ..self });
        }
        match key_type.checked_sub(1) {
            Some(key_type) => Some(Key::new(objectid, KeyType(key_type), u64::MAX)),
            None => Some(Key::new(objectid.checked_sub(1)?, KeyType(u8::MAX), u64::MAX)),
        }
    }
}

impl From<&DiskKey> for Key {
    fn from(disk: &DiskKey) -> Self {
        Self::new(disk.objectid.get(), KeyType(disk.r#type), disk.offset.get())
    }
}

impl From<Key> for DiskKey {
    fn from(key: Key) -> Self {
        Self { objectid: key.objectid.into(), r#type: key.key_type.0, offset: key.offset.into() }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "({} {} {})", self.objectid, self.key_type, self.offset)
    }
}

/// `type` is the number, `type_name` its name where it has one.
impl serde::Serialize for Key {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeMap;
        let mut object = serializer.serialize_map(None)?;
        object.serialize_entry("objectid", &self.objectid)?;
        object.serialize_entry("type", &self.key_type.0)?;
        if let Some(name) = self.key_type.name() {
            object.serialize_entry("type_name", name)?;
        }
        object.serialize_entry("offset", &self.offset)?;
        object.end()
    }
}

/// What an item is. Values that are not known are kept as they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyType(pub u8);

macro_rules! key_types {
    ($($name:ident = $value:literal,)*) => {
        impl KeyType {
            $(pub const $name: KeyType = KeyType($value);)*

            /// The kernel's name without prefix and suffix; nothing for a type that is not known.
            pub fn name(self) -> Option<&'static str> {
                Some(match self {
                    $(Self::$name => stringify!($name),)*
                    _ => return None,
                })
            }
        }
    };
}

key_types! {
    INODE_ITEM = 1,
    INODE_REF = 12,
    INODE_EXTREF = 13,
    XATTR_ITEM = 24,
    VERITY_DESC_ITEM = 36,
    VERITY_MERKLE_ITEM = 37,
    ORPHAN_ITEM = 48,
    DIR_LOG_ITEM = 60,
    DIR_LOG_INDEX = 72,
    DIR_ITEM = 84,
    DIR_INDEX = 96,
    EXTENT_DATA = 108,
    CSUM_ITEM = 120,
    EXTENT_CSUM = 128,
    ROOT_ITEM = 132,
    ROOT_BACKREF = 144,
    ROOT_REF = 156,
    EXTENT_ITEM = 168,
    METADATA_ITEM = 169,
    EXTENT_OWNER_REF = 172,
    TREE_BLOCK_REF = 176,
    EXTENT_DATA_REF = 178,
    EXTENT_REF_V0 = 180,
    SHARED_BLOCK_REF = 182,
    SHARED_DATA_REF = 184,
    BLOCK_GROUP_ITEM = 192,
    FREE_SPACE_INFO = 198,
    FREE_SPACE_EXTENT = 199,
    FREE_SPACE_BITMAP = 200,
    DEV_EXTENT = 204,
    DEV_ITEM = 216,
    CHUNK_ITEM = 228,
    RAID_STRIPE = 230,
    IDENTITY_REMAP = 234,
    REMAP = 235,
    REMAP_BACKREF = 236,
    QGROUP_STATUS = 240,
    QGROUP_INFO = 242,
    QGROUP_LIMIT = 244,
    QGROUP_RELATION = 246,
    TEMPORARY_ITEM = 248,
    PERSISTENT_ITEM = 249,
    DEV_REPLACE = 250,
    UUID_KEY_SUBVOL = 251,
    UUID_KEY_RECEIVED_SUBVOL = 252,
    STRING_ITEM = 253,
}

impl KeyType {
    /// The type of the v1 free space cache's headers, which the kernel gives no name; their object id tells them.
    pub const FREE_SPACE_HEADER: KeyType = KeyType(0);
}

impl fmt::Display for KeyType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "UNKNOWN.{}", self.0),
        }
    }
}

/// The id of a quota group: its level in the high 16 bits, a subvolume or a number in the low 48.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QgroupId(pub u64);

impl QgroupId {
    pub fn level(self) -> u64 {
        self.0 >> 48
    }

    pub fn subvolume(self) -> u64 {
        self.0 & ((1 << 48) - 1)
    }
}

impl fmt::Display for QgroupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.level(), self.subvolume())
    }
}

impl serde::Serialize for QgroupId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
