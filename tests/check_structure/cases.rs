//! One case of damage for each kind of problem with the structure.

use rbtrfs::disk::extent::ExtentItem;
use rbtrfs::disk::flags::{block_group, compat_ro, extent, incompat, superblock};
use rbtrfs::disk::inode::{FileExtentDisk, FileExtentItem};
use rbtrfs::disk::node::Header;
use rbtrfs::disk::space::{FreeSpaceEntry, FreeSpaceHeader, FreeSpaceInfo};
use rbtrfs::disk::superblock::SUPER_OFFSETS;
use rbtrfs::disk::volume::{BlockGroupItem, Chunk, DevExtent, DevItem, DevStatsItem, Stripe};
use rbtrfs::disk::{CsumType, DiskKey, Key, KeyType, Logical, objectid};
use rbtrfs::tree::TreeRoot;
use rbtrfs::volume::ChunkMapping;
use serde_json::{Value, json};
use zerocopy::{FromBytes, IntoBytes};

use crate::support::inject::Injector;

const ARRAY: usize = size_of::<DiskKey>() + size_of::<Chunk>() + 2 * size_of::<Stripe>();
/// An address above all chunks.
const BEYOND: u64 = 1 << 40;

/// Damage of one kind to a filesystem that the kernel made. `also` are the problems that come with it because it takes
/// more than one change; no other may be reported.
pub struct Case {
    pub code: &'static str,
    pub image: &'static str,
    pub also: &'static [&'static str],
    /// Returns values that the problem must have.
    pub damage: fn(&mut Injector) -> Value,
}

impl Case {
    const fn new(code: &'static str, damage: fn(&mut Injector) -> Value) -> Self {
        Self { code, image: "dup", also: &[], damage }
    }

    const fn on(self, image: &'static str) -> Self {
        Self { image, ..self }
    }

    const fn also(self, also: &'static [&'static str]) -> Self {
        Self { also, ..self }
    }
}

/// Kinds that no change of an image brings about.
pub const NOT_INJECTED: &[&str] = &["super-unreadable"];

fn chunk_of(injector: &Injector, flags: u64, last: bool) -> ChunkMapping {
    let volume = injector.volume();
    let mut chunks: Vec<_> = volume.chunks().iter().filter(|chunk| chunk.flags.contains(flags)).cloned().collect();
    if last { chunks.pop().unwrap() } else { chunks.swap_remove(0) }
}

/// The last data chunk, above all others.
fn data(injector: &Injector) -> ChunkMapping {
    chunk_of(injector, block_group::DATA, true)
}

fn system(injector: &Injector) -> ChunkMapping {
    chunk_of(injector, block_group::SYSTEM, false)
}

fn chunk_key(chunk: &ChunkMapping) -> Key {
    Key::new(objectid::FIRST_CHUNK_TREE, KeyType::CHUNK_ITEM, chunk.logical.0)
}

fn group_key(chunk: &ChunkMapping) -> Key {
    Key::new(chunk.logical.0, KeyType::BLOCK_GROUP_ITEM, chunk.length)
}

fn info_key(chunk: &ChunkMapping) -> Key {
    Key::new(chunk.logical.0, KeyType::FREE_SPACE_INFO, chunk.length)
}

fn extent_key(chunk: &ChunkMapping, stripe: usize) -> Key {
    let stripe = &chunk.stripes[stripe];
    Key::new(stripe.devid, KeyType::DEV_EXTENT, stripe.physical.0)
}

fn device_key(devid: u64) -> Key {
    Key::new(objectid::DEV_ITEMS, KeyType::DEV_ITEM, devid)
}

fn edit_chunk(injector: &Injector, chunk: &ChunkMapping, edit: impl Fn(&mut Chunk)) {
    injector.item_as(objectid::CHUNK_TREE, chunk_key(chunk), edit);
}

fn edit_stripe(injector: &Injector, chunk: &ChunkMapping, stripe: usize, edit: impl Fn(&mut Stripe)) {
    injector.item(objectid::CHUNK_TREE, chunk_key(chunk), |data| {
        let start = size_of::<Chunk>() + stripe * size_of::<Stripe>();
        edit(Stripe::mut_from_prefix(&mut data[start..]).unwrap().0);
    });
}

fn edit_group(injector: &Injector, chunk: &ChunkMapping, edit: impl Fn(&mut BlockGroupItem)) {
    injector.item_as(objectid::EXTENT_TREE, group_key(chunk), edit);
}

