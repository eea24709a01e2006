//! Block groups against chunks and extents.

use std::collections::BTreeSet;

use crate::block::verify::Expected;
use crate::disk::flags::{block_group, compat_ro, extent as extent_flags, incompat, superblock as superblock_flags};
use crate::disk::volume::{BlockGroupItem, BlockGroupRemap};
use crate::disk::{Key, KeyType, Logical, Superblock, objectid};
use crate::problem::{BlockGroupProblem, ChunkProblem};
use crate::survey::{Extent, ExtentList, Items, keys_of_type};
use crate::volume::{ChunkMapping, Volume, low_range, superblock_ranges};

use super::chunks::Chunks;
use super::findings::Findings;

/// Bytes of the longest extent of data.
const MAX_EXTENT_SIZE: u64 = 128 << 20;

/// A block group as its item says.
#[derive(Clone, Copy)]
pub struct BlockGroup {
    pub logical: Logical,
    pub length: u64,
    pub used: u64,
    flags: u64,
    chunk_objectid: u64,
    /// The tree with the item.
    tree: u64,
}

/// The block group items, by address.
pub struct BlockGroups<'t> {
    groups: Vec<BlockGroup>,
    /// The tree that should have them.
    tree_id: u64,
    /// The trees that may have them: two while a conversion moves them.
    trees: Vec<&'t Items>,
    is_moving: bool,
}

impl<'t> BlockGroups<'t> {
    /// Takes the block group items of both trees.
    pub fn read(volume: &Volume, extent_tree: &'t Items, block_group_tree: &'t Items, findings: &Findings) -> Self {
        let superblock = volume.superblock();
        let trees = [(objectid::EXTENT_TREE, extent_tree), (objectid::BLOCK_GROUP_TREE, block_group_tree)];
        let (tree_id, tree) = trees[usize::from(superblock.has_compat_ro(compat_ro::BLOCK_GROUP_TREE))];
        let is_moving = superblock.has_flag(superblock_flags::CHANGING_BG_TREE);
        let mut groups: Vec<BlockGroup> = Vec::new();
        for (id, items) in trees {
            for item in items.of_type(KeyType::BLOCK_GROUP_ITEM) {
                let (logical, length) = (Logical(item.key.objectid), item.key.offset);
                let expect = item_size(superblock);
                if item.data.len() != expect {
                    let (have, expect) = (item.data.len() as u64, expect as u64);
                    findings.report(BlockGroupProblem::Item { logical, field: "item size", have, expect });
                }
                let Some((item, _)) = BlockGroupItem::read_prefix(&item.data) else { continue };
                let (used, flags, chunk_objectid) = (item.used.get(), item.flags.get(), item.chunk_objectid.get());
                groups.push(BlockGroup { logical, length, used, flags, chunk_objectid, tree: id });
            }
        }
        groups.sort_by_key(|group| (group.logical, group.length, group.tree != tree_id));
        let trees = if is_moving { vec![extent_tree, block_group_tree] } else { vec![tree] };
        Self { groups, tree_id, trees, is_moving }
    }

    /// Whether all of the items with these keys are known.
    fn covers(&self, from: Key, to: Key) -> bool {
        self.trees.iter().all(|tree| tree.covers(from, to))
    }

    pub fn iter(&self) -> impl Iterator<Item = &BlockGroup> {
        self.groups.iter()
    }

    /// The block groups that begin at `logical`.
    fn at(&self, logical: Logical) -> &[BlockGroup] {
        let start = self.groups.partition_point(|group| group.logical < logical);
        let end = self.groups.partition_point(|group| group.logical <= logical);
        &self.groups[start..end.max(start)]
    }

    /// The block group of exactly this chunk.
    pub fn of_chunk(&self, chunk: &ChunkMapping) -> Option<&BlockGroup> {
        self.at(chunk.logical).iter().find(|group| group.length == chunk.length)
    }

    pub fn have(&self, chunk: &ChunkMapping) -> bool {
        self.of_chunk(chunk).is_some()
    }

    /// Whether the block groups there are of the chunk's type. Where they are not, neither is to be trusted.
    pub fn agree_on_type(&self, chunk: &ChunkMapping) -> bool {
        self.at(chunk.logical).iter().all(|group| group.flags == chunk.flags.0)
    }

