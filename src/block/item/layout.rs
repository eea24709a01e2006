//! The header of a block, the pointers of a node, and how keys and items lie in a leaf.

use crate::block::{Block, BlockKind, Leaf, Node};
use crate::disk::flags::{MIXED_BACKREF_REV, incompat};
use crate::disk::node::Item;
use crate::disk::{Key, KeyType, flags, objectid};
use crate::finding::findings;

use super::{Context, belongs, check_item, is_fs_tree, is_never_empty};

findings! {
    /// Damage to the layout of a block.
    LayoutDamage {
        /// The header of a block lacks the flag that says that it was written.
        NotWritten("block-not-written", Error, "invalid header flags, have {have:#x} without WRITTEN") { have: u64 }
        /// A block has flags that are not known.
        BlockFlags("block-flags", Error, "invalid header flags, have {have:#x} expect mask {mask:#x}") { have: u64, mask: u64 }
        /// A block is of a form of back references that is not known.
        BackrefRev("block-backref-rev", Error, "invalid backref revision, have {have} expect {expect}") {
            have: u8, expect: u8,
        }
        /// A block of a tree that is never shared is marked as one that a relocation made.
        RelocFlag("block-reloc-flag", Error, "invalid header flags, have {have:#x} with RELOC in a tree that is not of files") {
            have: u64,
        }
        /// A block was written in a generation that the superblock does not know.
        BlockGeneration("block-generation", Error, "invalid header generation, have {have} expect (0, {limit}]") {
            have: u64, limit: u64,
        }
        /// A leaf of a tree that is never empty holds nothing.
        LeafEmpty("leaf-empty", Error, "invalid nritems, this tree must not be empty") { }
        /// A leaf claims more items than it has room for.
        LeafItems("leaf-nritems", Error, "invalid nritems, have {have} expect [0, {limit}]") { have: u32, limit: u32 }
        /// A node has no pointers, or claims more than it has room for.
        NodeItems("node-nritems", Error, "invalid nritems, have {have} expect [1, {limit}]") { have: u32, limit: u32 }
        /// A key is not above the one before it.
        KeyOrder("key-order", Error, "bad key order, previous key {previous}") { previous: Key }
        /// The data of an item does not lie within its leaf.
        ItemOutside(
            "leaf-item-outside", Error,
            "item outside of the leaf, offset {offset} size {size} expect an end of at most {limit}"
        ) { offset: u32, size: u32, limit: u32 }
        /// The data of an item does not end where that of the item before it begins, or at the end of the leaf.
        ItemOffset("leaf-item-offset", Error, "unexpected item end, have {have} expect {expect}") {
            have: u32, expect: u32,
        }
        /// The data of an item reaches into the item headers.
        HeadersOverlap("leaf-headers-overlap", Error, "item data overlaps item headers, have {have} expect at least {least}") {
            have: u32, least: u32,
        }
        /// An item is of a type that does not belong into its tree.
        ItemMisplaced("item-misplaced", Error, "item type {item_type} does not belong into this tree") { item_type: u8 }
        /// An item in a tree of files is of a type that is not known, and no feature is on that is not known.
        FileItemUnknown("item-type-unknown", Error, "unknown item type {item_type} in a tree of files") { item_type: u8 }
        /// An item is of a type that is not known, as a later kernel may have written it.
        ItemUnknown("item-type-new", Note, "unknown item type {item_type}") { item_type: u8 }
        /// A leftover of the cache of free inode numbers, which Linux 5.11 gave up; Linux 6.18 refuses to read its leaf.
        InodeCache("inode-cache", Error, "leftover of the inode number cache (btrfs rescue clear-ino-cache removes it)") { }
        /// A pointer leads to address 0.
        PointerZero("node-pointer-zero", Error, "invalid block pointer, have 0") { }
        /// A pointer leads to an address that is not aligned.
        PointerUnaligned("node-pointer-unaligned", Error, "unaligned block pointer, have {have} should be aligned to {alignment}") {
            have: u64, alignment: u32,
        }
        /// A pointer names a generation that the superblock does not know.
        PointerGeneration("node-pointer-generation", Error, "invalid pointer generation, have {have} expect (0, {limit}]") {
            have: u64, limit: u64,
        }
    }
}

pub(super) fn check<'a>(cx: &mut Context<'a>, block: Block<'a>) {
    let header = block.header();
    if header.flag_bits() & flags::header::WRITTEN == 0 {
        cx.found(LayoutDamage::NotWritten { have: header.flag_bits() });
    }
    let (have, mask) = (header.flag_bits(), const { flags::all(flags::header::NAMES) });
    if have & !mask != 0 {
        cx.found(LayoutDamage::BlockFlags { have, mask });
    }
    // Linux before 2.6.31 made filesystems without the feature, and wrote blocks of revision 0.
    let (have, expect) = (header.backref_rev(), MIXED_BACKREF_REV);
    if have > expect || (have < expect && cx.rules.has(incompat::MIXED_BACKREF)) {
        cx.found(LayoutDamage::BackrefRev { have, expect });
    }
    // The copies that a relocation makes of blocks of other trees are ordinary ones (`relocate_tree_block`).
    let is_known = cx.tree < objectid::FIRST_FREE || cx.tree == objectid::TREE_LOG;
    if header.flag_bits() & flags::header::RELOC != 0 && is_known && !objectid::may_share_blocks(cx.tree) {
        cx.found(LayoutDamage::RelocFlag { have: header.flag_bits() });
    }
    let (have, limit) = (header.generation.get(), newest_block(cx));
    if have == 0 || have > limit {
        cx.found(LayoutDamage::BlockGeneration { have, limit });
    }
    match block.kind() {
        BlockKind::Leaf(leaf) => check_leaf(cx, leaf),
        BlockKind::Node(node) => check_node(cx, node),
    }
}

