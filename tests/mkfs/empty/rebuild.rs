//! Trees that are made anew of the facts of a filesystem that the kernel wrote say what the kernel's trees say.

use std::collections::BTreeMap;

use rbtrfs::block::extent_item::{ExtentKind, Record};
use rbtrfs::block::reference::Reference;
use rbtrfs::disk::extent::{ExtentItem, InlineRef, InlineRefs, TreeBlockInfo};
use rbtrfs::disk::fields::Uuid;
use rbtrfs::disk::flags::extent::FULL_BACKREF;
use rbtrfs::disk::flags::{compat_ro, incompat};
use rbtrfs::disk::volume::{DevItem, DevStatsItem};
use rbtrfs::disk::{Key, KeyType, Logical, Transid, objectid};
use rbtrfs::internals::{MemoryBudget, Part, Table, Writer};
use rbtrfs::rebuild::{
    BlockRef, DataRange, DataRef, ExtentTree, GroupSpace, block_group_items, chunk_tree_items, device_tree_items,
    free_space_tree_items,
};
use rbtrfs::space::FreeExtents;
use rbtrfs::tree::build::BuiltBlock;
use rbtrfs::volume::chunk_items::dev_extents;
use rbtrfs::volume::{ChunkMapping, Volume};

use crate::support::contents::{for_each_item, tree, trees};
use crate::support::random::Random;
use crate::support::{kernel_image_names, kernel_image_or_skip, open};

type Items = BTreeMap<Key, Vec<u8>>;

fn items_of(volume: &Volume, id: u64) -> Items {
    let mut items = Items::new();
    for_each_item(volume, &tree(volume, id), |item| drop(items.insert(item.key, item.data.to_vec())));
    items
}

/// The records of an extent tree, in any order.
#[derive(Default)]
struct Facts {
    blocks: Vec<BlockRef>,
    data: Vec<DataRef>,
}

const SMALL: [KeyType; 4] =
    [KeyType::TREE_BLOCK_REF, KeyType::SHARED_BLOCK_REF, KeyType::EXTENT_DATA_REF, KeyType::SHARED_DATA_REF];

impl Facts {
    fn of(items: &Items) -> Self {
        let mut facts = Self::default();
        for (key, data) in items {
            let is_block = key.key_type == KeyType::METADATA_ITEM;
            if !is_block && key.key_type != KeyType::EXTENT_ITEM {
                continue;
            }
            let logical = Logical(key.objectid);
            let (extent, rest) = ExtentItem::read_prefix(data).unwrap();
            // The kernel notes the first key that a block had when it was made, and none with skinny metadata.
            let mut first_key = Key::MIN;
            let (mut block, mut inline) = (is_block.then_some(key.offset as u8), rest);
            if !is_block && extent.flags.get() & rbtrfs::disk::flags::extent::TREE_BLOCK != 0 {
                let (info, rest) = TreeBlockInfo::read_prefix(rest).unwrap();
                (block, inline) = (Some(info.level), rest);
                first_key = Key::from(&info.key);
            }
            let generation = Transid(extent.generation.get());
            let range = DataRange { start: logical, length: key.offset, generation };
            let mut refs = Vec::new();
            for inline in InlineRefs::new(inline) {
                match inline.unwrap() {
                    InlineRef::Owner { root } => facts.data.push(DataRef::owner(range, root)),
                    inline => refs.extend(Reference::of_inline(inline)),
                }
            }
            let own =
                items.range(Key::new(key.objectid, KeyType(0), 0)..=Key::new(key.objectid, KeyType(u8::MAX), u64::MAX));
            for (key, data) in own.filter(|(key, _)| SMALL.contains(&key.key_type)) {
                refs.extend(Reference::of_item(&rbtrfs::block::ItemRef { slot: 0, key: *key, offset: 0, data }));
            }
            for (reference, count) in refs {
                let level = block.unwrap_or_default();
                let built = BuiltBlock { logical, level, first_key };
                match reference {
                    Reference::TreeBlock { root } => facts.push(BlockRef::tree_block(&built, generation, root), extent),
                    Reference::SharedBlock { parent } => {
                        facts.push(BlockRef::shared_block(&built, generation, parent), extent)
                    }
                    Reference::ExtentData { root, objectid, offset } => {
                        // In parts, which add up.
                        facts.data.push(DataRef::extent_data(range, root, objectid, offset, 1));
                        facts.data.extend(
                            (count > 1).then(|| DataRef::extent_data(range, root, objectid, offset, count - 1)),
                        );
                    }
                    Reference::SharedData { parent } => facts.data.push(DataRef::shared_data(range, parent, count)),
                }
            }
        }
        facts
    }

