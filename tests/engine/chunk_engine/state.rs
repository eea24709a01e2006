//! All that a filesystem says of its chunks, read in the simplest way, against what follows from the chunks alone.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use rbtrfs::disk::flags::block_group::{RAID1C3, RAID1C4, RAID5, RAID6, SYSTEM};
use rbtrfs::disk::flags::compat_ro::FREE_SPACE_TREE_VALID;
use rbtrfs::disk::flags::incompat::{RAID1C34, RAID56};
use rbtrfs::disk::volume::{BlockGroupItem, Chunk, DevExtent, DevItem};
use rbtrfs::disk::{KeyType, Logical, objectid};
use rbtrfs::tree::TreeRoot;
use rbtrfs::volume::{ChunkMapping, Volume, superblock_ranges};

use crate::support::*;

/// By address.
pub type Chunks = BTreeMap<Logical, ChunkMapping>;
/// Starts and ends, in order, neither empty nor adjacent.
type Ranges = Vec<(u64, u64)>;

fn chunks(images: &[PathBuf]) -> Chunks {
    open(images).chunks().iter().map(|chunk| (chunk.logical, chunk.clone())).collect()
}

/// The chunks of a filesystem, and what does not follow from them.
#[derive(Clone)]
pub struct State {
    pub chunks: Chunks,
    /// Free space of no chunk: mkfs.btrfs leaves that of the chunks that it made for a while.
    strays: BTreeSet<ItemKey>,
}

type ItemKey = (u64, u8, u64);
/// Items of one of the trees that tell of chunks.
type Items = BTreeMap<ItemKey, Vec<u8>>;

fn items_of(volume: &Volume, root: &TreeRoot, types: &[KeyType]) -> Items {
    let mut items = Items::new();
    let (first, last) = (rbtrfs::disk::Key::MIN, rbtrfs::disk::Key::MAX);
    let read = root.range(volume, first, last, |item| {
        if types.contains(&item.key.key_type) {
            items.insert((item.key.objectid, item.key.key_type.0, item.key.offset), item.data.to_vec());
        }
    });
    read.unwrap_or_else(|bad| panic!("{bad}"));
    items
}

fn merged(mut ranges: Ranges) -> Ranges {
    ranges.sort_unstable();
    let mut merged = Ranges::new();
    for (start, end) in ranges.into_iter().filter(|(start, end)| start < end) {
        match merged.last_mut() {
            Some(last) if last.1 >= start => last.1 = last.1.max(end),
            _ => merged.push((start, end)),
        }
    }
    merged
}

/// What `taken`, which do not overlap, leave of a chunk.
fn rest(chunk: &ChunkMapping, taken: &[(u64, u64)]) -> Ranges {
    let ends = [chunk.logical.0].into_iter().chain(taken.iter().map(|(_, end)| *end));
    let starts = taken.iter().map(|(start, _)| *start).chain([chunk.end().0]);
    merged(ends.zip(starts).collect())
}

/// The array's entries by the address of their chunk; each is what the item of the chunk is.
fn array(volume: &Volume) -> BTreeMap<u64, Vec<u8>> {
    let mut entries = BTreeMap::new();
    let mut array = volume.superblock().sys_chunk_array();
    while !array.is_empty() {
        let (key, rest) = array.split_at(17);
        assert_eq!((&key[..8], key[8]), (&256_u64.to_le_bytes()[..], 228));
        let stripes = u16::from_le_bytes([rest[44], rest[45]]);
        let (chunk, rest) = rest.split_at(48 + 32 * usize::from(stripes));
        let logical = u64::from_le_bytes(key[9..].try_into().unwrap());
        assert_eq!(entries.insert(logical, chunk.to_vec()), None, "chunk {logical} is in the array twice");
        array = rest;
    }
    entries
}

