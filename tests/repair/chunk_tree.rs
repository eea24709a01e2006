//! Chunk trees that are lost, and made of what else tells of chunks.

use std::path::PathBuf;

use rbtrfs::block::verify::Expected;
use rbtrfs::disk::flags::block_group::{METADATA, SYSTEM};
use rbtrfs::disk::objectid::{CHUNK_TREE, DEV_TREE};
use rbtrfs::disk::volume::{Chunk, Stripe};
use rbtrfs::disk::{Key, KeyType, Logical};
use rbtrfs::tree::{Levels, TreeRoot, Walk};
use zerocopy::{FromBytes, IntoBytes};

use crate::outcome::{Contents, assert_mended_by, contents, judge};
use crate::support::inject::Injector;
use crate::support::random::Random;
use crate::support::repaired::{repaired, repaired_with_data};
use crate::support::{Scratch, kernel_image_or_skip, open, run_rbtrfs, tool};

/// A filesystem each of whose blocks was written once, so that nothing has an earlier version.
fn fresh(scratch: &Scratch, devices: usize, options: &str) -> Vec<PathBuf> {
    let tree = scratch.path("tree");
    std::fs::create_dir_all(&tree).unwrap();
    let mut random = Random(3);
    for number in 0..400 {
        let length = if number % 40 == 0 { 300_000 } else { 1500 };
        let bytes: Vec<u8> = (0..length).map(|_| random.next() as u8).collect();
        std::fs::write(tree.join(format!("file-{number}")), bytes).unwrap();
    }
    let images: Vec<PathBuf> = (0..devices).map(|number| scratch.path(&format!("image-{number}"))).collect();
    let made = run_rbtrfs(&format!("mkfs -q --size 256m --rootdir {} {options}", tree.display()), &images);
    assert_eq!(made.code, 0, "{options}: {}", made.stderr);
    images
}

/// The items of the chunk tree; copies of a stripe in the order of their places, which does not matter.
fn chunk_items(images: &[PathBuf]) -> Vec<(Key, Vec<u8>)> {
    let mut items = Injector::new(images).items(CHUNK_TREE);
    for (key, data) in &mut items {
        if key.key_type != KeyType::CHUNK_ITEM {
            continue;
        }
        let (chunk, stripes, _) = Chunk::read_with_stripes(data).unwrap();
        let geometry = chunk.block_group_flags().profile().unwrap().geometry();
        let mut stripes: Vec<Stripe> = stripes.to_vec();
        let copies = usize::from(geometry.ncopies);
        // Where there is one column of data, parity is the same.
        let alike = if stripes.len() - usize::from(geometry.nparity) == 1 { stripes.len() } else { copies };
        for copies in stripes.chunks_mut(alike) {
            copies.sort_by_key(|stripe| (stripe.devid.get(), stripe.offset.get()));
        }
        *data = [chunk.as_bytes(), stripes.as_bytes()].concat();
    }
    items
}

/// Nothing is left of what stands in the system chunks.
fn lose_system_chunks(it: &Injector) {
    let chunks: Vec<_> = it.volume().chunks().iter().filter(|chunk| chunk.flags.contains(SYSTEM)).cloned().collect();
    for chunk in chunks {
        for stripe in &chunk.stripes {
            let image = stripe.devid as usize - 1;
            it.bytes(image, stripe.physical.0, chunk.stripe_size() as usize, |bytes| bytes.fill(0));
        }
    }
}

fn lose_block(it: &Injector, logical: Logical) {
    it.block_unstamped(logical, |bytes| bytes.fill(0));
}

/// All is as it was, and the repair says that the chunk tree was made.
fn assert_is_back(it: &Injector, before: &Contents, items: &[(Key, Vec<u8>)], what: &str) {
    assert_mended_by("chunk-tree-made", it.images(), repaired_with_data(it.images()), what);
    assert!(contents(it.images()) == *before, "{what}");
    let now = chunk_items(it.images());
    assert_eq!(now.len(), items.len(), "{what}");
    for (now, before) in now.iter().zip(items) {
        assert_eq!(now, before, "{what}");
    }
}

#[test]
fn no_chunk_is_made_otherwise_than_it_was() {
    for (profile, devices) in [
        ("single", 1),
        ("single", 3),
        ("dup", 1),
        ("raid0", 4),
        ("raid1", 3),
        ("raid1c3", 4),
        ("raid1c4", 4),
        ("raid10", 4),
        ("raid5", 2),
        ("raid5", 3),
        ("raid6", 4),
    ] {
        let scratch = Scratch::in_memory();
        let images = fresh(&scratch, devices, &format!("-d {profile} -m {profile}"));
        let (before, items) = (contents(&images), chunk_items(&images));
        let it = Injector::new(&images);
        lose_system_chunks(&it);
        assert_is_back(&it, &before, &items, &format!("{profile} on {devices}"));
    }
}

