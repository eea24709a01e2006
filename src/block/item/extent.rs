//! Extents in use, and the references to them.

use crate::block::ItemRef;
use crate::block::reference::Reference;
use crate::disk::extent::{ExtentDataRef, ExtentItem, InlineRef, InlineRefs, SharedDataRef, TreeBlockInfo};
use crate::disk::flags::{extent, incompat};
use crate::disk::{Key, KeyType, MAX_LEVEL, hash, objectid};
use crate::finding::findings;

use super::{Context, is_fs_tree, is_inode_number};

findings! {
    /// Damage to an extent item, its inline references or a keyed reference.
    ExtentDamage {
        /// An extent item is too short.
        Size("extent-item-size", Error, "invalid item size for extent item, have {have} expect at least {least}") {
            have: u32, least: u32,
        }
        /// The address of an extent is not aligned.
        Bytenr("extent-item-bytenr", Error, "unaligned extent bytenr, have {have} should be aligned to {alignment}") {
            have: u64, alignment: u32,
        }
        /// The length of a data extent is 0, not aligned, or reaches past the end of all addresses.
        Length("extent-item-length", Error, "invalid extent length, have {have} expect to be aligned to {alignment}") {
            have: u64, alignment: u32,
        }
        /// The extent of a tree block does not have the length of one.
        NodeLength("extent-item-node-length", Error, "invalid extent length of a tree block, have {have} expect {expect}") {
            have: u64, expect: u64,
        }
        /// A metadata item stands in a filesystem that has none.
        NotSkinny("metadata-item-not-skinny", Error, "metadata item without the skinny metadata feature") { }
        /// The level of a tree block is too high.
        Level("extent-item-level", Error, "invalid tree block level, have {have} expect [0, {limit}]") { have: u64, limit: u64 }
        /// The flags of an extent do not say whether it is data or a tree block, or are not known.
        Flags("extent-item-flags", Error, "invalid extent flags, have {have:#x} expect one of DATA and TREE_BLOCK") { have: u64 }
        /// A metadata item is that of a data extent.
        DataKey("metadata-item-data", Error, "invalid extent flags, have {have:#x} for a metadata item") { have: u64 }
        /// A data extent has full back references, which only tree blocks have.
        FullBackref("extent-item-full-backref", Error, "invalid extent flags, have {have:#x} with FULL_BACKREF for data") {
            have: u64,
        }
        /// An extent was made in a generation that the superblock does not know.
        Generation("extent-item-generation", Error, "invalid extent generation, have {have} expect [0, {limit}]") {
            have: u64, limit: u64,
        }
        /// An extent has no references.
        NoRefs("extent-item-no-refs", Error, "invalid extent refs, have 0") { }
        /// An extent has fewer references than stand in its own item.
        Refs("extent-item-refs", Error, "invalid extent refs, have {have} expect at least the {least} inline ones") {
            have: u64, least: u64,
        }
        /// An extent begins before the one before it ends.
        Overlap("extent-item-overlap", Error, "extent overlaps the previous one, which ends at {previous_end}") {
            previous_end: u64,
        }
        /// The type of an inline reference is not known.
        InlineType("inline-ref-type", Error, "unknown inline ref type {ref_type}, {left} bytes left") { ref_type: u8, left: u32 }
        /// An inline reference runs past the end of its item.
        InlineCut("inline-ref-cut", Error, "inline ref type {ref_type} crosses item end, {left} bytes left") {
            ref_type: u8, left: u32,
        }
        /// A data extent has the reference of a tree block, or the other way round.
        InlineKind("inline-ref-kind", Error, "inline ref type {ref_type} does not go with extent flags {extent_flags:#x}") {
            ref_type: u8, extent_flags: u64,
        }
        /// Inline references are not in order: types rise, within a type sequences fall.
        InlineOrder(
            "inline-ref-order", Error,
            "inline ref out of order, type {ref_type} sequence {have:#x} after type {previous_type} sequence {previous:#x}"
        ) { ref_type: u8, have: u64, previous_type: u8, previous: u64 }
        /// The same inline reference stands twice in an item.
        InlineDuplicate("inline-ref-duplicate", Error, "duplicate inline ref, type {ref_type} sequence {have:#x}") {
            ref_type: u8, have: u64,
        }
        /// The owner of an extent is recorded although simple quotas are not in use.
        Owner("inline-ref-owner", Error, "extent owner ref without the simple quota feature, root {root}") { root: u64 }
        /// The parent of a reference is 0 or not aligned.
        Parent("extent-ref-parent", Error, "invalid parent of {ref_type}, have {have} expect to be aligned to {alignment}") {
            ref_type: &'static str, have: u64, alignment: u32,
        }
        /// A reference names a tree that cannot hold one.
        Root("extent-ref-root", Error, "invalid root of extent ref, have {have}") { have: u64 }
        /// A data reference names an inode that cannot be one.
        Inode("extent-ref-inode", Error, "invalid inode number of data ref, have {have}") { have: u64 }
        /// The file offset of a data reference is not aligned.
        Offset("extent-ref-offset", Error, "invalid offset of data ref, have {have} expect to be aligned to {alignment}") {
            have: u64, alignment: u32,
        }
        /// A data reference counts none.
        Count("extent-ref-count", Error, "invalid count of data ref, have 0") { }
        /// A keyed reference does not have the size of its type.
        RefSize("extent-ref-size", Error, "invalid item size for keyed ref, have {have} expect {expect}") {
            have: u32, expect: u32,
        }
        /// The key of a data reference is not its hash.
        RefHash("extent-ref-hash", Error, "data ref hash mismatch with key, have {have:#x} expect {expect:#x}") {
            have: u64, expect: u64,
        }
    }
}