    fn push(&mut self, block: BlockRef, extent: &ExtentItem) {
        let is_full = extent.flags.get() & FULL_BACKREF != 0;
        self.blocks.push(if is_full { block.with_full_backref() } else { block });
    }
}

/// A table of records that come in a random order and do not fit into memory.
fn table<R: rbtrfs::internals::Record>(mut records: Vec<R>, budget: &MemoryBudget) -> Table<R> {
    let (writer, mut part, mut random) = (Writer::new(budget), Part::default(), Random(7));
    while !records.is_empty() {
        let index = random.below(records.len());
        writer.push(&mut part, records.swap_remove(index));
    }
    writer.finish(vec![part]).unwrap()
}

/// What the items of an extent tree say, whether references stand in an extent's item or in their own.
fn meaning(items: &Items) -> BTreeMap<(Key, Vec<u8>), u64> {
    let mut meaning = BTreeMap::new();
    for (key, data) in items {
        let is_skinny = key.key_type == KeyType::METADATA_ITEM;
        if let Some((reference, count)) =
            Reference::of_item(&rbtrfs::block::ItemRef { slot: 0, key: *key, offset: 0, data })
        {
            *meaning
                .entry((reference.key(Logical(key.objectid)), format!("{reference:?}").into_bytes()))
                .or_default() += count;
        } else if is_skinny || key.key_type == KeyType::EXTENT_ITEM {
            let (extent, rest) = ExtentItem::read_prefix(data).unwrap();
            let is_block = extent.flags.get() & rbtrfs::disk::flags::extent::TREE_BLOCK != 0;
            let kind = match (is_skinny, is_block) {
                (true, _) => ExtentKind::Block { level: key.offset as u8 },
                (false, true) => ExtentKind::Block { level: TreeBlockInfo::read_prefix(rest).unwrap().0.level },
                (false, false) => ExtentKind::Data { length: key.offset },
            };
            let mut record = Record::parse(*key, kind, data).unwrap();
            for (reference, count) in std::mem::take(&mut record.refs) {
                *meaning
                    .entry((reference.key(Logical(key.objectid)), format!("{reference:?}").into_bytes()))
                    .or_default() += count;
            }
            meaning.insert((*key, record.to_bytes()), record.extent.refs.get());
        } else {
            meaning.insert((*key, data.clone()), 0);
        }
    }
    meaning
}

/// Collects what a tree is made of, in order.
fn collect(make: impl FnOnce(&mut dyn FnMut(Key, &[u8]) -> rbtrfs::Result<()>) -> rbtrfs::Result<()>) -> Items {
    let (mut items, mut last) = (Items::new(), None);
    make(&mut |key, data| {
        assert!(last.replace(key) < Some(key), "{key} is out of order");
        items.insert(key, data.to_vec());
        Ok(())
    })
    .unwrap();
    items
}

#[test]
fn trees_of_the_kernel_are_rebuilt_from_their_facts() {
    let names = kernel_image_names("trees_of_the_kernel_are_rebuilt_from_their_facts");
    let mut seen = 0;
    for name in &names {
        let Some(images) = kernel_image_or_skip(name) else { return };
        let volume = open(&images);
        let superblock = volume.superblock();
        let unknown = incompat::EXTENT_TREE_V2 | incompat::RAID_STRIPE_TREE | incompat::ZONED;
        if superblock.incompat_flags.get() & unknown != 0 || superblock.num_devices.get() > images.len() as u64 {
            continue;
        }
        seen += 1;
        extent_tree(&volume, name);
        let chunks: Vec<&ChunkMapping> = volume.chunks().iter().collect();
        let of_chunks = items_of(&volume, objectid::CHUNK_TREE);
        let devices = of_chunks.iter().filter(|(key, _)| key.key_type == KeyType::DEV_ITEM);
        let devices = devices.map(|(_, data)| *DevItem::read_prefix(data).unwrap().0);
        let made = collect(|emit| {
            chunk_tree_items(devices, chunks.iter().copied(), superblock.sectorsize.get(), |key, data| emit(key, data))
        });
        assert!(same_chunks(&made, &of_chunks), "{name}: chunk tree");
        device_tree(&volume, &chunks, name);
        free_space_tree(&volume, name);
    }
    assert!(seen > 15, "{seen} of {names:?}");
}