    /// Whether a block group item claims this address.
    pub fn hold(&self, logical: Logical) -> bool {
        let after = self.groups.partition_point(|group| group.logical <= logical);
        let group = after.checked_sub(1).and_then(|index| self.groups.get(index));
        group.is_some_and(|group| logical.0 - group.logical.0 < group.length)
    }

    /// The sum of all used bytes, if all items are known.
    pub fn used(&self) -> Option<u64> {
        let is_in_use = |group: &&BlockGroup| self.is_moving || group.tree == self.tree_id;
        let used = self.groups.iter().filter(is_in_use).map(|group| group.used);
        self.covers(Key::MIN, Key::MAX).then(|| used.fold(0, u64::saturating_add))
    }
}

/// Of two chunks that overlap, nothing is measured any more by the one that has no block group, or else by the
/// later one.
pub fn separate(chunks: &mut Chunks<'_>, groups: &BlockGroups<'_>, findings: &Findings) {
    let mut doomed = BTreeSet::new();
    let mut last: Option<&ChunkMapping> = None;
    for chunk in chunks.mappings() {
        let Some(other) = last.filter(|other| chunk.logical < other.end()) else {
            last = Some(chunk);
            continue;
        };
        findings.report(ChunkProblem::Overlap { logical: chunk.logical, other: other.logical });
        if groups.have(chunk) && !groups.have(other) {
            doomed.insert(other.logical);
            last = Some(chunk);
        } else {
            doomed.insert(chunk.logical);
        }
    }
    chunks.add_damaged(doomed);
}

fn item_size(superblock: &Superblock) -> usize {
    match superblock.has_incompat(incompat::REMAP_TREE) {
        true => size_of::<BlockGroupItem>() + size_of::<BlockGroupRemap>(),
        false => size_of::<BlockGroupItem>(),
    }
}

/// Whether all extents between these addresses are known.
pub fn knows_extents(extent_tree: &Items, start: Logical, end: Logical) -> bool {
    let last = end.0.saturating_sub(1);
    extent_tree.covers(Key::new(start.0, KeyType(0), 0), Key::new(last, KeyType(u8::MAX), u64::MAX))
}

/// Bytes of the extents that begin between these addresses.
pub fn used_bytes(extents: &ExtentList, start: Logical, end: Logical) -> u64 {
    extents.range(start, end).fold(0, |sum: u64, extent| sum.saturating_add(extent.length))
}

pub fn check(
    volume: &Volume,
    chunks: &Chunks<'_>,
    groups: &BlockGroups<'_>,
    extent_tree: &Items,
    extents: &ExtentList,
    findings: &Findings,
) {
    for chunk in chunks.mappings() {
        let (logical, length) = (chunk.logical, chunk.length);
        let (from, to) = keys_of_type(logical.0, KeyType::BLOCK_GROUP_ITEM);
        if groups.at(logical).is_empty() && groups.covers(from, to) {
            findings.report(BlockGroupProblem::Missing { logical, length });
        }
    }
    for group in groups.iter() {
        let BlockGroup { logical, length, .. } = *group;
        if group.tree != groups.tree_id && !groups.is_moving {
            findings.report(BlockGroupProblem::Tree { logical, have: group.tree, expect: groups.tree_id });
            // A copy in the right tree is checked instead.
            if groups.at(logical).iter().any(|other| other.tree == groups.tree_id) {
                continue;
            }
        }
        let (have, expect) = (group.chunk_objectid, objectid::FIRST_CHUNK_TREE);
        if have != expect && !volume.superblock().has_incompat(incompat::EXTENT_TREE_V2) {
            findings.report(BlockGroupProblem::Item { logical, field: "chunk_objectid", have, expect });
        }
        let chunk = chunks.starting_at(logical);
        match chunk {
            Some(chunk) if chunk.length != length => {
                let is_second = groups.at(logical).iter().any(|other| other.length == chunk.length);
                findings.report(match is_second {
                    true => BlockGroupProblem::Orphan { logical, length },
                    false => BlockGroupProblem::Length { logical, have: length, expect: chunk.length },
                });
            }
            None if chunks.lack(logical) => findings.report(BlockGroupProblem::Orphan { logical, length }),
            _ => {}
        }
        if let Some(chunk) = chunk.filter(|chunk| chunk.flags.0 != group.flags) {
            findings.report(BlockGroupProblem::Flags { logical, have: group.flags, expect: chunk.flags.0 });
        }
        let end = chunk.map_or(Logical(logical.0.saturating_add(length)), ChunkMapping::end);
        let (have, expect) = (group.used, used_bytes(extents, logical, end));
        if have != expect && knows_extents(extent_tree, logical, end) {
            findings.report(BlockGroupProblem::Used { logical, have, expect });
        }
    }
    check_extents(chunks, groups, extents, findings);
}