fn free_ranges(items: &Items, chunk: &ChunkMapping, sectorsize: u64) -> Ranges {
    let mut ranges = Ranges::new();
    let info = (chunk.logical.0, KeyType::FREE_SPACE_INFO.0, chunk.length);
    assert!(items.contains_key(&info), "chunk {} has no free space info", chunk.logical);
    for ((start, key_type, length), data) in items.range((chunk.logical.0, 0, 0)..(chunk.end().0, 0, 0)) {
        match KeyType(*key_type) {
            KeyType::FREE_SPACE_EXTENT => ranges.push((*start, start + length)),
            KeyType::FREE_SPACE_BITMAP => {
                let set = (0..length / sectorsize).filter(|bit| data[(bit / 8) as usize] >> (bit % 8) & 1 == 1);
                ranges.extend(set.map(|bit| (start + bit * sectorsize, start + (bit + 1) * sectorsize)));
            }
            _ => assert_eq!((*start, *length), (chunk.logical.0, chunk.length), "free space info elsewhere"),
        }
    }
    // Over superblocks nothing is ever allocated, and whether that is free has been told both ways.
    ranges.extend(superblock_ranges(chunk).into_iter().map(|(start, end)| (start.0, end.0)));
    merged(ranges)
}

impl State {
    pub fn of(images: &[PathBuf]) -> Self {
        let chunks = chunks(images);
        let strays = free_space(&open(images)).map(|items| strays(&items, &chunks)).unwrap_or_default();
        Self { chunks, strays }
    }

    /// Fails unless the filesystem has these chunks, and all else that tells of chunks follows from them.
    #[track_caller]
    pub fn assert_follows(&self, images: &[PathBuf], what: &str) {
        let volume = open(images);
        assert_chunk_tree(&volume, &self.chunks, what);
        assert_devices(&volume, &self.chunks, what);
        assert_groups(&volume, self, what);
    }
}

fn tree(volume: &Volume, id: u64) -> Option<TreeRoot> {
    TreeRoot::root_tree(volume).children(volume).into_iter().find(|root| root.key.objectid == id)
}

/// Chunk items, the array and the features that profiles need.
fn assert_chunk_tree(volume: &Volume, expected: &Chunks, what: &str) {
    let chunk_items = items_of(volume, &TreeRoot::chunk_tree(volume), &[KeyType::CHUNK_ITEM]);
    let in_tree = chunk_items.iter().map(|((_, _, logical), data)| {
        let (chunk, stripes, _) = Chunk::read_with_stripes(data).unwrap();
        (Logical(*logical), ChunkMapping::new(Logical(*logical), chunk, stripes).unwrap())
    });
    assert_eq!(&in_tree.collect::<Chunks>(), expected, "{what}: chunk items");
    let system = chunk_items.iter().map(|((_, _, logical), data)| (*logical, data.clone()));
    let system = system.filter(|(logical, _)| expected[&Logical(*logical)].flags.contains(SYSTEM));
    assert_eq!(array(volume), system.collect(), "{what}: the system chunk array");
    for (feature, profiles) in [(RAID56, RAID5 | RAID6), (RAID1C34, RAID1C3 | RAID1C4)] {
        let is_used = expected.values().any(|chunk| chunk.flags.0 & profiles != 0);
        assert_eq!(volume.superblock().has_incompat(feature), is_used, "{what}: feature {feature:#x}");
    }
}

/// Device items and device extents.
fn assert_devices(volume: &Volume, expected: &Chunks, what: &str) {
    let mut used = BTreeMap::new();
    let mut stripes = BTreeSet::new();
    for chunk in expected.values() {
        for stripe in &chunk.stripes {
            *used.entry(stripe.devid).or_default() += chunk.stripe_size();
            stripes.insert((stripe.devid, stripe.physical.0, chunk.stripe_size(), chunk.logical));
        }
    }
    for ((_, _, devid), data) in items_of(volume, &TreeRoot::chunk_tree(volume), &[KeyType::DEV_ITEM]) {
        let bytes_used = DevItem::read_prefix(&data).unwrap().0.bytes_used.get();
        assert_eq!(bytes_used, used.remove(&devid).unwrap_or(0), "{what}: used of device {devid}");
    }
    assert_eq!(used, BTreeMap::new(), "{what}: devices without items");
    let extents = items_of(volume, &tree(volume, objectid::DEV_TREE).unwrap(), &[KeyType::DEV_EXTENT]);
    let extents = extents.iter().map(|((devid, _, physical), data)| {
        let (extent, _) = DevExtent::read_prefix(data).unwrap();
        (*devid, *physical, extent.length.get(), extent.chunk())
    });
    assert_eq!(extents.collect::<BTreeSet<_>>(), stripes, "{what}: device extents");
}

