//! Roots of trees, how subvolumes hang together, and the index of subvolumes by UUID.

use crate::block::ItemRef;
use crate::disk::flags::incompat;
use crate::disk::root::{LEGACY_ROOT_ITEM_SIZE, RootItem, RootRef};
use crate::disk::{Key, KeyType, MAX_LEVEL, flags, objectid};
use crate::finding::findings;

use super::name::check_name;
use super::{Context, is_fs_tree, is_inode_number};

findings! {
    /// Damage to a root item, a reference between subvolumes or an item of the UUID tree.
    RootDamage {
        /// A root item has neither its size nor that of old kernels.
        Size("root-item-size", Error, "invalid root item size, have {have} expect {expect} or {legacy}") {
            have: u32, expect: u32, legacy: u32,
        }
        /// The key of a root item names no tree.
        Key("root-item-key", Error, "invalid root item key, tree {have} offset {offset}") { have: u64, offset: u64 }
        /// A root item has an offset that is no generation in which a snapshot may have been made.
        Offset("root-item-offset", Error, "invalid root item offset, have {have} expect [0, {limit}]") { have: u64, limit: u64 }
        /// The root directory of a subvolume is not the one that all subvolumes have.
        Directory("root-item-directory", Error, "invalid root directory, have {have} expect {expect}") {
            have: u64, expect: u64,
        }
        /// A root item was written in a generation that the superblock does not know.
        Generation("root-item-generation", Error, "invalid root {field}, have {have} expect [0, {limit}]") {
            field: &'static str, have: u64, limit: u64,
        }
        /// A root item leads to no address, or one that is not aligned.
        Bytenr("root-item-bytenr", Error, "invalid root bytenr, have {have} expect to be aligned to {alignment}") {
            have: u64, alignment: u32,
        }
        /// The level of a root is too high.
        Level("root-item-level", Error, "invalid root level, have {have} expect [0, {limit}]") { have: u8, limit: u8 }
        /// The level down to which a root was dropped makes no sense.
        DropLevel("root-item-drop-level", Error, "invalid root drop level, have {have} expect [{least}, {limit}]") {
            have: u8, least: u8, limit: u8,
        }
        /// A root has flags that are not known.
        Flags("root-item-flags", Error, "invalid root flags, have {have:#x} expect mask {mask:#x}") { have: u64, mask: u64 }
        /// A root has more than the one reference that a root can have.
        Refs("root-item-refs", Error, "invalid root refs, have {have} expect no more than 1") { have: u32 }
        /// A root reference is between trees that are no subvolumes.
        RefKey("root-ref-key", Error, "invalid root reference, between trees {parent} and {child}") { parent: u64, child: u64 }
        /// A root reference has another length than its name.
        RefSize("root-ref-size", Error, "invalid root reference size, have {have} expect {expect}") {
            have: u32, expect: u32,
        }
        /// A root reference stands in a directory that cannot be one.
        RefDirectory("root-ref-directory", Error, "invalid directory of root reference, have {have}") { have: u64 }
        /// An item of the UUID tree does not consist of whole ids.
        UuidSize("uuid-item-size", Warning, "invalid size of UUID item, have {have} expect a multiple of 8") { have: u32 }
        /// An item of the UUID tree leads to a tree that is no subvolume.
        UuidSubvolume("uuid-item-subvolume", Warning, "invalid subvolume in UUID item, have {have}") { have: u64 }
    }
}

/// Whether an id may be that of a tree. Small ones are trees of the filesystem, those at the upper end special trees.
fn is_tree(tree: u64) -> bool {
    (1..objectid::FIRST_FREE).contains(&tree) || is_fs_tree(tree) || tree > objectid::LAST_FREE
}

