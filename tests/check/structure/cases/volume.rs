//! The system chunk array, chunks, devices and zones.

use rbtrfs::disk::flags::{block_group, incompat};
use rbtrfs::disk::superblock::SUPER_OFFSETS;
use rbtrfs::disk::volume::{Chunk, DevExtent, DevItem, DevReplaceItem, DevStatsItem, Stripe};
use rbtrfs::disk::{DiskKey, Key, KeyType, objectid};
use rbtrfs::volume::ChunkMapping;
use serde_json::{Value, json};
use zerocopy::{FromBytes, IntoBytes};

use crate::support::inject::Injector;

use super::{BEYOND, Case, change_key, chunk_key, chunk_of, data, edit_chunk, edit_group, group_key, retype, system};

const ARRAY: usize = size_of::<DiskKey>() + size_of::<Chunk>() + 2 * size_of::<Stripe>();

fn device_key(devid: u64) -> Key {
    Key::new(objectid::DEV_ITEMS, KeyType::DEV_ITEM, devid)
}

fn extent_key(chunk: &ChunkMapping, stripe: usize) -> Key {
    let stripe = &chunk.stripes[stripe];
    Key::new(stripe.devid, KeyType::DEV_EXTENT, stripe.physical.0)
}

fn edit_stripe(injector: &Injector, chunk: &ChunkMapping, stripe: usize, edit: impl Fn(&mut Stripe)) {
    injector.item(objectid::CHUNK_TREE, chunk_key(chunk), |data| {
        let start = size_of::<Chunk>() + stripe * size_of::<Stripe>();
        edit(Stripe::mut_from_prefix(&mut data[start..]).unwrap().0);
    });
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

/// Moves a stripe of the last data chunk with its device extent.
fn move_stripe(injector: &Injector, place: impl Fn(u64) -> u64) -> Value {
    let chunk = data(injector);
    let (key, offset) = (extent_key(&chunk, 1), place(chunk.stripes[1].physical.0));
    change_key(injector, objectid::DEV_TREE, key, Key { offset, ..key });
    edit_stripe(injector, &chunk, 1, |stripe| stripe.offset.set(offset));
    json!({"logical": chunk.logical, "devid": 1, "offset": offset})
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

pub fn array_cases() -> Vec<Case> {
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
            edit_array(injector, |chunk| chunk.length.set(chunk.length.get() / 2));
            json!({"logical": system(injector).logical, "field": "length"})
        }),
        Case::new("sys-array-difference", |injector| {
            edit_array(injector, |chunk| chunk.sub_stripes.set(0));
            json!({"logical": system(injector).logical, "field": "sub_stripes", "have": "0", "expect": "1"})
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

pub fn chunk_cases() -> Vec<Case> {
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

pub fn device_cases() -> Vec<Case> {
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
        Case::new("device-devid", |injector| {
            injector.superblocks(|superblock| superblock.dev_item.devid.set(7));
            json!({"devid": 1, "have": 7})
        }),
        Case::new("device-uuid", |injector| {
            injector.superblocks(|superblock| superblock.dev_item.uuid.0[0] ^= 1);
            json!({"devid": 1})
        }),
        Case::new("super-dev-item", |injector| {
            injector.superblocks(|superblock| superblock.dev_item.io_align.set(512));
            json!({"devid": 1, "field": "io_align", "have": 512, "expect": 4096})
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
        Case::new("device-replace", |injector| {
            let mut item = DevReplaceItem::zeroed();
            item.src_devid.set(1);
            item.replace_state.set(4);
            let key = Key::new(0, KeyType::DEV_REPLACE, 0);
            injector.leaf(objectid::DEV_TREE, key, |items| {
                items.retain(|(other, _)| *other != key);
                items.push((key, item.as_bytes().to_vec()));
                items.sort();
            });
            json!({"devid": 1, "target": "00000000-0000-0000-0000-000000000000"})
        })
        .also(&["device-missing"]),
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
pub fn zoned_cases() -> Vec<Case> {
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