/// Block groups, what of them is used, and their free space.
fn assert_groups(volume: &Volume, state: &State, what: &str) {
    let expected = &state.chunks;
    let extents = items_of(
        volume,
        &tree(volume, objectid::EXTENT_TREE).unwrap(),
        &[KeyType::EXTENT_ITEM, KeyType::METADATA_ITEM],
    );
    let nodesize = u64::from(volume.format().nodesize);
    let taken: Ranges = extents
        .keys()
        .map(|(start, key_type, offset)| {
            (*start, start + if KeyType(*key_type) == KeyType::METADATA_ITEM { nodesize } else { *offset })
        })
        .collect();
    assert!(taken.windows(2).all(|pair| pair[0].1 <= pair[1].0), "{what}: extents overlap");
    let group_tree = tree(volume, objectid::BLOCK_GROUP_TREE).or(tree(volume, objectid::EXTENT_TREE)).unwrap();
    let mut groups = items_of(volume, &group_tree, &[KeyType::BLOCK_GROUP_ITEM]);
    let free_space = free_space(volume);
    let mut used_by_all = 0;
    for chunk in expected.values() {
        let [first, end] = [chunk.logical, chunk.end()].map(|at| taken.partition_point(|(start, _)| *start < at.0));
        let within = &taken[first..end];
        assert!(within.last().is_none_or(|(_, end)| *end <= chunk.end().0), "{what}: an extent leaves its chunk");
        let used = bytes(within);
        used_by_all += used;
        let key = (chunk.logical.0, KeyType::BLOCK_GROUP_ITEM.0, chunk.length);
        let item = groups.remove(&key).unwrap_or_else(|| panic!("{what}: chunk {} has no group", chunk.logical));
        let (item, _) = BlockGroupItem::read_prefix(&item).unwrap();
        assert_eq!((item.used.get(), item.flags.get()), (used, chunk.flags.0), "{what}: group {}", chunk.logical);
        if let Some(items) = &free_space {
            let free = free_ranges(items, chunk, volume.format().sectorsize.into());
            assert_eq!(free, rest(chunk, within), "{what}: free space of chunk {}", chunk.logical);
        }
    }
    assert_eq!(volume.superblock().bytes_used.get(), used_by_all, "{what}: bytes used");
    assert_eq!(bytes(&taken), used_by_all, "{what}: extents without a chunk");
    assert_eq!(groups.keys().next(), None, "{what}: a group without a chunk");
    let strays = free_space.map(|items| strays(&items, expected)).unwrap_or_default();
    assert_eq!(strays, state.strays, "{what}: free space without a chunk");
}

/// All of the free space tree, if there is one that is used.
fn free_space(volume: &Volume) -> Option<Items> {
    let is_valid = volume.superblock().has_compat_ro(FREE_SPACE_TREE_VALID);
    let root = tree(volume, objectid::FREE_SPACE_TREE).filter(|_| is_valid)?;
    let types = [KeyType::FREE_SPACE_INFO, KeyType::FREE_SPACE_EXTENT, KeyType::FREE_SPACE_BITMAP];
    Some(items_of(volume, &root, &types))
}

fn strays(items: &Items, chunks: &Chunks) -> BTreeSet<ItemKey> {
    let is_in_chunk = |start: u64| {
        let before = chunks.range(..=Logical(start)).next_back();
        before.is_some_and(|(_, chunk)| start < chunk.end().0)
    };
    items.keys().filter(|(start, _, _)| !is_in_chunk(*start)).copied().collect()
}

fn bytes(ranges: &[(u64, u64)]) -> u64 {
    ranges.iter().map(|(start, end)| end - start).sum()
}