/// The highest generation of a block: that of the superblock, and one more for log trees.
fn newest_block(cx: &Context<'_>) -> u64 {
    if cx.tree == objectid::TREE_LOG { cx.rules.newest() } else { cx.rules.generation }
}

fn check_node(cx: &mut Context<'_>, node: Node<'_>) {
    let (have, limit) = (node.block().nritems(), node.capacity());
    if have == 0 || have > limit {
        cx.found(LayoutDamage::NodeItems { have, limit });
    }
    let newest = newest_block(cx);
    let mut previous = None;
    for (slot, ptr) in node.ptrs().iter().enumerate() {
        let key = Key::from(&ptr.key);
        cx.enter(slot, key);
        check_order(cx, previous, key);
        previous = Some(key);
        let address = ptr.blockptr.get();
        if address == 0 {
            cx.found(LayoutDamage::PointerZero {});
        } else if !cx.rules.is_sector_aligned(address) {
            cx.found(LayoutDamage::PointerUnaligned { have: address, alignment: cx.rules.sectorsize });
        }
        let generation = ptr.generation.get();
        if generation == 0 || generation > newest {
            cx.found(LayoutDamage::PointerGeneration { have: generation, limit: newest });
        }
    }
}

fn check_order(cx: &mut Context<'_>, previous: Option<Key>, key: Key) {
    if let Some(previous) = previous
        && previous >= key
    {
        cx.found(LayoutDamage::KeyOrder { previous });
    }
}

fn check_leaf<'a>(cx: &mut Context<'a>, leaf: Leaf<'a>) {
    let (count, headers) = (leaf.block().nritems(), leaf.headers());
    // The header of a relocation tree's root names the tree that is relocated, of which nothing may be left.
    let is_relocated = leaf.block().header().flag_bits() & flags::header::RELOC != 0;
    if count == 0 && !is_relocated && is_never_empty(cx.tree, cx.rules) {
        cx.found(LayoutDamage::LeafEmpty {});
    }
    if count as usize > headers.len() {
        cx.found(LayoutDamage::LeafItems { have: count, limit: headers.len() as u32 });
    }
    let headers_end = size_of_val(headers) as u32;
    let mut tiles = Tiles { limit: leaf.data_size(), end: leaf.data_size(), other: None };
    let mut previous = None;
    for (slot, header) in headers.iter().enumerate() {
        let key = Key::from(&header.key);
        cx.enter(slot, key);
        check_order(cx, previous, key);
        previous = Some(key);
        let tiled = tiles.check(cx, header);
        let Ok(item) = leaf.read_item(slot, header) else {
            let (offset, size) = (header.offset.get(), header.size.get());
            cx.found(LayoutDamage::ItemOutside { offset, size, limit: leaf.data_size() });
            cx.previous = None;
            continue;
        };
        // What follows lies still deeper in the headers.
        if tiled && item.offset < headers_end {
            cx.found(LayoutDamage::HeadersOverlap { have: item.offset, least: headers_end });
            return;
        }
        if !tiled {
            cx.previous = None;
            continue;
        }
        let item_type = key.key_type.0;
        if key.objectid == objectid::FREE_INO && is_fs_tree(cx.tree) {
            cx.found(LayoutDamage::InodeCache {});
        } else if !is_known(key) {
            let is_damage = objectid::may_share_blocks(cx.tree) && !cx.rules.has_unknown_features;
            cx.found(match is_damage {
                true => LayoutDamage::FileItemUnknown { item_type },
                false => LayoutDamage::ItemUnknown { item_type },
            });
        } else if !belongs(cx.tree, key) {
            cx.found(LayoutDamage::ItemMisplaced { item_type });
        } else {
            check_item(cx, &item);
        }
        cx.previous = Some(item);
    }
}

/// The free space header's type is 0, which is no type anywhere else.
fn is_known(key: Key) -> bool {
    match key.key_type {
        KeyType::FREE_SPACE_HEADER => key.objectid == objectid::FREE_SPACE,
        key_type => key_type.name().is_some(),
    }
}

/// Where the next item's data ends.
struct Tiles {
    /// Where the leaf ends.
    limit: u32,
    end: u32,
    /// Where it ends if the offset of the item before is what is wrong with it.
    other: Option<u32>,
}

impl Tiles {
    /// Whether an item's data ends where it should. One that lies outside of the leaf is not reported here.
    fn check(&mut self, cx: &mut Context<'_>, header: &Item) -> bool {
        let (offset, size) = (header.offset.get(), header.size.get());
        let end = offset.checked_add(size);
        if end == self.other {
            self.end = self.other.unwrap_or(self.end);
        }
        if end == Some(self.end) {
            (self.end, self.other) = (offset, None);
            return true;
        }
        if let Some(have) = end.filter(|end| *end <= self.limit) {
            cx.found(LayoutDamage::ItemOffset { have, expect: self.end });
        }
        self.other = Some(self.end.saturating_sub(size));
        self.end = offset;
        false
    }
}
