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
    /// What the item is about: an inode, a tree, an address.
    pub objectid: U64,
    /// Type of the item: [`KeyType`].
    pub r#type: u8,
    /// What it is depends on the type.
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
    /// What the item is about: an inode, a tree, an address.
    pub objectid: u64,
    /// Type of the item.
    pub key_type: KeyType,
    /// What it is depends on the type.
    pub offset: u64,
}

impl Key {
    /// The least key.
    pub const MIN: Key = Key::new(0, KeyType(0), 0);
    /// The greatest key.
    pub const MAX: Key = Key::new(u64::MAX, KeyType(u8::MAX), u64::MAX);

    /// A key from its parts.
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
    ($($(#[$doc:meta])* $name:ident = $value:literal,)*) => {
        impl KeyType {
            $(
                $(#[$doc])*
                pub const $name: KeyType = KeyType($value);
            )*

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
    /// What stat(2) tells of an inode.
    INODE_ITEM = 1,
    /// A name of an inode; the offset is the directory.
    INODE_REF = 12,
    /// Names of an inode that do not fit its `INODE_REF`; the offset is a hash of directory and name.
    INODE_EXTREF = 13,
    /// An extended attribute; the offset is the hash of its name.
    XATTR_ITEM = 24,
    /// The descriptor of fs-verity, in pieces.
    VERITY_DESC_ITEM = 36,
    /// The Merkle tree of fs-verity, in pieces.
    VERITY_MERKLE_ITEM = 37,
    /// An inode or a subvolume that is deleted and not dropped yet; the offset is its id.
    ORPHAN_ITEM = 48,
    /// A range of `DIR_ITEM` offsets that a log tree knows; kernels no longer write it.
    DIR_LOG_ITEM = 60,
    /// A range of directory indexes that a log tree knows.
    DIR_LOG_INDEX = 72,
    /// A directory entry; the offset is the hash of its name.
    DIR_ITEM = 84,
    /// The same entry; the offset is its index in the directory.
    DIR_INDEX = 96,
    /// A file extent; the offset is where in the file it begins.
    EXTENT_DATA = 108,
    /// Checksums in a form that kernels no longer use.
    CSUM_ITEM = 120,
    /// Checksums of the sectors from the offset on.
    EXTENT_CSUM = 128,
    /// The root of a tree; the offset is the generation of a snapshot, or 0.
    ROOT_ITEM = 132,
    /// The parent of a subvolume, which the offset names, and its name there.
    ROOT_BACKREF = 144,
    /// A subvolume in a subvolume, which the offset names, and its name.
    ROOT_REF = 156,
    /// An extent; the offset is its length in bytes.
    EXTENT_ITEM = 168,
    /// A tree block with skinny metadata; the offset is its level.
    METADATA_ITEM = 169,
    /// The subvolume that simple quotas account an extent to; inline only.
    EXTENT_OWNER_REF = 172,
    /// A reference of a tree, which the offset names, to a tree block.
    TREE_BLOCK_REF = 176,
    /// A reference of a file to data; the offset is a hash of tree, inode and file offset.
    EXTENT_DATA_REF = 178,
    /// A reference in a form of before Linux 2.6.31.
    EXTENT_REF_V0 = 180,
    /// A reference of the node at the offset to a tree block.
    SHARED_BLOCK_REF = 182,
    /// A reference of the leaf at the offset to data.
    SHARED_DATA_REF = 184,
    /// A block group; the offset is its length in bytes.
    BLOCK_GROUP_ITEM = 192,
    /// Form and count of a block group's free space items; the offset is its length.
    FREE_SPACE_INFO = 198,
    /// A free extent; the offset is its length in bytes.
    FREE_SPACE_EXTENT = 199,
    /// A bitmap of free sectors; the offset is the length in bytes that it covers.
    FREE_SPACE_BITMAP = 200,
    /// A range of the device that the object id names; the offset is where it begins.
    DEV_EXTENT = 204,
    /// A device; the offset is its number.
    DEV_ITEM = 216,
    /// A chunk; the offset is its logical address.
    CHUNK_ITEM = 228,
    /// Where data lies on the devices of its chunk; the offset is its length in bytes.
    RAID_STRIPE = 230,
    /// A range of a remapped block group that is still in place; the offset is its length.
    IDENTITY_REMAP = 234,
    /// A range that was relocated; the offset is its length.
    REMAP = 235,
    /// The range that a relocated one came from; the offset is its length.
    REMAP_BACKREF = 236,
    /// State of quota accounting.
    QGROUP_STATUS = 240,
    /// What the quota group in the offset uses.
    QGROUP_INFO = 242,
    /// Limits of the quota group in the offset.
    QGROUP_LIMIT = 244,
    /// A quota group, the object id, and a member or parent of it, the offset.
    QGROUP_RELATION = 246,
    /// State of something under way; the object id tells what, such as a balance.
    TEMPORARY_ITEM = 248,
    /// State that stays; the object id tells what, such as device errors.
    PERSISTENT_ITEM = 249,
    /// A device replacement.
    DEV_REPLACE = 250,
    /// Subvolumes with the uuid that object id and offset are.
    UUID_KEY_SUBVOL = 251,
    /// Subvolumes that were received from the uuid that object id and offset are.
    UUID_KEY_RECEIVED_SUBVOL = 252,
    /// Text, which btrfs-progs wrote for tests.
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
    /// 0 for the group of a subvolume.
    pub fn level(self) -> u64 {
        self.0 >> 48
    }

    /// Id of the subvolume, or the number that a group of a higher level was given.
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