/// Whether both are chunk trees of the same chunks: what a device's alignment was differs with the age of a filesystem, and
/// where it means nothing `sub_stripes` is 0 or 1.
fn same_chunks(made: &Items, kept: &Items) -> bool {
    let meaning = |(key, data): (&Key, &Vec<u8>)| {
        let mut data = data.clone();
        if key.key_type == KeyType::CHUNK_ITEM {
            data[32..44].fill(0);
            data[46] = data[46].max(1);
        }
        (*key, data)
    };
    made.iter().map(meaning).eq(kept.iter().map(meaning))
}

fn extent_tree(volume: &Volume, name: &str) {
    let kept = items_of(volume, objectid::EXTENT_TREE);
    let nodesize = volume.format().nodesize;
    let is_group = |(key, _): &(&Key, &Vec<u8>)| key.key_type == KeyType::BLOCK_GROUP_ITEM;
    let facts = Facts::of(&kept);
    let budget = MemoryBudget::new(0);
    let (blocks, data) = (table(facts.blocks, &budget), table(facts.data, &budget));
    let is_skinny = volume.superblock().has_incompat(incompat::SKINNY_METADATA);
    let extents = ExtentTree { nodesize, is_skinny, blocks: &blocks, data: &data };
    let groups = kept.iter().filter(is_group).map(|(key, data)| (*key, data));
    let made = collect(|emit| extents.for_each(&[], groups, |key, data| emit(key, data)));
    assert!(meaning(&made) == meaning(&kept), "{name}: extent tree");
}

fn device_tree(volume: &Volume, chunks: &[&ChunkMapping], name: &str) {
    let kept = items_of(volume, objectid::DEV_TREE);
    let stats = kept.iter().filter(|(key, _)| key.key_type == KeyType::PERSISTENT_ITEM && key.objectid == 0);
    let stats = stats.map(|(key, data)| (key.offset, *DevStatsItem::read_prefix(data).unwrap().0));
    let mut extents: Vec<_> = chunks.iter().flat_map(|chunk| dev_extents(chunk, Uuid([1; 16]))).collect();
    extents.sort_unstable_by_key(|(key, _)| *key);
    let made = collect(|emit| device_tree_items(stats, extents.into_iter(), |key, data| emit(key, data)));
    // What a replacement that has ended left is no fact. The kernel leaves the uuid of the chunk tree zero in those that it makes.
    let meaning = |items: &Items| -> Items {
        let extents = items.iter().filter(|(key, _)| match key.key_type {
            KeyType::PERSISTENT_ITEM => key.objectid == 0,
            key_type => key_type == KeyType::DEV_EXTENT,
        });
        extents
            .map(|(key, data)| match key.key_type {
                KeyType::DEV_EXTENT => (*key, data[..32].to_vec()),
                _ => (*key, data.clone()),
            })
            .collect()
    };
    assert!(meaning(&made) == meaning(&kept), "{name}: device tree");
}