/// Where the kernel has written, and chunks have come and gone.
#[test]
fn no_chunk_of_the_kernel_is_made_otherwise_than_it_was() {
    for name in ["raid0", "raid10", "raid6", "raid5-data-raid1c3-meta", "convert"] {
        let Some(images) = kernel_image_or_skip(name) else { return };
        let before = contents(&images);
        // Programs differ in what they write of a chunk that means nothing.
        let places = |images: &[PathBuf]| {
            let mut items = chunk_items(images);
            for (_, data) in items.iter_mut().filter(|(key, _)| key.key_type == KeyType::CHUNK_ITEM) {
                let chunk = Chunk::mut_from_prefix(data).unwrap().0;
                (chunk.io_align, chunk.io_width, chunk.sub_stripes) = Default::default();
            }
            items
        };
        let items = places(&images);
        let it = Injector::new(&images);
        lose_system_chunks(&it);
        let outcome = repaired_with_data(it.images());
        assert_eq!(judge(it.images(), &outcome), "clean", "{name}: {:?}", outcome.map(|repaired| repaired.fixes));
        assert!(contents(it.images()) == before && places(it.images()) == items, "{name}");
    }
}

#[test]
fn a_lost_system_chunk_array_is_no_end_of_a_lost_chunk_tree() {
    let scratch = Scratch::in_memory();
    let images = fresh(&scratch, 3, "-d raid5 -m raid1");
    let (before, items) = (contents(&images), chunk_items(&images));
    let it = Injector::new(&images);
    lose_system_chunks(&it);
    it.superblocks(|superblock| {
        superblock.sys_chunk_array.fill(0);
        superblock.sys_chunk_array_size.set(0);
    });
    assert_is_back(&it, &before, &items, "both");
}

/// A filesystem whose chunk tree has nodes above its leaves.
fn with_many_chunks(scratch: &Scratch) -> Vec<PathBuf> {
    let images = fresh(scratch, 4, "-n 4k -d raid10 -m raid1");
    let made = run_rbtrfs("chunk-alloc --type data --profile raid1 --size 1m --count 60", &images);
    assert_eq!(made.code, 0, "{}", made.stderr);
    assert!(TreeRoot::chunk_tree(&open(&images)).level > 0);
    images
}

#[test]
fn a_chunk_tree_of_several_leaves_comes_back_whole() {
    let scratch = Scratch::in_memory();
    let images = with_many_chunks(&scratch);
    let (before, items) = (contents(&images), chunk_items(&images));
    let it = Injector::new(&images);
    lose_system_chunks(&it);
    assert_is_back(&it, &before, &items, "all");
    // The leaves below a lost root are not its former versions.
    let it = Injector::new(&images);
    lose_block(&it, it.root(CHUNK_TREE).logical);
    assert_is_back(&it, &before, &items, "root");
    // What the device tree does not tell the leaves of the chunk tree do.
    let it = Injector::new(&images);
    for root in [it.root(DEV_TREE), it.root(CHUNK_TREE)] {
        lose_block(&it, root.logical);
    }
    assert_is_back(&it, &before, &items, "root, and the device tree");
    // Of the chunk tree that part that leads to all other trees.
    let it = Injector::new(&images);
    let leaf = leaf_of_metadata(&it);
    lose_block(&it, leaf);
    assert_is_back(&it, &before, &items, "leaf");
}

fn leaf_of_metadata(it: &Injector) -> Logical {
    let volume = it.volume();
    let chunk = volume.chunks().iter().find(|chunk| chunk.flags.contains(METADATA)).unwrap();
    let key = Key::new(256, KeyType::CHUNK_ITEM, chunk.logical.0);
    let leaves: Vec<Expected> = Walk::new(&volume, it.root(CHUNK_TREE).expected(), Levels::Only(0)).collect();
    leaves.iter().rfind(|leaf| leaf.first_key.is_some_and(|first| first <= key)).unwrap().logical
}

/// Nothing but the lost item says which of two stripes is the first.
#[test]
fn stripes_of_data_without_checksums_are_not_put_in_an_order_by_chance() {
    let scratch = Scratch::in_memory();
    let images = fresh(&scratch, 2, "-d raid0 -m raid1 --inode-flags nodatacow:/");
    let it = Injector::new(&images);
    lose_system_chunks(&it);
    let held = tool("sha256sum", it.images()).unwrap();
    let error = repaired(it.images()).err().map(|error| error.to_string()).unwrap_or_default();
    assert!(error.contains("no chunk tree can be made anew") && error.contains("order of its stripes"), "{error}");
    assert_eq!(tool("sha256sum", it.images()).unwrap(), held);
}