pub(super) fn check_root(cx: &mut Context<'_>, item: &ItemRef<'_>) {
    let (have, offset) = (item.key.objectid, item.key.offset);
    // Trees of relocations and logs have the tree that they stand for as their offset.
    let is_of_tree = matches!(have, objectid::TREE_RELOC | objectid::TREE_LOG);
    if !is_tree(have) || (is_of_tree && !is_fs_tree(offset) && offset != objectid::DATA_RELOC_TREE) {
        cx.found(RootDamage::Key { have, offset });
    }
    // The trees of the extent tree's second version are numbered by it. The data relocation tree is looked for by its id alone
    // (`btrfs_read_fs_root`); btrfs-convert gives it the transaction as the offset.
    if !is_of_tree && have != objectid::DATA_RELOC_TREE && !cx.rules.has(incompat::EXTENT_TREE_V2) {
        let limit = if is_fs_tree(have) { cx.rules.newest() } else { 0 };
        if offset > limit {
            cx.found(RootDamage::Offset { have: offset, limit });
        }
    }
    let (size, expect, legacy) = (item.data.len(), size_of::<RootItem>(), LEGACY_ROOT_ITEM_SIZE);
    let Some(root) = RootItem::read(item.data).filter(|_| size == expect || size == legacy) else {
        let (have, expect, legacy) = (size as u32, expect as u32, legacy as u32);
        return cx.found(RootDamage::Size { have, expect, legacy });
    };
    let (have, expect) = (root.root_dirid.get(), objectid::ROOT_DIR);
    if is_fs_tree(item.key.objectid) && have != expect {
        cx.found(RootDamage::Directory { have, expect });
    }
    let limit = cx.rules.newest();
    let generations =
        [("generation", root.generation), ("generation_v2", root.generation_v2), ("last_snapshot", root.last_snapshot)];
    for (field, generation) in generations {
        if generation.get() > limit {
            cx.found(RootDamage::Generation { field, have: generation.get(), limit });
        }
    }
    let bytenr = root.bytenr.get();
    if bytenr == 0 || !cx.rules.is_sector_aligned(bytenr) {
        cx.found(RootDamage::Bytenr { have: bytenr, alignment: cx.rules.sectorsize });
    }
    let limit = MAX_LEVEL as u8 - 1;
    if root.level > limit {
        cx.found(RootDamage::Level { have: root.level, limit });
    }
    // A drop stops at a node: the kernel asserts that the level is not 0 where there is progress (`btrfs_drop_snapshot`).
    let is_partly_dropped = Key::from(&root.drop_progress) != Key::default();
    let (have, least) = (root.drop_level, u8::from(is_partly_dropped));
    if have > limit.min(root.level) || have < least {
        cx.found(RootDamage::DropLevel { have, least, limit: limit.min(root.level) });
    }
    let (have, mask) = (root.flags.get(), const { flags::all(flags::root::NAMES) });
    if have & !mask != 0 {
        cx.found(RootDamage::Flags { have, mask });
    }
    if root.refs.get() > 1 {
        cx.found(RootDamage::Refs { have: root.refs.get() });
    }
}

pub(super) fn check_ref(cx: &mut Context<'_>, item: &ItemRef<'_>) {
    let (parent, child) = match item.key.key_type {
        KeyType::ROOT_REF => (item.key.objectid, item.key.offset),
        _ => (item.key.offset, item.key.objectid),
    };
    if !is_fs_tree(parent) || !is_fs_tree(child) || child == objectid::FS_TREE || child == parent {
        cx.found(RootDamage::RefKey { parent, child });
    }
    let have = item.data.len() as u32;
    let least = size_of::<RootRef>() as u32;
    let Some((root_ref, name)) = RootRef::read_prefix(item.data) else {
        return cx.found(RootDamage::RefSize { have, expect: least });
    };
    if name.len() != usize::from(root_ref.name_len.get()) {
        cx.found(RootDamage::RefSize { have, expect: least + u32::from(root_ref.name_len.get()) });
    } else {
        check_name(cx, name, false);
    }
    if !is_inode_number(root_ref.dirid.get()) {
        cx.found(RootDamage::RefDirectory { have: root_ref.dirid.get() });
    }
}

pub(super) fn check_uuid(cx: &mut Context<'_>, item: &ItemRef<'_>) {
    let (subvolumes, rest) = item.data.as_chunks::<8>();
    if subvolumes.is_empty() || !rest.is_empty() {
        cx.found(RootDamage::UuidSize { have: item.data.len() as u32 });
    }
    for subvolume in subvolumes {
        let have = u64::from_le_bytes(*subvolume);
        if !is_fs_tree(have) {
            cx.found(RootDamage::UuidSubvolume { have });
        }
    }
}