/// Block groups and what of them is free, by the extents.
fn free_space_tree(volume: &Volume, name: &str) {
    let extents = items_of(volume, objectid::EXTENT_TREE);
    let nodesize = u64::from(volume.format().nodesize);
    // The kernel lists as free what it never gives out, too.
    let whole = |chunk: &ChunkMapping| {
        let mut free = FreeExtents::default();
        free.add(chunk.logical, chunk.length);
        (chunk.logical, free)
    };
    let mut free: BTreeMap<Logical, FreeExtents> = volume.chunks().iter().map(whole).collect();
    let mut used: BTreeMap<Logical, u64> = BTreeMap::new();
    for key in extents.keys() {
        let length = match key.key_type {
            KeyType::METADATA_ITEM => nodesize,
            KeyType::EXTENT_ITEM => key.offset,
            _ => continue,
        };
        let chunk = volume.chunks().find(Logical(key.objectid)).unwrap();
        free.get_mut(&chunk.logical).unwrap().remove(Logical(key.objectid), length);
        *used.entry(chunk.logical).or_default() += length;
    }
    let groups = || {
        volume.chunks().iter().map(|chunk| {
            let ChunkMapping { logical, length, flags, .. } = *chunk;
            GroupSpace {
                logical,
                length,
                flags,
                used: used.get(&logical).copied().unwrap_or_default(),
                free: &free[&logical],
            }
        })
    };
    let has_tree = |id| trees(volume).iter().any(|root| root.key.objectid == id);
    let id = if has_tree(objectid::BLOCK_GROUP_TREE) { objectid::BLOCK_GROUP_TREE } else { objectid::EXTENT_TREE };
    let mut kept = items_of(volume, id);
    kept.retain(|key, _| key.key_type == KeyType::BLOCK_GROUP_ITEM);
    let made = collect(|emit| block_group_items(groups()).try_for_each(|(key, item)| emit(key, item.as_ref())));
    assert!(made == kept, "{name}: block group items");
    let is_valid = volume.superblock().compat_ro_flags.get() & compat_ro::FREE_SPACE_TREE_VALID != 0;
    if !is_valid {
        return;
    }
    let sectorsize = volume.format().sectorsize;
    let made = collect(|emit| free_space_tree_items(groups(), sectorsize, |key, data| emit(key, data)));
    let mut kept = items_of(volume, objectid::FREE_SPACE_TREE);
    // mkfs.btrfs leaves those of the block groups that it began with.
    kept.retain(|key, _| volume.chunks().find(Logical(key.objectid)).is_some());
    for GroupSpace { logical, length, .. } in groups() {
        let own = Key::new(logical.0, KeyType(0), 0)..Key::new(logical.0 + length, KeyType(0), 0);
        let (made, kept) = (made.range(own.clone()), kept.range(own));
        let info = |mut items: std::collections::btree_map::Range<'_, Key, Vec<u8>>| items.next().unwrap().1.clone();
        let (made_info, kept_info) = (info(made.clone()), info(kept.clone()));
        assert_eq!(made_info[..4], kept_info[..4], "{name}: free extents of {logical}");
        // A group with about as many extents as bitmaps are worth has the form that it had before.
        if made_info == kept_info {
            assert!(made.eq(kept), "{name}: free space of {logical}");
        }
    }
}

/// Records that contradict each other.
#[test]
fn no_tree_is_made_of_facts_that_contradict_each_other() {
    let block = |logical, level| BuiltBlock { logical: Logical(logical), level, first_key: Key::MIN };
    let tree = |logical, level, generation| BlockRef::tree_block(&block(logical, level), Transid(generation), 5);
    let range =
        |start, length, generation| DataRange { start: Logical(start), length, generation: Transid(generation) };
    let file = |start, length, generation| DataRef::extent_data(range(start, length, generation), 5, 257, 0, 1);
    let sound = file(1 << 20, 8192, 3);
    for (what, blocks, data) in [
        ("two levels", vec![tree(0, 0, 3), BlockRef::tree_block(&block(0, 1), Transid(3), 7)], vec![]),
        ("two generations", vec![tree(0, 0, 3), BlockRef::tree_block(&block(0, 0), Transid(4), 7)], vec![]),
        ("a block without a reference", vec![BlockRef::full_backref(&block(0, 0), Transid(3))], vec![]),
        ("blocks overlap", vec![tree(0, 0, 3), tree(4096, 0, 3)], vec![]),
        ("data overlap", vec![], vec![sound, file((1 << 20) + 4096, 4096, 3)]),
        ("block in data", vec![tree((1 << 20) + 4096, 0, 3)], vec![sound]),
        ("block and data", vec![tree(1 << 20, 0, 3)], vec![sound]),
        ("two lengths", vec![], vec![sound, file(1 << 20, 4096, 3)]),
        ("two ages", vec![], vec![sound, file(1 << 20, 8192, 4)]),
        (
            "two owners",
            vec![],
            vec![sound, DataRef::owner(range(1 << 20, 8192, 3), 5), DataRef::owner(range(1 << 20, 8192, 3), 7)],
        ),
        ("no reference", vec![], vec![DataRef::owner(range(1 << 20, 8192, 3), 5)]),
        ("no such addresses", vec![], vec![file(u64::MAX - 4095, 8192, 3)]),
    ] {
        let budget = MemoryBudget::new(1 << 20);
        let (blocks, data) = (table(blocks, &budget), table(data, &budget));
        let extents = ExtentTree { nodesize: 16384, is_skinny: true, blocks: &blocks, data: &data };
        let error = extents.for_each(&[], std::iter::empty::<(Key, Vec<u8>)>(), |_, _| Ok(())).expect_err(what);
        assert!(matches!(error, rbtrfs::Error::Extent { .. }), "{what}: {error}");
    }
}
