//! The free space tree against the extents.

use crate::disk::flags::{compat_ro, free_space_info, incompat};
use crate::disk::space::FreeSpaceInfo;
use crate::disk::{Key, KeyType, Logical};
use crate::problem::FreeSpaceProblem;
use crate::survey::{ExtentList, Item, Items, keys_of};
use crate::volume::{ChunkMapping, Volume};

use super::block_groups::{BlockGroups, knows_extents};
use super::chunks::Chunks;
use super::findings::Findings;
use super::free_ranges::FreeRanges;

/// The trees that free space is compared with.
pub struct Space<'a> {
    pub chunks: &'a Chunks<'a>,
    pub groups: &'a BlockGroups<'a>,
    pub extent_tree: &'a Items,
    pub extents: &'a ExtentList,
}

/// Where the block groups end that mkfs.btrfs makes first and removes in the end: of 4 MiB for the chunk tree and of 8 MiB each
/// for metadata and for data, from the first MiB on; in zones they begin below all others. Its versions before 6.3 leave their
/// items behind, for `btrfs_remove_block_group` there knew nothing of the free space tree.
const OF_MKFS_END: u64 = 21 << 20;

pub fn check(volume: &Volume, free_space_tree: &Items, space: &Space<'_>, findings: &Findings) {
    let superblock = volume.superblock();
    if !superblock.has_compat_ro(compat_ro::FREE_SPACE_TREE) {
        return;
    }
    if !superblock.has_compat_ro(compat_ro::FREE_SPACE_TREE_VALID) {
        findings.report(FreeSpaceProblem::NotValid {});
        return;
    }
    let highest = space.chunks.mappings().last().map(|chunk| chunk.logical);
    let is_zoned = superblock.has_incompat(incompat::ZONED);
    let lowest = space.chunks.mappings().first().map(|chunk| chunk.logical);
    let of_mkfs_end = if is_zoned { lowest.unwrap_or_default() } else { Logical(OF_MKFS_END) };
    let mut told_end = Logical(0);
    for Item { key, .. } in free_space_tree.iter() {
        let logical = Logical(key.objectid);
        if !space.chunks.lack_address(logical) || space.groups.hold(logical) {
            continue;
        }
        // New chunks begin above all others.
        if highest.is_none_or(|highest| logical > highest) {
            findings.report(FreeSpaceProblem::Orphan { key: *key });
        } else if logical >= told_end {
            let is_group = key.key_type == KeyType::FREE_SPACE_INFO;
            if is_group {
                told_end = logical.checked_add(key.offset).unwrap_or(logical);
            }
            match logical < of_mkfs_end {
                true if is_group => findings.report(FreeSpaceProblem::Leftover { logical }),
                true => {}
                false => findings.report(FreeSpaceProblem::Gone { key: *key }),
            }
        }
    }
    for chunk in space.chunks.mappings() {
        check_group(volume, free_space_tree, chunk, space, findings);
    }
}

fn check_group(volume: &Volume, tree: &Items, chunk: &ChunkMapping, space: &Space<'_>, findings: &Findings) {
    let (logical, end) = (chunk.logical, chunk.end());
    let (from, to) = (keys_of(logical.0).0, keys_of(end.0.saturating_sub(1)).1);
    if !tree.covers(from, to) {
        return;
    }
    let items = tree.range(from, to);
    let sectorsize = u64::from(volume.format().sectorsize);
    let info_key = Key::new(logical.0, KeyType::FREE_SPACE_INFO, chunk.length);
    let info = tree.get(info_key).and_then(|data| FreeSpaceInfo::read_prefix(data)).map(|(info, _)| info);
    if info.is_none() {
        findings.report(FreeSpaceProblem::InfoMissing { logical });
    }
    let uses_bitmaps = info.map_or_else(
        || items.iter().any(|item| item.key.key_type == KeyType::FREE_SPACE_BITMAP),
        |info| u64::from(info.flags.get()) & free_space_info::USING_BITMAPS != 0,
    );
    let form = if uses_bitmaps { KeyType::FREE_SPACE_BITMAP } else { KeyType::FREE_SPACE_EXTENT };

    let mut free = FreeRanges::default();
    let mut is_whole = true;
    for item in items.iter().filter(|item| item.key != info_key) {
        let key = item.key;
        if ![form, KeyType::FREE_SPACE_INFO].contains(&key.key_type) {
            findings.report(FreeSpaceProblem::Form { logical, key });
        }
        if check_item(item, sectorsize, end, findings) {
            match key.key_type {
                KeyType::FREE_SPACE_BITMAP => free.add_bitmap(key.objectid, &item.data, sectorsize, end.0),
                _ => free.add(key.objectid, key.offset),
            }
        } else {
            is_whole = false;
        }
    }
    if !is_whole {
        return;
    }
    let count = free.count();
    if let Some(have) = info.map(|info| u64::from(info.extent_count.get())).filter(|have| *have != count) {
        findings.report(FreeSpaceProblem::Count { logical, have, expect: count });
    }
    // The kernel joins what it adds to both neighbours (`add_free_space_extent`). A v1 cache may be in any pieces.
    for start in free.seams().into_iter().map(Logical) {
        findings.report(FreeSpaceProblem::Adjacent { logical, start });
    }
    if knows_extents(space.extent_tree, logical, end) {
        free.check_tiling(chunk, space.extents, findings);
    }
}

/// Whether the item lists free space that can be placed.
fn check_item(item: &Item, sectorsize: u64, end: Logical, findings: &Findings) -> bool {
    let key = item.key;
    let report = |field, have, expect| {
        findings.report(FreeSpaceProblem::Item { key, field, have, expect });
        false
    };
    let size = match key.key_type {
        KeyType::FREE_SPACE_EXTENT => 0,
        KeyType::FREE_SPACE_BITMAP => (key.offset / sectorsize).div_ceil(8),
        KeyType::FREE_SPACE_INFO => return report("place", key.objectid, end.0),
        _ => return report("type", key.key_type.0.into(), KeyType::FREE_SPACE_EXTENT.0.into()),
    };
    if key.offset == 0 || key.objectid.checked_add(key.offset).is_none_or(|last| last > end.0) {
        return report("length", key.offset, end.0.saturating_sub(key.objectid));
    }
    if item.data.len() as u64 != size {
        return report("item size", item.data.len() as u64, size);
    }
    true
}
