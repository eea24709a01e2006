//! Is everything in a block what its type says it is?
//!
//! The rules are those of fs/btrfs/tree-checker.c, and stricter ones where no ordinary filesystem breaks them. Each noun
//! declares its kinds of damage beside the code that finds them. Only the block itself is looked at: what needs a second
//! block is left to others.

mod chunk;
mod context;
mod csum;
mod device;
mod extent;
mod file_extent;
mod inode;
mod layout;
mod map;
mod name;
mod quota;
mod root;
mod space;

use std::fmt;

use serde::Serialize;

use crate::disk::csum::CsumType;
use crate::disk::flags::incompat;
use crate::disk::objectid::TreeName;
use crate::disk::superblock::Superblock;
use crate::disk::{Key, KeyType, Logical, flags, objectid};
use crate::finding::{Finding, ProblemKind, Severity};

use super::verify::Format;
use super::{Block, ItemRef};
use context::Context;

pub use chunk::{ChunkDamage, check_chunk};
pub use csum::CsumDamage;
pub use device::DeviceDamage;
pub use extent::ExtentDamage;
pub use file_extent::FileExtentDamage;
pub use inode::InodeDamage;
pub use layout::LayoutDamage;
pub use map::MapDamage;
pub use name::NameDamage;
pub use quota::QuotaDamage;
pub use root::RootDamage;
pub use space::SpaceDamage;

/// What a superblock says of all blocks of its filesystem.
#[derive(Clone, Debug)]
pub struct Rules {
    sectorsize: u32,
    nodesize: u32,
    csum_type: CsumType,
    incompat_flags: u64,
    generation: u64,
    nr_global_roots: u64,
    /// Whether a feature is on that is not known: it may come with items of its own.
    has_unknown_features: bool,
    /// Whether a change of the checksum type was cut: items of checksums are of two types then.
    changes_csums: bool,
}

impl Rules {
    /// The rules of the filesystem with this superblock.
    pub fn new(format: &Format, superblock: &Superblock) -> Self {
        Self {
            sectorsize: format.sectorsize,
            nodesize: format.nodesize,
            csum_type: format.csum_type,
            incompat_flags: superblock.incompat_flags.get(),
            generation: superblock.generation.get(),
            nr_global_roots: superblock.nr_global_roots.get(),
            changes_csums: superblock.is_changing_csums(),
            has_unknown_features: superblock.compat_flags.get() & !flags::all(flags::compat::NAMES) != 0
                || superblock.compat_ro_flags.get() & !flags::all(flags::compat_ro::NAMES) != 0
                || superblock.incompat_flags.get() & !flags::all(flags::incompat::NAMES) != 0,
        }
    }

    fn has(&self, feature: u64) -> bool {
        self.incompat_flags & feature != 0
    }

    /// The highest generation that an item may carry: log trees are written for the commit after the superblock's.
    fn newest(&self) -> u64 {
        self.generation.saturating_add(1)
    }

    fn is_sector_aligned(&self, value: u64) -> bool {
        value.is_multiple_of(u64::from(self.sectorsize))
    }
}

/// Where in a filesystem something is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct ItemPlace {
    /// Id of the tree.
    pub tree: u64,
    /// Logical address of the block.
    pub block: Logical,
    /// Its level; 0 for a leaf.
    pub level: u8,
    /// Nothing for what concerns the whole block.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slot: Option<u32>,
    /// Key of the item; nothing for what concerns the whole block.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<Key>,
}

impl fmt::Display for ItemPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let form = if self.level == 0 { "leaf" } else { "node" };
        write!(f, "{form}: root={} block={}", TreeName(self.tree), self.block)?;
        if let Some(slot) = self.slot {
            write!(f, " slot={slot}")?;
        }
        match self.key {
            Some(key) => write!(f, " key={key}"),
            None => Ok(()),
        }
    }
}

/// Damage and its place.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct ItemProblem {
    /// Where it was found.
    #[serde(flatten)]
    pub place: ItemPlace,
    /// What was found.
    #[serde(flatten)]
    pub damage: Damage,
}

impl ItemProblem {
    /// All kinds, in the order of their declaration.
    pub fn kinds() -> impl Iterator<Item = &'static ProblemKind> {
        Damage::KINDS.iter().copied().flatten()
    }
}

impl fmt::Display for ItemProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let corrupt = if self.severity() >= Severity::Error { "corrupt " } else { "" };
        write!(f, "{corrupt}{}, {}", self.place, self.damage)
    }
}

impl Finding for ItemProblem {
    fn code(&self) -> &'static str {
        self.damage.code()
    }

    fn severity(&self) -> Severity {
        self.damage.severity()
    }
}

