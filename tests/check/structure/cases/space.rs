//! Block groups, where extents lie, and the free space tree.

use rbtrfs::disk::extent::ExtentItem;
use rbtrfs::disk::flags::{block_group, compat_ro, extent};
use rbtrfs::disk::space::FreeSpaceInfo;
use rbtrfs::disk::superblock::SUPER_OFFSETS;
use rbtrfs::disk::volume::BlockGroupItem;
use rbtrfs::disk::{Key, KeyType, Logical, objectid};
use rbtrfs::volume::ChunkMapping;
use serde_json::json;
use zerocopy::IntoBytes;

use crate::support::inject::Injector;

use super::{BEYOND, Case, change_key, copy_block, data, edit_group, extent_item, group_key, retype, system};

fn info_key(chunk: &ChunkMapping) -> Key {
    Key::new(chunk.logical.0, KeyType::FREE_SPACE_INFO, chunk.length)
}

/// The last free extent of the last data chunk, which a used one precedes.
fn last_free(injector: &Injector) -> Key {
    let chunk = data(injector);
    let items = injector.items(objectid::FREE_SPACE_TREE);
    let of_chunk = |item: &&(Key, Vec<u8>)| (chunk.logical.0..chunk.end().0).contains(&item.0.objectid);
    let free = items.iter().rev().filter(of_chunk).find(|item| item.0.key_type == KeyType::FREE_SPACE_EXTENT);
    free.expect("there is free space").0
}

pub fn block_group_cases() -> Vec<Case> {
    vec![
        Case::new("block-group-missing", |injector| {
            let chunk = data(injector);
            injector.remove_item(objectid::EXTENT_TREE, group_key(&chunk));
            json!({"logical": chunk.logical, "length": chunk.length})
        }),
        Case::new("block-group-orphan", |injector| {
            let mut item = BlockGroupItem::zeroed();
            item.chunk_objectid.set(objectid::FIRST_CHUNK_TREE);
            let key = Key::new(BEYOND, KeyType::BLOCK_GROUP_ITEM, 65536);
            injector.insert_item(objectid::EXTENT_TREE, key, item.as_bytes());
            json!({"logical": BEYOND, "length": 65536})
        }),
        Case::new("block-group-length", |injector| {
            let chunk = data(injector);
            let key = Key { offset: chunk.length + 4096, ..group_key(&chunk) };
            change_key(injector, objectid::EXTENT_TREE, group_key(&chunk), key);
            json!({"logical": chunk.logical, "have": chunk.length + 4096, "expect": chunk.length})
        }),
        Case::new("block-group-used", |injector| {
            let chunk = data(injector);
            edit_group(injector, &chunk, |item| item.used.set(12345));
            json!({"logical": chunk.logical, "have": 12345})
        }),
        Case::new("block-group-flags", |injector| {
            let chunk = data(injector);
            edit_group(injector, &chunk, |item| item.flags.set(block_group::METADATA));
            json!({"logical": chunk.logical, "have": block_group::METADATA, "expect": chunk.flags.0})
        }),
        Case::new("block-group-item", |injector| {
            let chunk = data(injector);
            edit_group(injector, &chunk, |item| item.chunk_objectid.set(255));
            json!({"logical": chunk.logical, "field": "chunk_objectid", "have": 255, "expect": 256})
        }),
        Case::new("block-group-tree", |injector| {
            injector.superblocks(|s| s.compat_ro_flags.set(s.compat_ro_flags.get() | compat_ro::BLOCK_GROUP_TREE));
            json!({"logical": data(injector).logical, "have": 2, "expect": 11})
        })
        .also(&["tree-missing"]),
        Case::new("extent-outside", |injector| {
            let key = Key::new(BEYOND, KeyType::EXTENT_ITEM, 4096);
            injector.insert_item(objectid::EXTENT_TREE, key, &extent_item(extent::DATA));
            json!({"logical": BEYOND, "length": 4096})
        })
        .also(&["super-bytes-used"]),
        Case::new("extent-type", |injector| {
            let logical = data(injector).logical;
            let items = injector.items(objectid::EXTENT_TREE);
            let first =
                items.into_iter().find(|(key, _)| key.key_type == KeyType::EXTENT_ITEM && key.objectid >= logical.0);
            let key = first.unwrap().0;
            injector.item_as(objectid::EXTENT_TREE, key, |item: &mut ExtentItem| item.flags.set(extent::TREE_BLOCK));
            json!({"logical": key.objectid, "have": extent::TREE_BLOCK, "chunk_type": block_group::DATA})
        }),
        Case::new("chunk-tree-block-outside", |injector| {
            let chunk = system(injector);
            retype(injector, &chunk, block_group::METADATA);
            json!({"logical": injector.volume().superblock().chunk_root(), "chunk_type": block_group::METADATA})
        })
        .also(&["sys-array-mismatch", "chunk-type-missing"]),
        Case::new("system-chunk-foreign", |injector| {
            let copy = copy_block(injector, injector.root(objectid::DEV_TREE).logical, &system(injector));
            let key = Key::new(copy.0, KeyType::METADATA_ITEM, 0);
            injector.insert_item(objectid::EXTENT_TREE, key, &extent_item(extent::TREE_BLOCK));
            json!({"logical": copy, "owner": objectid::DEV_TREE})
        })
        .also(&["block-group-used", "free-space-used", "super-bytes-used"]),
        Case::new("extent-over-superblock", |injector| {
            let volume = injector.volume();
            let place = |chunk: &ChunkMapping| {
                let offsets =
                    chunk.stripes.iter().filter_map(|stripe| SUPER_OFFSETS[1].0.checked_sub(stripe.physical.0));
                let offset = offsets.into_iter().find(|offset| *offset < chunk.length)?;
                Some((chunk.logical.0 + offset, chunk.flags.contains(block_group::DATA)))
            };
            let (logical, is_data) = volume.chunks().iter().find_map(place).expect("a chunk holds the mirror");
            let (key, flags) = match is_data {
                true => (Key::new(logical, KeyType::EXTENT_ITEM, 4096), extent::DATA),
                false => (Key::new(logical, KeyType::METADATA_ITEM, 0), extent::TREE_BLOCK),
            };
            injector.insert_item(objectid::EXTENT_TREE, key, &extent_item(flags));
            json!({"logical": logical})
        })
        .also(&["block-group-used", "free-space-used", "super-bytes-used"]),
    ]
}