pub(super) fn check(cx: &mut Context<'_>, item: &ItemRef<'_>) {
    let Key { objectid: bytenr, key_type, offset } = item.key;
    let is_skinny = key_type == KeyType::METADATA_ITEM;
    let nodesize = u64::from(cx.rules.nodesize);
    if let Some(previous_end) = cx.extents.push(bytenr, if is_skinny { nodesize } else { offset }) {
        cx.found(ExtentDamage::Overlap { previous_end });
    }
    if !cx.rules.is_sector_aligned(bytenr) {
        cx.found(ExtentDamage::Bytenr { have: bytenr, alignment: cx.rules.sectorsize });
    }
    if is_skinny && !cx.rules.has(incompat::SKINNY_METADATA) {
        cx.found(ExtentDamage::NotSkinny {});
    }
    let Some((extent_item, refs)) = ExtentItem::read_prefix(item.data) else {
        return size(cx, item, 0);
    };
    let (have, limit) = (extent_item.generation.get(), cx.rules.newest());
    if have > limit {
        cx.found(ExtentDamage::Generation { have, limit });
    }
    if extent_item.refs.get() == 0 {
        cx.found(ExtentDamage::NoRefs {});
    }
    let flags = extent_item.flags.get();
    let is_data = match flags & !extent::FULL_BACKREF {
        extent::DATA => true,
        extent::TREE_BLOCK => false,
        // Nothing more can be said of what is neither.
        _ => return cx.found(ExtentDamage::Flags { have: flags }),
    };
    let mut refs = refs;
    if is_data {
        check_data(cx, item.key, flags);
    } else if is_skinny {
        check_level(cx, offset);
    } else {
        if offset != nodesize {
            cx.found(ExtentDamage::NodeLength { have: offset, expect: nodesize });
        }
        let Some((info, rest)) = TreeBlockInfo::read_prefix(refs) else {
            return size(cx, item, size_of::<TreeBlockInfo>());
        };
        check_level(cx, info.level.into());
        refs = rest;
    }
    let inline_refs = check_inline_refs(cx, refs, flags, is_data);
    let have = extent_item.refs.get();
    if have < inline_refs && have != 0 {
        cx.found(ExtentDamage::Refs { have, least: inline_refs });
    }
}

fn size(cx: &mut Context<'_>, item: &ItemRef<'_>, more: usize) {
    let least = (size_of::<ExtentItem>() + more) as u32;
    cx.found(ExtentDamage::Size { have: item.data.len() as u32, least });
}

fn check_data(cx: &mut Context<'_>, key: Key, flags: u64) {
    if key.key_type == KeyType::METADATA_ITEM {
        cx.found(ExtentDamage::DataKey { have: flags });
    } else if key.offset == 0
        || !cx.rules.is_sector_aligned(key.offset)
        || key.objectid.checked_add(key.offset).is_none()
    {
        cx.found(ExtentDamage::Length { have: key.offset, alignment: cx.rules.sectorsize });
    }
    if flags & extent::FULL_BACKREF != 0 {
        cx.found(ExtentDamage::FullBackref { have: flags });
    }
}

fn check_level(cx: &mut Context<'_>, have: u64) {
    let limit = MAX_LEVEL as u64 - 1;
    if have > limit {
        cx.found(ExtentDamage::Level { have, limit });
    }
}