fn check_extents(chunks: &Chunks<'_>, groups: &BlockGroups<'_>, extents: &ExtentList, findings: &Findings) {
    for extent in extents.iter() {
        let (logical, length, have) = (extent.logical, extent.length, extent.flags);
        let end = logical.checked_add(length);
        let Some(chunk) = chunks.find(logical) else {
            if chunks.lack_address(logical) {
                findings.report(BlockGroupProblem::Outside { logical, length });
            }
            continue;
        };
        if end.is_none_or(|end| end > chunk.end()) {
            findings.report(BlockGroupProblem::Outside { logical, length });
        }
        let is_sure = groups.agree_on_type(chunk);
        let fits = (have & extent_flags::DATA == 0 || chunk.flags.contains(block_group::DATA))
            && (have & extent_flags::TREE_BLOCK == 0
                || chunk.flags.0 & (block_group::METADATA | block_group::SYSTEM) != 0);
        if is_sure && !fits {
            let chunk_type = chunk.flags.type_bits();
            findings.report(BlockGroupProblem::Type { logical, have, chunk_type });
        }
    }
    for chunk in chunks.mappings() {
        if let Some((start, limit)) = low_range(chunk) {
            for Extent { logical, length, .. } in extents.range(start, limit) {
                findings.report(BlockGroupProblem::Low { logical, length, limit });
            }
        }
        for (start, end) in superblock_ranges(chunk) {
            // No extent reaches into another chunk: one that seems to is reported as that.
            let extents = extents.over(start, end).filter(|extent| extent.logical >= chunk.logical);
            for Extent { logical, length, .. } in extents.filter(|extent| extent.length <= MAX_EXTENT_SIZE) {
                findings.report(BlockGroupProblem::Superblock { logical, length });
            }
        }
    }
}

/// The blocks of the chunk tree must be found by the array alone, and nothing else lies in chunks that are for them.
pub fn check_chunk_tree(
    volume: &Volume,
    blocks: &BTreeSet<Logical>,
    chunks: &Chunks<'_>,
    groups: &BlockGroups<'_>,
    extents: &ExtentList,
    findings: &Findings,
) {
    for logical in blocks.iter().copied() {
        let Some(chunk) = chunks.find(logical) else { continue };
        if groups.agree_on_type(chunk) && !chunk.flags.contains(block_group::SYSTEM) {
            let chunk_type = chunk.flags.type_bits();
            findings.report(BlockGroupProblem::ChunkTree { logical, chunk_type });
        }
    }
    let mut buffer = Vec::new();
    let is_system = |chunk: &&ChunkMapping| chunk.flags.contains(block_group::SYSTEM) && groups.agree_on_type(chunk);
    for chunk in chunks.mappings().iter().filter(is_system) {
        let extents = extents.range(chunk.logical, chunk.end());
        for logical in extents.map(|extent| extent.logical).filter(|logical| !blocks.contains(logical)) {
            // An extent that nothing refers to, or a part of the tree that is not reached, has the right owner.
            let expected = Expected { logical, level: None, generation: None, first_key: None };
            let Ok(read) = volume.read_block(&expected, &mut buffer) else { continue };
            let owner = read.block.header().owner.get();
            if owner != objectid::CHUNK_TREE {
                findings.report(BlockGroupProblem::Foreign { logical, owner });
            }
        }
    }
}
