//! Which bytes of a block one flipped bit may stand in, by what the block and its place disagree about.
//!
//! All that is wrong has one cause. What the rules say of an item depends on the item and those before it, and of those, but
//! for where extents and block groups end, on the last two.

use std::ops::Range;

use crate::block::{Block, BlockKind, Leaf, Node};
use crate::disk::csum::CSUM_SIZE;
use crate::disk::node::{HEADER_SIZE, Item, KeyPtr};
use crate::disk::{Key, KeyType};

use super::place::{Place, newer_pointer};

/// The search looks at the headers of so many items before the damaged one, too.
const BEFORE: usize = 2;
/// All of the header but the checksum.
const HEADER: Range<usize> = CSUM_SIZE..HEADER_SIZE;

/// Ranges of bytes, of which none is there twice. The bit is in one of them, or there is no such bit.
pub(super) fn suspects(block: Block<'_>, place: &Place<'_>) -> Vec<Range<usize>> {
    let mut ranges = Vec::from([HEADER]);
    let header = block.header();
    let expected = &place.expected;
    let is_header = expected.logical != block.logical()
        || !place.format.fsids.contains(&header.fsid)
        || expected.level.is_some_and(|level| level != block.level())
        || expected.generation.is_some_and(|generation| generation != block.generation())
        || place.owner.is_some_and(|owner| owner != header.owner.get())
        || place.chunk_tree_uuid.is_some_and(|uuid| uuid != header.chunk_tree_uuid);
    if is_header {
        return ranges;
    }
    let first_key = expected.first_key.filter(|first| Some(*first) != block.first_key());
    let damage = place.findings(block).first;
    let last = block.count().checked_sub(1).filter(|_| place.is_past_end(block));
    let slot = match (first_key, damage) {
        (Some(_), _) => Some(0),
        (None, Some(slot)) => slot,
        (None, None) => newer_pointer(block).or(last),
    };
    let Some(slot) = slot else { return ranges };
    match block.kind() {
        BlockKind::Leaf(leaf) => of_leaf(leaf, slot, &mut ranges),
        BlockKind::Node(node) => of_node(node, slot, &mut ranges),
    }
    ranges
}

fn of_node(node: Node<'_>, slot: usize, ranges: &mut Vec<Range<usize>>) {
    let start = HEADER_SIZE + slot.saturating_sub(1) * size_of::<KeyPtr>();
    let end = HEADER_SIZE + (slot + 1).min(node.ptrs().len()) * size_of::<KeyPtr>();
    ranges.push(start..end);
}

fn of_leaf(leaf: Leaf<'_>, slot: usize, ranges: &mut Vec<Range<usize>>) {
    let headers = leaf.headers();
    let Some(item) = headers.get(slot) else { return };
    let header = |slot: usize| HEADER_SIZE + slot * size_of::<Item>();
    let first = slot.saturating_sub(BEFORE);
    ranges.push(header(first)..header(slot + 1));
    if let Some(class) = range_class(Key::from(&item.key).key_type) {
        let is_alike = |slot: &usize| range_class(Key::from(&headers[*slot].key).key_type) == Some(class);
        let alike = (0..first).rev().filter(is_alike).take(BEFORE);
        ranges.extend(alike.map(|slot| header(slot)..header(slot + 1)));
    }
    let data = |slot: usize| {
        let item = leaf.item(slot)?;
        let start = HEADER_SIZE + item.offset as usize;
        Some(start..start + item.data.len())
    };
    // Where items overlap, the bit is in a header, or it is in what both have.
    let own = data(slot);
    let before = slot.checked_sub(1).and_then(data);
    let is_apart =
        |before: &Range<usize>| own.as_ref().is_none_or(|own| own.end <= before.start || before.end <= own.start);
    let before = before.filter(is_apart);
    let headers_end = header(headers.len());
    ranges.extend(own.into_iter().chain(before).filter(|data| data.start >= headers_end));
}

/// Items of a class are extents or groups that do not overlap, whatever stands between them.
fn range_class(key_type: KeyType) -> Option<u8> {
    match key_type {
        KeyType::EXTENT_ITEM | KeyType::METADATA_ITEM => Some(0),
        KeyType::BLOCK_GROUP_ITEM | KeyType::FREE_SPACE_INFO => Some(1),
        KeyType::FREE_SPACE_EXTENT | KeyType::FREE_SPACE_BITMAP => Some(2),
        _ => None,
    }
}