pub fn free_space_cases() -> Vec<Case> {
    const TREE: u64 = objectid::FREE_SPACE_TREE;
    fn edit_info(injector: &Injector, edit: impl Fn(&mut FreeSpaceInfo)) -> Logical {
        let chunk = data(injector);
        injector.item_as(TREE, info_key(&chunk), edit);
        chunk.logical
    }
    fn replace_last_free(injector: &Injector, start: i64, length: i64) -> (Key, Key) {
        let key = last_free(injector);
        let (objectid, offset) = (key.objectid.wrapping_add_signed(start), key.offset.wrapping_add_signed(length));
        let changed = Key { objectid, offset, ..key };
        change_key(injector, TREE, key, changed);
        (key, changed)
    }
    vec![
        Case::new("free-space-info-missing", |injector| {
            let chunk = data(injector);
            injector.remove_item(TREE, info_key(&chunk));
            json!({"logical": chunk.logical})
        }),
        Case::new("free-space-item", |injector| {
            let (key, changed) = replace_last_free(injector, 0, 65536);
            json!({"key": changed, "field": "length", "have": changed.offset, "expect": key.offset})
        }),
        Case::new("free-space-count", |injector| {
            let logical = edit_info(injector, |info| info.extent_count.set(info.extent_count.get() + 1));
            json!({"logical": logical})
        }),
        Case::new("free-space-form", |injector| {
            let logical = edit_info(injector, |info| info.flags.set(1));
            json!({"logical": logical, "key": last_free(injector)})
        }),
        Case::new("free-space-overlap", |injector| {
            let key = last_free(injector);
            let inside = key.objectid + 4096;
            injector.insert_item(TREE, Key { objectid: inside, offset: 4096, ..key }, &[]);
            json!({"start": inside, "length": 4096})
        })
        .also(&["free-space-count"]),
        Case::new("free-space-used", |injector| {
            let (key, changed) = replace_last_free(injector, -4096, 4096);
            json!({"start": changed.objectid, "length": key.objectid - changed.objectid})
        }),
        Case::new("free-space-lost", |injector| {
            let (key, _) = replace_last_free(injector, 4096, -4096);
            json!({"start": key.objectid, "length": 4096})
        }),
        Case::new("free-space-orphan", |injector| {
            let key = Key::new(BEYOND, KeyType::FREE_SPACE_INFO, 65536);
            injector.insert_item(TREE, key, FreeSpaceInfo::zeroed().as_bytes());
            json!({"key": key})
        }),
        // Above what mkfs made first, where a balance has emptied a block group.
        Case::new("free-space-gone", |injector| {
            let chunks: Vec<_> = injector.volume().chunks().iter().cloned().collect();
            let ends = [21 << 20].into_iter().chain(chunks.iter().map(|chunk| chunk.end().0));
            let gap = ends.zip(&chunks).find(|(end, next)| *end >= 21 << 20 && end + 65536 <= next.logical.0);
            let place = gap.expect("a balance has left a gap").0;
            let key = Key::new(place, KeyType::FREE_SPACE_INFO, 65536);
            injector.insert_item(TREE, key, FreeSpaceInfo::zeroed().as_bytes());
            json!({"key": key})
        })
        .on("convert"),
        Case::new("free-space-adjacent", |injector| {
            let is_extent = |key: &Key| key.key_type == KeyType::FREE_SPACE_EXTENT && key.offset > 8192;
            let groups: Vec<u64> = injector.volume().chunks().iter().map(|chunk| chunk.logical.0).collect();
            let items = injector.items(TREE);
            let of_chunk = |key: &Key| groups.iter().rev().find(|group| **group <= key.objectid).copied();
            let (key, _) = items.iter().find(|(key, _)| is_extent(key) && of_chunk(key).is_some()).unwrap().clone();
            let middle = key.objectid + 4096;
            change_key(injector, TREE, key, Key { offset: 4096, ..key });
            injector.insert_item(TREE, Key { objectid: middle, offset: key.offset - 4096, ..key }, &[]);
            let info = items.iter().rfind(|(it, _)| it.key_type == KeyType::FREE_SPACE_INFO && *it < key).unwrap().0;
            injector.item_as(TREE, info, |info: &mut FreeSpaceInfo| info.extent_count += 1);
            json!({"logical": info.objectid, "start": middle})
        }),
        Case::new("free-space-leftover", |injector| {
            let key = Key::new(65536, KeyType::FREE_SPACE_INFO, 65536);
            injector.insert_item(TREE, key, FreeSpaceInfo::zeroed().as_bytes());
            json!({"logical": 65536})
        }),
        Case::new("free-space-tree-not-valid", |injector| {
            injector
                .superblocks(|s| s.compat_ro_flags.set(s.compat_ro_flags.get() & !compat_ro::FREE_SPACE_TREE_VALID));
            json!({})
        }),
    ]
}
