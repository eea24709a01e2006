//! The v1 cache of free space.

use rbtrfs::disk::inode::{FileExtentDisk, FileExtentItem};
use rbtrfs::disk::space::{FreeSpaceEntry, FreeSpaceHeader};
use rbtrfs::disk::{CsumType, Key, KeyType, Logical, objectid};
use serde_json::json;
use zerocopy::{FromBytes, IntoBytes};

use crate::support::inject::Injector;

use super::{BEYOND, Case, data};

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

pub fn cases() -> Vec<Case> {
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