macro_rules! damage {
    ($($noun:ident($type:ident),)*) => {
        /// What is wrong with a block or an item, by noun.
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
        #[serde(untagged)]
        pub enum Damage {
            $(
                #[doc = concat!("See [`", stringify!($type), "`].")]
                $noun($type),
            )*
        }

        impl Damage {
            const KINDS: &[&[ProblemKind]] = &[$($type::KINDS),*];
        }

        $(
            impl From<$type> for Damage {
                fn from(damage: $type) -> Self {
                    Self::$noun(damage)
                }
            }
        )*

        impl fmt::Display for Damage {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self {
                    $(Self::$noun(damage) => damage.fmt(f),)*
                }
            }
        }

        impl Finding for Damage {
            fn code(&self) -> &'static str {
                match self {
                    $(Self::$noun(damage) => damage.code(),)*
                }
            }

            fn severity(&self) -> Severity {
                match self {
                    $(Self::$noun(damage) => damage.severity(),)*
                }
            }
        }
    };
}
damage! {
    Layout(LayoutDamage),
    Inode(InodeDamage),
    Name(NameDamage),
    FileExtent(FileExtentDamage),
    Csum(CsumDamage),
    Root(RootDamage),
    Extent(ExtentDamage),
    Space(SpaceDamage),
    Device(DeviceDamage),
    Chunk(ChunkDamage),
    Map(MapDamage),
    Quota(QuotaDamage),
}

/// Verifies the layout of a block and each of its items. `tree` is the tree that it belongs to; a caller that
/// does not know it gives the owner in the header.
pub fn check_block(block: Block<'_>, tree: u64, rules: &Rules, report: &mut dyn FnMut(ItemProblem)) {
    layout::check(&mut Context::new(block, tree, rules, report), block);
}

/// Verifies an item that lies within its leaf, whose key is of a known type and belongs to the tree.
fn check_item(cx: &mut Context<'_>, item: &ItemRef<'_>) {
    match item.key.key_type {
        KeyType::INODE_ITEM => inode::check_inode(cx, item),
        KeyType::ORPHAN_ITEM => inode::check_orphan(cx, item),
        KeyType::DIR_LOG_ITEM | KeyType::DIR_LOG_INDEX => inode::check_dir_log(cx, item),
        KeyType::VERITY_DESC_ITEM => inode::check_verity_descriptor(cx, item),
        KeyType::VERITY_MERKLE_ITEM => inode::check_verity_merkle(cx, item),
        KeyType::INODE_REF => name::check_ref(cx, item),
        KeyType::INODE_EXTREF => name::check_extref(cx, item),
        KeyType::DIR_ITEM | KeyType::DIR_INDEX | KeyType::XATTR_ITEM => name::check_dir_item(cx, item),
        KeyType::EXTENT_DATA => file_extent::check(cx, item),
        KeyType::EXTENT_CSUM if cx.rules.changes_csums => {}
        KeyType::EXTENT_CSUM => csum::check(cx, item),
        KeyType::ROOT_ITEM => root::check_root(cx, item),
        KeyType::ROOT_REF | KeyType::ROOT_BACKREF => root::check_ref(cx, item),
        KeyType::UUID_KEY_SUBVOL | KeyType::UUID_KEY_RECEIVED_SUBVOL => root::check_uuid(cx, item),
        KeyType::EXTENT_ITEM | KeyType::METADATA_ITEM => extent::check(cx, item),
        KeyType::TREE_BLOCK_REF | KeyType::SHARED_BLOCK_REF | KeyType::EXTENT_DATA_REF | KeyType::SHARED_DATA_REF => {
            extent::check_keyed_ref(cx, item)
        }
        KeyType::BLOCK_GROUP_ITEM => space::check_block_group(cx, item),
        KeyType::FREE_SPACE_INFO | KeyType::FREE_SPACE_EXTENT | KeyType::FREE_SPACE_BITMAP => {
            space::check_free_space(cx, item);
        }
        KeyType::FREE_SPACE_HEADER => space::check_cache_header(cx, item),
        KeyType::DEV_EXTENT => device::check_dev_extent(cx, item),
        KeyType::DEV_ITEM => device::check_dev_item(cx, item),
        KeyType::PERSISTENT_ITEM => device::check_persistent(cx, item),
        KeyType::TEMPORARY_ITEM => device::check_temporary(cx, item),
        KeyType::DEV_REPLACE => device::check_replace(cx, item),
        KeyType::CHUNK_ITEM => chunk::check(cx, item),
        KeyType::RAID_STRIPE => map::check_raid_stripe(cx, item),
        KeyType::IDENTITY_REMAP | KeyType::REMAP | KeyType::REMAP_BACKREF => map::check_remap(cx, item),
        KeyType::QGROUP_STATUS => quota::check_status(cx, item),
        KeyType::QGROUP_INFO | KeyType::QGROUP_LIMIT => quota::check_qgroup(cx, item),
        KeyType::QGROUP_RELATION => quota::check_relation(cx, item),
        _ => {}
    }
}