fn edit_device(injector: &Injector, edit: impl Fn(&mut DevItem)) {
    injector.item_as(objectid::CHUNK_TREE, device_key(1), edit);
}

fn edit_extent(injector: &Injector, chunk: &ChunkMapping, edit: impl Fn(&mut DevExtent)) {
    injector.item_as(objectid::DEV_TREE, extent_key(chunk, 1), edit);
}

fn edit_array(injector: &Injector, edit: impl Fn(&mut Chunk)) {
    injector.superblocks(|superblock| {
        let array = &mut superblock.sys_chunk_array[size_of::<DiskKey>()..];
        edit(Chunk::mut_from_prefix(array).unwrap().0);
    });
}

fn change_key(injector: &Injector, tree: u64, from: Key, to: Key) {
    injector.leaf(tree, from, |items| {
        items.iter_mut().find(|item| item.0 == from).expect("the item exists").0 = to;
        items.sort();
    });
}

/// Moves a stripe of the last data chunk with its device extent.
fn move_stripe(injector: &Injector, place: impl Fn(u64) -> u64) -> Value {
    let chunk = data(injector);
    let (key, offset) = (extent_key(&chunk, 1), place(chunk.stripes[1].physical.0));
    change_key(injector, objectid::DEV_TREE, key, Key { offset, ..key });
    edit_stripe(injector, &chunk, 1, |stripe| stripe.offset.set(offset));
    json!({"logical": chunk.logical, "devid": 1, "offset": offset})
}

/// The last free extent of the last data chunk, which a used one precedes.
fn last_free(injector: &Injector) -> Key {
    let chunk = data(injector);
    let items = injector.items(objectid::FREE_SPACE_TREE);
    let of_chunk = |item: &&(Key, Vec<u8>)| (chunk.logical.0..chunk.end().0).contains(&item.0.objectid);
    let free = items.iter().rev().filter(of_chunk).find(|item| item.0.key_type == KeyType::FREE_SPACE_EXTENT);
    free.expect("there is free space").0
}