/// Returns the number of references found.
fn check_inline_refs(cx: &mut Context<'_>, refs: &[u8], extent_flags: u64, is_data: bool) -> u64 {
    let mut total: u64 = 0;
    let mut last: Option<InlineRef<'_>> = None;
    for inline_ref in InlineRefs::new(refs) {
        let inline_ref = match inline_ref {
            Ok(inline_ref) => inline_ref,
            Err(bad) => {
                let (ref_type, left) = (bad.ref_type.0, bad.bytes_left as u32);
                let is_known = matches!(
                    bad.ref_type,
                    KeyType::TREE_BLOCK_REF
                        | KeyType::SHARED_BLOCK_REF
                        | KeyType::EXTENT_DATA_REF
                        | KeyType::SHARED_DATA_REF
                        | KeyType::EXTENT_OWNER_REF
                );
                cx.found(match is_known {
                    true => ExtentDamage::InlineCut { ref_type, left },
                    false => ExtentDamage::InlineType { ref_type, left },
                });
                break;
            }
        };
        let ref_type = inline_ref.key_type().0;
        if is_data == matches!(inline_ref, InlineRef::TreeBlock { .. } | InlineRef::SharedBlock { .. }) {
            cx.found(ExtentDamage::InlineKind { ref_type, extent_flags });
        }
        match inline_ref {
            InlineRef::TreeBlock { root } => check_block_root(cx, root),
            InlineRef::SharedBlock { parent } => check_parent(cx, "shared block ref", parent),
            InlineRef::ExtentData(data_ref) => check_data_ref(cx, data_ref),
            InlineRef::SharedData { parent, count } => {
                check_parent(cx, "shared data ref", parent);
                check_count(cx, count);
            }
            InlineRef::Owner { root } => {
                if !cx.rules.has(incompat::SIMPLE_QUOTA) {
                    cx.found(ExtentDamage::Owner { root });
                }
            }
        }
        total = total.saturating_add(Reference::of_inline(inline_ref).map_or(0, |(_, count)| count));
        if let Some(last) = last {
            check_order(cx, last, inline_ref);
        }
        last = Some(inline_ref);
    }
    total
}

/// Types rise; within a type sequences fall. Different data references may have the same hash.
fn check_order(cx: &mut Context<'_>, last: InlineRef<'_>, inline_ref: InlineRef<'_>) {
    let (previous_type, ref_type) = (last.key_type().0, inline_ref.key_type().0);
    if previous_type < ref_type {
        return;
    }
    let (previous, have) = (last.sequence(), inline_ref.sequence());
    let source = |inline_ref| Reference::of_inline(inline_ref).map(|(reference, _)| reference);
    if previous_type > ref_type || previous < have {
        cx.found(ExtentDamage::InlineOrder { ref_type, have, previous_type, previous });
    } else if previous == have && source(last) == source(inline_ref) {
        cx.found(ExtentDamage::InlineDuplicate { ref_type, have });
    }
}

fn check_data_ref(cx: &mut Context<'_>, data_ref: &ExtentDataRef) {
    // The root tree holds v1 free space caches.
    let root = data_ref.root.get();
    if !is_fs_tree(root) && root != objectid::ROOT_TREE && root != objectid::DATA_RELOC_TREE {
        cx.found(ExtentDamage::Root { have: root });
    }
    if !is_inode_number(data_ref.objectid.get()) {
        cx.found(ExtentDamage::Inode { have: data_ref.objectid.get() });
    }
    // The offset is that of the extent's start in the file, which may lie before the file's.
    if !cx.rules.is_sector_aligned(data_ref.offset.get()) {
        cx.found(ExtentDamage::Offset { have: data_ref.offset.get(), alignment: cx.rules.sectorsize });
    }
    check_count(cx, data_ref.count.get());
}

fn check_count(cx: &mut Context<'_>, count: u32) {
    if count == 0 {
        cx.found(ExtentDamage::Count {});
    }
}

/// Any tree may own a block, but for the levels of quota groups in the id of a subvolume.
fn check_block_root(cx: &mut Context<'_>, root: u64) {
    if root == 0 || (objectid::is_subvolume(root) && !is_fs_tree(root)) {
        cx.found(ExtentDamage::Root { have: root });
    }
}

fn check_parent(cx: &mut Context<'_>, ref_type: &'static str, have: u64) {
    if have == 0 || !cx.rules.is_sector_aligned(have) {
        cx.found(ExtentDamage::Parent { ref_type, have, alignment: cx.rules.sectorsize });
    }
}

pub(super) fn check_keyed_ref(cx: &mut Context<'_>, item: &ItemRef<'_>) {
    let Key { objectid: bytenr, key_type, offset } = item.key;
    if !cx.rules.is_sector_aligned(bytenr) {
        cx.found(ExtentDamage::Bytenr { have: bytenr, alignment: cx.rules.sectorsize });
    }
    let size = |have, expect| ExtentDamage::RefSize { have, expect };
    match key_type {
        KeyType::TREE_BLOCK_REF => {
            cx.exact::<[u8; 0], _>(item.data, size);
            check_block_root(cx, offset);
        }
        KeyType::SHARED_BLOCK_REF => {
            cx.exact::<[u8; 0], _>(item.data, size);
            check_parent(cx, "shared block ref", offset);
        }
        KeyType::SHARED_DATA_REF => {
            if let Some(shared) = cx.exact::<SharedDataRef, _>(item.data, size) {
                check_count(cx, shared.count.get());
            }
            check_parent(cx, "shared data ref", offset);
        }
        _ => {
            let Some(data_ref) = cx.exact::<ExtentDataRef, _>(item.data, size) else { return };
            check_data_ref(cx, data_ref);
            let have = data_ref.hash();
            if offset.wrapping_sub(have) >= hash::MAX_COLLISIONS {
                cx.found(ExtentDamage::RefHash { have, expect: offset });
            }
        }
    }
}