/// Whether an id is that of a subvolume, a snapshot or the top-level tree; the 16 high bits are the level of a quota group.
fn is_fs_tree(tree: u64) -> bool {
    tree == objectid::FS_TREE || (objectid::FIRST_FREE..1 << 48).contains(&tree)
}

/// Whether an inode of this number may exist in some tree: those of files, the root tree's directory, and the inode of
/// the inode number cache, which Linux 5.11 gave up.
fn is_inode_number(number: u64) -> bool {
    (objectid::FIRST_FREE..=objectid::LAST_FREE).contains(&number)
        || matches!(number, objectid::ROOT_TREE_DIR | objectid::FREE_INO)
}

/// Whether items of this type stand in this tree. Trees that are not known hold what they like.
fn belongs(tree: u64, key: Key) -> bool {
    let file_items = || {
        matches!(
            key.key_type,
            KeyType::INODE_ITEM
                | KeyType::INODE_REF
                | KeyType::INODE_EXTREF
                | KeyType::XATTR_ITEM
                | KeyType::VERITY_DESC_ITEM
                | KeyType::VERITY_MERKLE_ITEM
                | KeyType::ORPHAN_ITEM
                | KeyType::DIR_ITEM
                | KeyType::DIR_INDEX
                | KeyType::EXTENT_DATA
        )
    };
    match tree {
        // The directory of subvolumes, free space caches in hidden files, orphans, and a balance that goes on.
        objectid::ROOT_TREE => matches!(
            key.key_type,
            KeyType::FREE_SPACE_HEADER
                | KeyType::INODE_ITEM
                | KeyType::INODE_REF
                | KeyType::XATTR_ITEM
                | KeyType::ORPHAN_ITEM
                | KeyType::DIR_ITEM
                | KeyType::DIR_INDEX
                | KeyType::EXTENT_DATA
                | KeyType::ROOT_ITEM
                | KeyType::ROOT_BACKREF
                | KeyType::ROOT_REF
                | KeyType::TEMPORARY_ITEM
        ),
        objectid::EXTENT_TREE => matches!(
            key.key_type,
            KeyType::EXTENT_ITEM
                | KeyType::METADATA_ITEM
                | KeyType::TREE_BLOCK_REF
                | KeyType::EXTENT_DATA_REF
                | KeyType::SHARED_BLOCK_REF
                | KeyType::SHARED_DATA_REF
                | KeyType::BLOCK_GROUP_ITEM
        ),
        objectid::CHUNK_TREE => matches!(key.key_type, KeyType::DEV_ITEM | KeyType::CHUNK_ITEM),
        objectid::DEV_TREE => {
            matches!(key.key_type, KeyType::DEV_EXTENT | KeyType::PERSISTENT_ITEM | KeyType::DEV_REPLACE)
        }
        objectid::CSUM_TREE => key.key_type == KeyType::EXTENT_CSUM,
        objectid::QUOTA_TREE => (KeyType::QGROUP_STATUS..=KeyType::QGROUP_RELATION).contains(&key.key_type),
        // Some versions of mkfs gave it a root directory.
        objectid::UUID_TREE => matches!(
            key.key_type,
            KeyType::UUID_KEY_SUBVOL | KeyType::UUID_KEY_RECEIVED_SUBVOL | KeyType::INODE_ITEM | KeyType::INODE_REF
        ),
        objectid::FREE_SPACE_TREE => (KeyType::FREE_SPACE_INFO..=KeyType::FREE_SPACE_BITMAP).contains(&key.key_type),
        objectid::BLOCK_GROUP_TREE => key.key_type == KeyType::BLOCK_GROUP_ITEM,
        objectid::RAID_STRIPE_TREE => key.key_type == KeyType::RAID_STRIPE,
        objectid::REMAP_TREE => (KeyType::IDENTITY_REMAP..=KeyType::REMAP_BACKREF).contains(&key.key_type),
        // The tree of log trees has the same owner as they.
        objectid::TREE_LOG => {
            file_items()
                || matches!(
                    key.key_type,
                    KeyType::DIR_LOG_ITEM | KeyType::DIR_LOG_INDEX | KeyType::EXTENT_CSUM | KeyType::ROOT_ITEM
                )
        }
        objectid::DATA_RELOC_TREE | objectid::TREE_RELOC => file_items(),
        _ if is_fs_tree(tree) => file_items(),
        _ => true,
    }
}

/// Whether leaves of this tree always hold something (`check_leaf` in fs/btrfs/tree-checker.c); an empty leaf is the root of
/// an empty tree.
fn is_never_empty(tree: u64, rules: &Rules) -> bool {
    match tree {
        objectid::ROOT_TREE
        | objectid::CHUNK_TREE
        | objectid::DEV_TREE
        | objectid::FS_TREE
        | objectid::DATA_RELOC_TREE => true,
        objectid::EXTENT_TREE => !rules.has(incompat::EXTENT_TREE_V2),
        _ => false,
    }
}