/// Sets the type of a chunk and of its block group.
fn retype(injector: &Injector, chunk: &ChunkMapping, kind: u64) {
    let flags = chunk.flags.profile_bits() | kind;
    edit_chunk(injector, chunk, |item| item.r#type.set(flags));
    edit_group(injector, chunk, |item| item.flags.set(flags));
}

fn extent_item(flags: u64) -> Vec<u8> {
    let mut item = ExtentItem::zeroed();
    item.refs.set(1);
    item.flags.set(flags);
    item.as_bytes().to_vec()
}

fn superblock_cases() -> Vec<Case> {
    vec![
        Case::new("super-magic", |injector| {
            injector.bytes(0, SUPER_OFFSETS[0].0 + 64, 8, |magic| magic.fill(1));
            json!({"devid": 1, "offset": 65536, "have": 0x0101010101010101_u64})
        }),
        Case::new("super-mirror-absent", |injector| {
            injector.bytes(0, SUPER_OFFSETS[1].0, 4096, |block| block.fill(0));
            json!({"devid": 1, "offset": 64 << 20})
        }),
        Case::new("super-csum", |injector| {
            injector.bytes(0, SUPER_OFFSETS[1].0 + 300, 1, |byte| byte[0] ^= 1);
            json!({"devid": 1, "offset": 64 << 20})
        }),
        Case::new("super-bytenr", |injector| {
            injector.superblock_copy(0, 1, |superblock| superblock.bytenr.set(4096));
            json!({"devid": 1, "offset": 64 << 20, "have": 4096})
        }),
        Case::new("super-stale", |injector| {
            let expect = injector.volume().superblock().generation().0;
            injector.superblock_copy(0, 1, |superblock| superblock.generation.set(expect - 1));
            json!({"devid": 1, "offset": 64 << 20, "have": expect - 1, "expect": expect})
        }),
        Case::new("super-mirror", |injector| {
            injector.superblock_copy(0, 1, |superblock| superblock.label[0] ^= 1);
            json!({"devid": 1, "offset": 64 << 20, "field": "label"})
        }),
        Case::new("device-stale", |injector| {
            let expect = injector.volume().superblock().generation().0;
            injector.superblocks_of(1, |superblock| superblock.generation.set(expect - 1));
            json!({"devid": 2, "have": expect - 1, "expect": expect})
        })
        .on("raid1"),
        Case::new("super-device", |injector| {
            injector.superblocks_of(1, |superblock| superblock.label[0] ^= 1);
            json!({"field": "label"})
        })
        .on("raid1"),
        Case::new("super-field", |injector| {
            injector.superblocks(|superblock| superblock.stripesize.set(4097));
            json!({"field": "stripesize", "have": 4097})
        }),
        Case::new("super-flags", |injector| {
            injector.superblocks(|superblock| superblock.incompat_flags.set(superblock.incompat_flags.get() | 1 << 60));
            json!({"field": "incompat_flags", "have": 1_u64 << 60})
        }),
        Case::new("super-compat-ro", |injector| {
            injector
                .superblocks(|superblock| superblock.compat_ro_flags.set(superblock.compat_ro_flags.get() | 1 << 60));
            json!({"have": 1_u64 << 60})
        }),
        Case::new("super-conversion", |injector| {
            injector.superblocks(|s| s.flags.set(s.flags.get() | superblock::CHANGING_FSID_V2));
            json!({"flag": "CHANGING_FSID_V2"})
        }),
        Case::new("super-error-flag", |injector| {
            injector.superblocks(|s| s.flags.set(s.flags.get() | superblock::ERROR));
            json!({})
        }),
        Case::new("super-feature", |injector| {
            injector.superblocks(|s| s.incompat_flags.set(s.incompat_flags.get() & !incompat::RAID56));
            json!({"user": "RAID5", "feature": "RAID56"})
        })
        .on("raid5"),
        Case::new("super-chunk-generation", |injector| {
            let root = injector.volume().superblock().chunk_root();
            let have = injector.volume().superblock().generation().0 + 1;
            injector.block(root, |block| Header::mut_from_prefix(block).unwrap().0.generation.set(have));
            injector.superblocks(|superblock| superblock.chunk_root_generation.set(have));
            json!({"have": have, "expect": have - 1})
        }),
        Case::new("super-dev-fsid", |injector| {
            injector.superblocks(|superblock| superblock.dev_item.fsid.0[0] ^= 1);
            json!({"devid": 1})
        }),
        Case::new("backup-root", |injector| {
            injector.superblocks(|superblock| {
                let generation = superblock.generation;
                let present = superblock.super_roots.iter_mut().find(|backup| backup.tree_root_gen == generation);
                present.unwrap().tree_root.set(4096);
            });
            json!({"field": "tree_root", "have": 4096})
        }),
        Case::new("backup-root-newer", |injector| {
            let expect = injector.volume().superblock().generation().0;
            injector.superblocks(|superblock| {
                let older = superblock.super_roots.iter_mut().find(|backup| backup.tree_root_gen.get() < expect);
                older.unwrap().tree_root_gen.set(expect + 2);
            });
            json!({"have": expect + 2, "expect": expect})
        }),
        Case::new("backup-root-missing", |injector| {
            let expect = injector.volume().superblock().generation().0;
            injector.superblocks(|superblock| {
                let present = superblock.super_roots.iter_mut().filter(|backup| backup.tree_root_gen.get() >= expect);
                present.for_each(|backup| backup.tree_root_gen.set(expect - 1));
            });
            json!({"expect": expect})
        }),
        Case::new("super-num-devices", |injector| {
            injector.superblocks(|superblock| superblock.num_devices.set(3));
            json!({"have": 3, "expect": 1})
        }),
        Case::new("super-total-bytes-short", |injector| {
            let expect = injector.volume().superblock().total_bytes.get();
            injector.superblocks(|superblock| superblock.total_bytes.set(expect - 4096));
            json!({"have": expect - 4096, "expect": expect})
        }),
        Case::new("super-total-bytes-long", |injector| {
            let expect = injector.volume().superblock().total_bytes.get();
            injector.superblocks(|superblock| superblock.total_bytes.set(expect + 4096));
            json!({"have": expect + 4096, "expect": expect})
        }),
        Case::new("super-bytes-used", |injector| {
            let expect = injector.volume().superblock().bytes_used.get();
            injector.superblocks(|superblock| superblock.bytes_used.set(expect + 4096));
            json!({"have": expect + 4096, "expect": expect})
        }),
        Case::new("tree-missing", |injector| {
            injector.remove_item(objectid::ROOT_TREE, Key::new(objectid::DEV_TREE, KeyType::ROOT_ITEM, 0));
            json!({"tree": objectid::DEV_TREE})
        }),
    ]
}

/// Fills the array with copies of its chunk; returns how many bytes are left.
fn fill_array(injector: &Injector) -> usize {
    let count = 2048 / ARRAY;
    injector.superblocks(|superblock| {
        for number in 1..count {
            superblock.sys_chunk_array.copy_within(..ARRAY, number * ARRAY);
        }
        superblock.sys_chunk_array_size.set((count * ARRAY) as u32);
    });
    2048 - count * ARRAY
}

fn array_cases() -> Vec<Case> {
    vec![
        Case::new("sys-array-entry", |injector| {
            injector.superblocks(|superblock| superblock.sys_chunk_array_size.set(ARRAY as u32 + 3));
            json!({"offset": ARRAY})
        })
        .also(&["sys-array-tail"]),
        Case::new("sys-array-chunk", |injector| {
            edit_array(injector, |chunk| chunk.sector_size.set(512));
            json!({"logical": system(injector).logical, "field": "sector_size", "have": 512})
        }),
        Case::new("sys-array-overlap", |injector| {
            injector.superblocks(|superblock| {
                superblock.sys_chunk_array.copy_within(..ARRAY, ARRAY);
                superblock.sys_chunk_array_size.set(2 * ARRAY as u32);
            });
            json!({"logical": system(injector).logical})
        }),
        Case::new("sys-array-mismatch", |injector| {
            edit_array(injector, |chunk| chunk.io_align.set(512));
            json!({"logical": system(injector).logical, "field": "io_align", "have": "512", "expect": "65536"})
        }),
        Case::new("sys-array-orphan", |injector| {
            injector.superblocks(|superblock| {
                superblock.sys_chunk_array.copy_within(..ARRAY, ARRAY);
                superblock.sys_chunk_array_size.set(2 * ARRAY as u32);
                DiskKey::mut_from_prefix(&mut superblock.sys_chunk_array[ARRAY..]).unwrap().0.offset.set(BEYOND);
            });
            json!({"logical": BEYOND})
        }),
        Case::new("sys-array-missing", |injector| {
            let chunk = data(injector);
            retype(injector, &chunk, block_group::SYSTEM);
            json!({"logical": chunk.logical})
        })
        .also(&["extent-type"]),
        Case::new("sys-array-full", |injector| {
            let left = fill_array(injector);
            json!({"left": left, "needed": ARRAY})
        })
        .also(&["sys-array-overlap", "sys-array-tail"]),
        Case::new("system-space-short", |injector| {
            fill_array(injector);
            let chunk = system(injector);
            edit_group(injector, &chunk, |item| item.used.set(chunk.length - 16384));
            json!({"free": 16384, "need": 16384 * (8 + 16)})
        })
        .also(&["sys-array-full", "sys-array-overlap", "sys-array-tail", "block-group-used"]),
        Case::new("sys-array-tail", |injector| {
            injector.superblocks(|superblock| superblock.sys_chunk_array[2047] = 1);
            json!({})
        })
        .on("single"),
    ]
}

fn chunk_cases() -> Vec<Case> {
    vec![
        Case::new("chunk-item", |injector| {
            let chunk = data(injector);
            edit_chunk(injector, &chunk, |item| item.sector_size.set(512));
            json!({"logical": chunk.logical, "field": "sector_size", "have": 512, "expect": "4096"})
        }),
        Case::new("chunk-length", |injector| {
            let chunk = data(injector);
            edit_chunk(injector, &chunk, |item| item.length.set(chunk.length - 65536));
            json!({"logical": chunk.logical, "have": chunk.length - 65536, "expect": chunk.length})
        }),
        Case::new("chunk-missing", |injector| {
            let chunk = data(injector);
            injector.remove_item(objectid::CHUNK_TREE, chunk_key(&chunk));
            json!({"logical": chunk.logical, "length": chunk.length})
        }),
        Case::new("chunk-overlap", |injector| {
            let chunk = data(injector);
            let items = injector.items(objectid::CHUNK_TREE);
            let (key, mut item) = items.into_iter().find(|item| item.0 == chunk_key(&chunk)).unwrap();
            Chunk::mut_from_prefix(&mut item).unwrap().0.length.set(65536);
            let inside = chunk.logical.0 + 65536;
            injector.insert_item(objectid::CHUNK_TREE, Key { offset: inside, ..key }, &item);
            json!({"logical": inside, "other": chunk.logical})
        }),
        Case::new("stripe-device", |injector| {
            let chunk = data(injector);
            edit_stripe(injector, &chunk, 1, |stripe| stripe.devid.set(9));
            json!({"logical": chunk.logical, "stripe": 1, "devid": 9})
        }),
        Case::new("stripe-uuid", |injector| {
            let chunk = data(injector);
            edit_stripe(injector, &chunk, 1, |stripe| stripe.dev_uuid.0[0] ^= 1);
            json!({"logical": chunk.logical, "stripe": 1, "devid": 1, "expect": chunk.stripes[1].dev_uuid})
        }),
        Case::new("stripe-twice", |injector| {
            let chunk = data(injector);
            let first = chunk.stripes[0];
            edit_stripe(injector, &chunk, 1, |stripe| {
                stripe.devid.set(first.devid);
                stripe.dev_uuid = first.dev_uuid;
            });
            json!({"logical": chunk.logical, "stripe": 1, "devid": first.devid})
        })
        .on("raid1")
        .also(&["stripe-elsewhere"]),
        Case::new("stripe-overlap", |injector| move_stripe(injector, |offset| offset - 65536)),
        Case::new("stripe-unaligned", |injector| move_stripe(injector, |_| (2 << 20) + 512)),
        Case::new("stripe-reserved", |injector| move_stripe(injector, |_| 512 << 10)),
        Case::new("chunk-uneven", |injector| {
            let chunk = data(injector);
            let length = chunk.length + 4096;
            change_key(injector, objectid::EXTENT_TREE, group_key(&chunk), Key { offset: length, ..group_key(&chunk) });
            edit_chunk(injector, &chunk, |item| item.length.set(length));
            json!({"logical": chunk.logical, "length": length, "data_stripes": 3})
        })
        .on("raid5-data-raid1c3-meta")
        .also(&["device-extent-length", "free-space-info-missing", "free-space-item", "free-space-lost"]),
        Case::new("chunk-type-missing", |injector| {
            let chunk = chunk_of(injector, block_group::METADATA, false);
            retype(injector, &chunk, block_group::SYSTEM);
            json!({"kind": "METADATA"})
        })
        .also(&["sys-array-missing", "system-chunk-foreign"]),
        Case::new("chunk-not-mixed", |injector| {
            let chunk = data(injector);
            retype(injector, &chunk, block_group::DATA);
            json!({"logical": chunk.logical, "have": block_group::DATA})
        })
        .on("mixed")
        .also(&["extent-type", "chunk-type-missing"]),
        Case::new("chunk-unavailable", |injector| {
            let chunk = data(injector);
            for stripe in 0..2 {
                edit_stripe(injector, &chunk, stripe, |stripe| {
                    stripe.devid.set(9);
                    stripe.dev_uuid.0[0] ^= 1;
                });
            }
            json!({"logical": chunk.logical, "missing": 1, "tolerated": 0})
        })
        .also(&["stripe-device"]),
    ]
}

fn device_cases() -> Vec<Case> {
    vec![
        Case::new("device-missing", |injector| {
            injector.lose(1);
            json!({"devid": 2})
        })
        .on("raid1"),
        Case::new("device-unknown", |injector| {
            injector.remove_item(objectid::CHUNK_TREE, device_key(2));
            json!({"devid": 2})
        })
        .on("raid1")
        .also(&["stripe-device", "super-num-devices", "super-total-bytes-long", "device-stats-orphan"]),
        Case::new("device-item", |injector| {
            edit_device(injector, |item| item.devid.set(7));
            json!({"devid": 1, "field": "devid", "have": 7, "expect": 1})
        }),
        Case::new("device-uuid", |injector| {
            edit_device(injector, |item| item.uuid.0[0] ^= 1);
            json!({"devid": 1, "expect": injector.volume().devices()[0].uuid()})
        }),
        Case::new("device-fsid", |injector| {
            edit_device(injector, |item| item.fsid.0[0] ^= 1);
            json!({"devid": 1, "expect": injector.volume().superblock().fsid})
        }),
        Case::new("device-truncated", |injector| {
            let expect = injector.volume().devices()[0].total_bytes();
            injector.resize(0, expect - 4096);
            json!({"devid": 1, "have": expect - 4096, "expect": expect})
        }),
        Case::new("device-size-unaligned", |injector| {
            let size = injector.volume().devices()[0].total_bytes();
            injector.resize(0, size + 4096);
            edit_device(injector, |item| item.total_bytes.set(size + 512));
            json!({"devid": 1, "have": size + 512, "sectorsize": 4096})
        }),
        Case::new("device-size-short", |injector| {
            let volume = injector.volume();
            let end = volume.chunks().iter().flat_map(|chunk| {
                let length = chunk.stripe_size();
                chunk.stripes.iter().map(move |stripe| stripe.physical.0 + length).collect::<Vec<_>>()
            });
            let end = end.max().unwrap();
            edit_device(injector, |item| item.total_bytes.set(end - 4096));
            json!({"devid": 1, "have": end - 4096, "expect": end})
        }),
        Case::new("device-bytes-used", |injector| {
            let expect = injector.volume().superblock().dev_item.bytes_used.get();
            edit_device(injector, |item| item.bytes_used.set(expect + 4096));
            json!({"devid": 1, "have": expect + 4096, "expect": expect})
        }),
        Case::new("device-overfull", |injector| {
            let total = injector.volume().devices()[0].total_bytes();
            edit_device(injector, |item| item.bytes_used.set(total + 4096));
            injector.block_unstamped(injector.root(objectid::DEV_TREE).logical, |block| block[500] ^= 1);
            json!({"devid": 1, "have": total + 4096, "expect": total})
        }),
        Case::new("super-dev-item", |injector| {
            let expect = injector.volume().superblock().dev_item.bytes_used.get();
            injector.superblocks(|superblock| superblock.dev_item.bytes_used.set(expect + 4096));
            json!({"devid": 1, "field": "bytes_used", "have": expect + 4096, "expect": expect})
        }),
        Case::new("seed-generation", |injector| {
            edit_device(injector, |item| item.generation.set(item.generation.get() + 1));
            json!({"devid": 1})
        })
        .on("seed-sprout"),
        Case::new("device-stats-orphan", |injector| {
            let key = Key::new(objectid::DEV_STATS, KeyType::PERSISTENT_ITEM, 77);
            injector.insert_item(objectid::DEV_TREE, key, DevStatsItem::zeroed().as_bytes());
            json!({"devid": 77})
        }),
        Case::new("device-extent-item", |injector| {
            let chunk = data(injector);
            edit_extent(injector, &chunk, |extent| extent.chunk_tree.set(7));
            json!({"devid": 1, "offset": chunk.stripes[1].physical, "field": "chunk_tree", "have": 7, "expect": 3})
        }),
        Case::new("device-extent-orphan", |injector| {
            let chunk = data(injector);
            let mut extent = DevExtent::zeroed();
            extent.chunk_tree.set(objectid::CHUNK_TREE);
            extent.chunk_objectid.set(objectid::FIRST_CHUNK_TREE);
            extent.chunk_offset.set(chunk.logical.0);
            extent.length.set(65536);
            let key = Key::new(1, KeyType::DEV_EXTENT, 1 << 20);
            injector.insert_item(objectid::DEV_TREE, key, extent.as_bytes());
            json!({"devid": 1, "offset": 1 << 20, "length": 65536, "chunk": chunk.logical})
        }),
        Case::new("device-extent-length", |injector| {
            let chunk = data(injector);
            edit_extent(injector, &chunk, |extent| extent.length.set(chunk.length - 65536));
            json!({"offset": chunk.stripes[1].physical, "have": chunk.length - 65536, "expect": chunk.length})
        }),
        Case::new("device-extent-chunk", |injector| {
            let (chunk, other) = (data(injector), system(injector));
            edit_extent(injector, &chunk, |extent| extent.chunk_offset.set(other.logical.0));
            json!({"offset": chunk.stripes[1].physical, "have": other.logical, "expect": chunk.logical})
        }),
        Case::new("device-extent-missing", |injector| {
            let chunk = data(injector);
            injector.remove_item(objectid::DEV_TREE, extent_key(&chunk, 1));
            json!({"logical": chunk.logical, "stripe": 1, "devid": 1, "offset": chunk.stripes[1].physical})
        }),
        Case::new("stripe-elsewhere", |injector| {
            let chunk = data(injector);
            edit_stripe(injector, &chunk, 1, |stripe| stripe.offset.set(1 << 20));
            let expect_offset = chunk.stripes[1].physical;
            json!({"logical": chunk.logical, "stripe": 1, "offset": 1 << 20, "expect_offset": expect_offset})
        }),
    ]
}

/// A filesystem that was not made for zones: its first device extent gives their size.
fn zoned_cases() -> Vec<Case> {
    fn set_zoned(injector: &Injector) {
        injector.superblocks(|s| s.incompat_flags.set(s.incompat_flags.get() | incompat::ZONED));
    }
    vec![
        Case::new("zoned-mixed", |injector| {
            set_zoned(injector);
            json!({})
        })
        .on("mixed")
        .also(&["zoned-extent-unaligned", "zoned-extent-over-superblock"]),
        Case::new("zoned-zone-size", |injector| {
            set_zoned(injector);
            let chunk = system(injector);
            let length = chunk.length - 65536;
            injector.item_as(objectid::DEV_TREE, extent_key(&chunk, 0), |item: &mut DevExtent| item.length.set(length));
            json!({"devid": 1, "offset": chunk.stripes[0].physical, "length": length})
        })
        .also(&["device-extent-length"]),
        Case::new("zoned-extent-unaligned", |injector| {
            set_zoned(injector);
            let chunk = system(injector);
            json!({"devid": 1, "offset": chunk.stripes[0].physical, "zone_size": chunk.length})
        })
        .also(&["zoned-extent-over-superblock"]),
        Case::new("zoned-extent-over-superblock", |injector| {
            set_zoned(injector);
            json!({"devid": 1, "superblock": SUPER_OFFSETS[1]})
        })
        .also(&["zoned-extent-unaligned"]),
    ]
}

fn block_group_cases() -> Vec<Case> {
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

fn free_space_cases() -> Vec<Case> {
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

/// Changes the first entry in the v1 cache of the last data chunk.
fn edit_cache(injector: &Injector, edit: impl Fn(&mut FreeSpaceEntry)) -> FreeSpaceEntry {
    let mut entry = FreeSpaceEntry::zeroed();
    edit_cache_page(injector, |page| {
        let first = FreeSpaceEntry::mut_from_prefix(&mut page[8..]).unwrap().0;
        edit(first);
        entry = *first;
    });
    entry
}

/// Changes the first page of the v1 cache of the last data chunk, from the generation on; its checksum is right again.
pub fn edit_cache_page(injector: &Injector, mut edit: impl FnMut(&mut [u8])) {
    data_bytes(injector, cache_file(injector), 4096, |page| {
        let (crcs, rest) = page.split_at_mut(CACHE_PAGES * 4);
        edit(rest);
        crcs[..4].copy_from_slice(&CsumType::Crc32c.compute(rest)[..4]);
    });
}

/// The log tree of the filesystem's first subvolume: its leaf.
fn log_leaf(injector: &Injector) -> Logical {
    let volume = injector.volume();
    TreeRoot::log_root_tree(&volume).unwrap().children(&volume)[0].logical
}

/// Changes an item of the log tree of the first subvolume, and its key.
fn edit_log(injector: &Injector, edit: impl Fn(&mut Key, &mut [u8]) -> bool) {
    injector.leaf_at(log_leaf(injector), |items| {
        assert!(items.iter_mut().any(|(key, data)| edit(key, data)), "the log has such an item");
    });
}

/// Moves a logged extent of data. `edit` gets the item and returns whether this is the one to move.
fn move_logged(injector: &Injector, to: Logical) {
    edit_log(injector, |key, data| {
        let is_regular = key.key_type == KeyType::EXTENT_DATA && data.len() > size_of::<FileExtentItem>() + 31;
        if let Some(body) = data.get_mut(size_of::<FileExtentItem>()..).filter(|_| is_regular) {
            FileExtentDisk::mut_from_prefix(body).unwrap().0.disk_bytenr.set(to.0);
        }
        is_regular
    });
}

/// Writes a copy of a tree block into free space at the end of a chunk.
fn copy_block(injector: &Injector, block: Logical, chunk: &ChunkMapping) -> Logical {
    let volume = injector.volume();
    let nodesize = volume.format().nodesize;
    let copy = Logical(chunk.end().0 - u64::from(nodesize));
    let mut bytes = vec![0; nodesize as usize];
    volume.read(block, 1, &mut bytes).unwrap();
    Header::mut_from_prefix(&mut bytes).unwrap().0.bytenr.set(copy.0);
    injector.block(copy, |block| block.copy_from_slice(&bytes));
    copy
}

fn log_cases() -> Vec<Case> {
    let cases = vec![
        Case::new("log-tree", |injector| {
            injector.superblocks(|superblock| superblock.log_root.set(65536));
            json!({"log_root": 65536})
        }),
        Case::new("log-generation", |injector| {
            let volume = injector.volume();
            let expect = volume.superblock().generation().0 + 1;
            let set = |block: &mut [u8]| Header::mut_from_prefix(block).unwrap().0.generation.set(expect + 1);
            injector.block(volume.superblock().log_root.into(), set);
            json!({"have": expect + 1, "expect": expect})
        }),
        Case::new("log-block-outside", |injector| {
            let copy = copy_block(injector, injector.volume().superblock().log_root.into(), &system(injector));
            injector.superblocks(|superblock| superblock.log_root.set(copy.0));
            json!({"block": copy, "chunk_type": block_group::SYSTEM})
        })
        .also(&["log-tree"]),
        Case::new("log-block-used", |injector| {
            let block = log_leaf(injector);
            let key = Key::new(block.0, KeyType::METADATA_ITEM, 0);
            injector.insert_item(objectid::EXTENT_TREE, key, &extent_item(extent::TREE_BLOCK));
            json!({"block": block, "extent": block})
        })
        .also(&["block-group-used", "free-space-used", "super-bytes-used"]),
        Case::new("log-extent-outside", |injector| {
            let logical = system(injector).logical;
            move_logged(injector, logical);
            json!({"tree": objectid::FS_TREE, "extent": logical})
        }),
        Case::new("log-extent-used", |injector| {
            let start = data(injector).logical;
            let items = injector.items(objectid::EXTENT_TREE);
            let is_long =
                |key: &Key| key.key_type == KeyType::EXTENT_ITEM && key.objectid >= start.0 && key.offset > 4096;
            let other = items.iter().map(|item| item.0).find(is_long).expect("there is a long extent").objectid;
            move_logged(injector, Logical(other + 4096));
            json!({"tree": objectid::FS_TREE, "extent": other + 4096, "other": other})
        }),
        Case::new("log-csum-missing", |injector| {
            edit_log(injector, |key, _| {
                let is_first = key.key_type == KeyType::EXTENT_CSUM;
                key.offset -= if is_first { 4096 } else { 0 };
                is_first
            });
            json!({"tree": objectid::FS_TREE})
        }),
    ];
    cases.into_iter().map(|case| if case.code == "log-tree" { case } else { case.on("log-tree") }).collect()
}

/// The kernel makes the cache of a small block group this long.
const CACHE_PAGES: usize = 16;

/// Where the v1 cache of a data chunk lies.
fn cache_file(injector: &Injector) -> Logical {
    let items = injector.items(objectid::ROOT_TREE);
    let find = |key: Key| items.iter().find(|item| item.0 == key).expect("the cache exists").1.clone();
    let header = find(Key::new(objectid::FREE_SPACE, KeyType(0), data(injector).logical.0));
    let inode = FreeSpaceHeader::read_from_bytes(&header).unwrap().location.objectid.get();
    let extent = find(Key::new(inode, KeyType::EXTENT_DATA, 0));
    FileExtentDisk::read_from_bytes(&extent[size_of::<FileExtentItem>()..]).unwrap().disk_bytenr.into()
}

/// Changes data on all devices that hold it.
fn data_bytes(injector: &Injector, logical: Logical, length: usize, mut edit: impl FnMut(&mut [u8])) {
    let volume = injector.volume();
    for mirror in 1..=volume.mirrors(logical) {
        let (_, physical) = volume.place(logical, mirror).unwrap();
        injector.bytes(0, physical.0, length, &mut edit);
    }
}

fn space_cache_cases() -> Vec<Case> {
    vec![
        Case::new("free-space-cache-stale", |injector| {
            injector.superblocks(|superblock| superblock.cache_generation.set(3));
            json!({"have": 3})
        }),
        Case::new("free-space-cache-orphan", |injector| {
            let key = Key::new(objectid::FREE_SPACE, KeyType(0), BEYOND);
            injector.insert_item(objectid::ROOT_TREE, key, FreeSpaceHeader::zeroed().as_bytes());
            json!({"logical": BEYOND})
        }),
        Case::new("free-space-cache-file", |injector| {
            data_bytes(injector, cache_file(injector), 4096, |page| page[200] ^= 1);
            json!({"logical": data(injector).logical, "problem": "page 0 has a wrong checksum"})
        })
        .on("v1-cache"),
        Case::new("free-space-cache-bytes", |injector| {
            edit_cache(injector, |entry| entry.bytes.set(entry.bytes.get() - 4096));
            json!({"logical": data(injector).logical})
        })
        .on("v1-cache"),
        // The cache is used although it is wrong: as many bytes are free.
        Case::new("free-space-used", |injector| {
            let entry = edit_cache(injector, |entry| entry.offset.set(entry.offset.get() - 4096));
            json!({"start": entry.offset.get(), "length": 4096})
        })
        .on("v1-cache")
        .also(&["free-space-lost"]),
    ]
}

pub fn cases() -> Vec<Case> {
    [
        superblock_cases(),
        array_cases(),
        chunk_cases(),
        device_cases(),
        zoned_cases(),
        block_group_cases(),
        free_space_cases(),
        space_cache_cases(),
        log_cases(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
