//! What was promised is there when it is wanted: nothing of it is given to another, and no place counts that cannot be used.

use std::fs::File;
use std::path::PathBuf;
use std::time::Duration;

use rbtrfs::Error;
use rbtrfs::chunk::{AllocRequest, Force, alloc, begin, finish, remove};
use rbtrfs::device::{self, Occupied};
use rbtrfs::disk::flags::block_group::{DATA, METADATA, SYSTEM};
use rbtrfs::disk::volume::{BlockGroupItem, DevItem};
use rbtrfs::disk::{BlockGroupFlags, Key, KeyType, Logical, Profile, STRIPE_LEN, objectid};
use rbtrfs::trans::{Filesystem, device_key};
use rbtrfs::tree::reservation::to_change_chunk;
use rbtrfs::volume::chunk_items::chunk_key;
use rbtrfs::volume::superblock_ranges;

use super::commits::{fill, groups};
use super::deadlock::system_chunks;
use super::state::State;
use super::{allocate, assert_sound, deadlock, exhausted, items, make_filesystem, open_for_change, wish};
use crate::support::inject::Injector;
use crate::support::mounted::btrfs_check;
use crate::support::*;

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const SECOND_SUPERBLOCK: u64 = 64 * MIB;

fn left(fs: &Filesystem, type_bits: u64) -> u64 {
    fs.space().info(BlockGroupFlags(type_bits)).available()
}

fn release(fs: &Filesystem, type_bits: u64, bytes: u64) {
    fs.space().info_mut(BlockGroupFlags(type_bits)).release(bytes);
}

/// What the items of all devices say is used, and what is.
fn used_of_devices(fs: &Filesystem) -> Vec<(u64, u64)> {
    let mut chunks = fs.chunks();
    let items: Vec<DevItem> = chunks.devices.iter().map(|device| device.item).collect();
    let mut noted = |item: &DevItem| {
        let data = chunks.tree.find(fs, device_key(item.devid.get())).unwrap().unwrap();
        DevItem::read_prefix(&data).unwrap().0.bytes_used.get()
    };
    items.iter().map(|item| (noted(item), item.bytes_used.get())).collect()
}

// ---- system space

/// All that the chunk tree gets it gets in phase 1: many handles may end when there is no more system space to be had.
#[test]
fn handles_between_the_phases_need_no_more_system_space() {
    for (options, devices) in [(&["-m", "dup", "-n", "4k"][..], 1), (&["-m", "raid1", "-d", "raid0"], 3)] {
        let scratch = Scratch::in_memory();
        let Some(images) = make_filesystem(options, devices, 1 << 40, &scratch) else { return };
        let mut fs = open_for_change(&images);
        let mut state = State::of(&images);
        let mut handles = Vec::new();
        for type_bits in [DATA, METADATA, DATA] {
            let mut handle = begin(&fs, items(&fs)).unwrap();
            let logical = alloc(&mut handle, &wish(type_bits, None, STRIPE_LEN)).unwrap().unwrap();
            assert!(fs.chunks().tree.find(&fs, chunk_key(logical)).unwrap().is_some(), "{options:?}: no chunk item");
            for (noted, used) in used_of_devices(&fs) {
                assert_eq!(noted, used, "{options:?}: device items");
            }
            handles.push(handle);
        }
        let promised = exhausted::exhaust(&fs);
        handles.into_iter().for_each(|handle| finish(handle).unwrap());
        release(&fs, SYSTEM, promised);
        state.chunks = fs.chunks().map.iter().map(|chunk| (chunk.logical, chunk.clone())).collect();
        fs.commit().unwrap();
        state.assert_follows(&images, &format!("{options:?}"));
        assert_sound(&images, &format!("{options:?}"));
    }
}

/// A removal of many chunks copies all leaves: where that would not fit, a system chunk is made in advance, as long as
/// there is room for it in the array.
#[test]
fn a_second_copy_of_the_chunk_tree_has_room_in_advance() {
    let scratch = Scratch::in_memory();
    let Some(images) = make_filesystem(&["-m", "single", "-n", "4k"], 1, 1 << 40, &scratch) else { return };
    let mut fs = open_for_change(&images);
    let add = |fs: &Filesystem| allocate(fs, &wish(DATA, None, STRIPE_LEN)).unwrap().unwrap();
    for _ in 0..1500 {
        add(&fs);
    }
    let used = fs.space().info(BlockGroupFlags(SYSTEM)).used;
    assert!(used > 3 * to_change_chunk(4096, Profile::Single, 1) / 2, "{used}");
    let before = system_chunks(&fs);
    let mut promised = deadlock::exhaust(&fs, used);
    add(&fs);
    assert_eq!(system_chunks(&fs), before, "there was room");
    promised += deadlock::exhaust(&fs, used - 4096);
    add(&fs);
    assert_eq!(system_chunks(&fs), before + 1, "there was no room");
    // Merely wanted: without room in the array it is not made, and not missed.
    promised += exhausted::exhaust(&fs);
    let used = fs.space().info(BlockGroupFlags(SYSTEM)).used;
    release(&fs, SYSTEM, used - 4096);
    promised -= used - 4096;
    let before = system_chunks(&fs);
    add(&fs);
    assert_eq!(system_chunks(&fs), before);
    release(&fs, SYSTEM, promised);
    fs.commit().unwrap();
    assert_sound(&images, "after all");
    or_skip(btrfs_check(&images));
}

/// A chunk of this type and length, of which the second superblock lies `offset` bytes from the start.
fn allocate_over_superblock(fs: &Filesystem, type_bits: u64, offset: u64, length: u64) -> Logical {
    let probe = allocate(fs, &wish(DATA, None, STRIPE_LEN)).unwrap().unwrap();
    let start = fs.chunks().map.find(probe).unwrap().stripes[0].physical.0 + STRIPE_LEN;
    allocate(fs, &wish(DATA, None, SECOND_SUPERBLOCK - offset - start)).unwrap().unwrap();
    let logical = allocate(fs, &wish(type_bits, None, length)).unwrap().unwrap();
    let chunk = fs.chunks().map.find(logical).unwrap().clone();
    assert!(chunk.stripes.iter().any(|stripe| stripe.physical.0 + offset == SECOND_SUPERBLOCK));
    logical
}

/// Free bytes are no blocks where a superblock lies, nor are they in pieces.
#[test]
fn free_bytes_that_are_no_blocks_are_no_system_space() {
    let scratch = Scratch::in_memory();
    let options = ["-m", "single", "-d", "single", "-n", "4k"];
    let Some(images) = make_filesystem(&options, 1, 1 << 40, &scratch) else { return };
    let mut fs = open_for_change(&images);
    let before = groups(&fs, SYSTEM);
    // Enough bytes, were it not for the superblock.
    allocate_over_superblock(&fs, SYSTEM, 0, 2 * STRIPE_LEN);
    before.iter().for_each(|logical| fs.space().set_read_only(*logical));
    assert!(left(&fs, SYSTEM) >= to_change_chunk(4096, Profile::Single, 1));
    let count = system_chunks(&fs);
    allocate(&fs, &wish(DATA, None, STRIPE_LEN)).unwrap().unwrap();
    assert_eq!(system_chunks(&fs), count + 1);
    fs.commit().unwrap();
    assert_sound(&images, "after the commit");
}

/// Two promises are two times the blocks, however many bytes are free beside them.
#[test]
fn free_blocks_are_promised_once() {
    let scratch = Scratch::in_memory();
    let options = ["-m", "single", "-d", "single", "-n", "4k"];
    let Some(images) = make_filesystem(&options, 1, 1 << 40, &scratch) else { return };
    let fs = open_for_change(&images);
    let before = groups(&fs, SYSTEM);
    allocate_over_superblock(&fs, SYSTEM, 0, 3 * STRIPE_LEN);
    before.iter().for_each(|logical| fs.space().set_read_only(*logical));
    let need = to_change_chunk(4096, Profile::Single, 1);
    assert!(fs.space().info_mut(BlockGroupFlags(SYSTEM)).reserve(need));
    assert!(left(&fs, SYSTEM) >= need);
    let count = system_chunks(&fs);
    allocate(&fs, &wish(DATA, None, STRIPE_LEN)).unwrap().unwrap();
    assert_eq!(system_chunks(&fs), count + 1);
}

#[test]
fn devices_that_come_and_change_are_promised_system_space_as_chunks_are() {
    let scratch = Scratch::in_memory();
    let Some(images) = make_filesystem(&["-m", "dup", "-n", "4k"], 1, 64 * GIB, &scratch) else { return };
    let mut fs = open_for_change(&images);
    let more = scratch.zeros("more.img", GIB);
    let add = |fs: &Filesystem| device::add(fs, &more, Occupied::Refuse);
    type Change<'a> = &'a dyn Fn(&Filesystem) -> rbtrfs::Result<()>;
    let changes: [(&str, Change<'_>); 3] = [
        ("add", &|fs| add(fs).map(drop)),
        ("resize", &|fs| device::resize(fs, 2, GIB / 2)),
        ("remove", &|fs| device::remove(fs, 2)),
    ];
    for (what, change) in changes {
        let before = system_chunks(&fs);
        let promised = deadlock::exhaust(&fs, 0);
        change(&fs).unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(system_chunks(&fs), before + 1, "{what} took what was promised to others");
        release(&fs, SYSTEM, promised);
    }
    let promised = exhausted::exhaust(&fs);
    let refused = add(&fs);
    assert!(matches!(refused, Err(Error::SysChunkArrayFull { .. } | Error::NoSpace { .. })), "{refused:?}");
    assert!(!fs.is_poisoned());
    release(&fs, SYSTEM, promised);
    fs.commit().unwrap();
    assert_sound(&images, "after the commit");
}

#[test]
fn no_chunk_goes_in_which_others_were_promised_space() {
    let scratch = Scratch::in_memory();
    let Some(images) = make_filesystem(&["-m", "dup", "-n", "4k"], 1, 64 * GIB, &scratch) else { return };
    let mut fs = open_for_change(&images);
    for (type_bits, length) in [(METADATA, 256 * MIB), (SYSTEM, 4 * MIB)] {
        let chunk = allocate(&fs, &wish(type_bits, None, length)).unwrap().unwrap();
        let promised = {
            let mut space = fs.space();
            let info = space.info_mut(BlockGroupFlags(type_bits));
            let bytes = info.available() - length / 2;
            assert!(info.reserve(bytes));
            bytes
        };
        let refused = remove_one(&fs, chunk);
        assert!(matches!(refused, Err(Error::NoSpace { .. })), "{refused:?}");
        assert!(!fs.space().group(chunk).unwrap().is_read_only);
        release(&fs, type_bits, promised);
        remove_one(&fs, chunk).unwrap();
    }
    fs.commit().unwrap();
    assert_sound(&images, "after the commit");
}

#[test]
fn what_a_handle_was_promised_ends_with_it_and_one_that_does_not_end_is_no_commit() {
    let scratch = Scratch::in_memory();
    let Some(images) = make_filesystem(&["-m", "dup"], 1, GIB, &scratch) else { return };
    let before = copies(&images, &scratch.new_directory());
    let mut fs = open_for_change(&images);
    let all = left(&fs, METADATA);
    let handle = fs.begin(10).unwrap();
    assert_eq!(left(&fs, METADATA), all - 10 * 16 * 16384);
    finish(handle).unwrap();
    assert_eq!(left(&fs, METADATA), all);
    let mut handle = begin(&fs, items(&fs)).unwrap();
    alloc(&mut handle, &wish(DATA, None, STRIPE_LEN)).unwrap().unwrap();
    drop(handle);
    assert_eq!(left(&fs, METADATA), all);
    assert!(matches!(fs.commit(), Err(Error::Poisoned)));
    drop(fs);
    assert_identical(&images, &before, "not committed");
}

// ---- chunks that stay, and what goes with the last of a kind

fn remove_one(fs: &Filesystem, logical: Logical) -> rbtrfs::Result<()> {
    let mut handle = begin(fs, items(fs)).unwrap();
    let removed = remove(&mut handle, logical);
    finish(handle).unwrap();
    removed
}

#[test]
fn the_last_chunk_of_its_type_stays() {
    let scratch = Scratch::in_memory();
    let Some(images) = make_filesystem(&["-m", "dup", "-d", "single"], 1, GIB, &scratch) else { return };
    let mut fs = open_for_change(&images);
    let only = groups(&fs, DATA)[0];
    assert!(matches!(remove_one(&fs, only), Err(Error::LastChunk { .. })));
    let other = allocate(&fs, &wish(DATA, None, STRIPE_LEN)).unwrap().unwrap();
    remove_one(&fs, only).unwrap();
    assert!(matches!(remove_one(&fs, other), Err(Error::LastChunk { .. })));
    fs.commit().unwrap();
    assert_sound(&images, "after the commit");
}

#[test]
fn features_come_and_go_with_their_profiles() {
    let scratch = Scratch::in_memory();
    let Some(images) = make_filesystem(&["-m", "raid1", "-d", "single"], 4, GIB, &scratch) else { return };
    let mut fs = open_for_change(&images);
    let mut state = State::of(&images);
    let mut follows = |fs: &mut Filesystem, what: &str| {
        fs.commit().unwrap();
        state.chunks = fs.chunks().map.iter().map(|chunk| (chunk.logical, chunk.clone())).collect();
        state.assert_follows(&images, what);
        assert_sound(&images, what);
    };
    use Profile::*;
    let made = [Raid5, Raid6, Raid1c3, Raid1c4]
        .map(|profile| allocate(&fs, &wish(DATA, Some(profile), STRIPE_LEN)).unwrap().unwrap());
    follows(&mut fs, "all");
    for (number, logical) in made.into_iter().enumerate() {
        remove_one(&fs, logical).unwrap();
        follows(&mut fs, &format!("{number} removed"));
    }
}

/// What its block group item says is no proof that a chunk is empty.
#[test]
fn a_chunk_with_extents_is_not_removed_whatever_its_item_says() {
    let Some(images) = kernel_image_or_skip("single") else { return };
    let injector = Injector::new(&images);
    let scratch = Scratch::in_memory();
    let chunk = {
        let fs = open_for_change(injector.images());
        let chunk = groups(&fs, DATA).into_iter().find(|logical| fs.space().group(*logical).unwrap().used > 0);
        fs.chunks().map.find(chunk.unwrap()).unwrap().clone()
    };
    let item = Key::new(chunk.logical.0, KeyType::BLOCK_GROUP_ITEM, chunk.length);
    injector.item(objectid::EXTENT_TREE, item, |data| data[..8].fill(0));
    let before = copies(injector.images(), &scratch.new_directory());
    let fs = open_for_change(injector.images());
    // So that it is not the last.
    allocate(&fs, &wish(DATA, None, STRIPE_LEN)).unwrap().unwrap();
    let refused = remove_one(&fs, chunk.logical);
    assert!(refused.as_ref().is_err_and(|error| error.to_string().contains("has extents")), "{refused:?}");
    assert!(!fs.space().group(chunk.logical).unwrap().is_read_only);
    assert!(!fs.is_poisoned());
    drop(fs);
    assert_identical(injector.images(), &before, "refused");
}

/// Each commit fills another slot of the backup roots, and takes over what the one before has written.
#[test]
fn each_commit_goes_on_from_the_one_before() {
    let scratch = Scratch::in_memory();
    let Some(images) = make_filesystem(&["-m", "dup"], 1, GIB, &scratch) else { return };
    let mut fs = open_for_change(&images);
    for _ in 0..4 {
        allocate(&fs, &wish(DATA, None, STRIPE_LEN)).unwrap().unwrap();
        fs.commit().unwrap();
    }
    drop(fs);
    let superblock = *open(&images).superblock();
    let mut generations = superblock.super_roots.map(|backup| backup.tree_root_gen.get());
    generations.sort();
    let newest = superblock.generation.get();
    assert_eq!(generations, [newest - 3, newest - 2, newest - 1, newest]);
    assert_sound(&images, "after four commits");
}

// ---- superblocks

#[test]
fn nothing_is_put_where_a_superblock_lies() {
    for profile in [Profile::Single, Profile::Dup, Profile::Raid1, Profile::Raid5] {
        let scratch = Scratch::in_memory();
        let Some(mut images) = make_filesystem(&["-m", "single"], 1, 4 * GIB, &scratch) else { return };
        let mut fs = open_for_change(&images);
        // Empty but for superblocks.
        for name in ["second.img", "third.img"] {
            images.push(scratch.zeros(name, 4 * GIB));
            device::add(&fs, &images[images.len() - 1], Occupied::Refuse).unwrap();
        }
        let add = |fs: &Filesystem| allocate(fs, &wish(DATA, Some(profile), 4 * MIB)).unwrap().unwrap();
        let mut over = add(&fs);
        while superblock_ranges(fs.chunks().map.find(over).unwrap()).is_empty() {
            over = add(&fs);
        }
        let chunk = fs.chunks().map.find(over).unwrap().clone();
        let keep_to_it = |fs: &Filesystem| {
            let others = groups(fs, DATA).into_iter().filter(|logical| *logical != over);
            others.for_each(|logical| fs.space().set_read_only(logical));
        };
        // A new chunk, and one of the last commit.
        for _ in 0..2 {
            keep_to_it(&fs);
            let mut taken = Vec::new();
            while let Ok(sector) = fs.allocate_data(4096) {
                taken.push(sector);
            }
            let ranges = superblock_ranges(&chunk);
            let is_over = |sector: &Logical| ranges.iter().any(|(start, end)| start <= sector && sector < end);
            assert_eq!(taken.iter().find(|sector| is_over(sector)), None, "{profile:?}");
            let bytes: u64 = ranges.iter().map(|(start, end)| end.0 - start.0).sum();
            assert_eq!(taken.len() as u64 * 4096, chunk.length - bytes, "{profile:?}");
            fs.commit().unwrap();
            drop(fs);
            assert_sound(&images, &format!("{profile:?}"));
            fs = open_for_change(&images);
        }
    }
}

// ---- items of block groups

/// What the items of all block groups say is used, where there is an item, is what is known to stand there.
#[track_caller]
fn assert_items_are_known(fs: &Filesystem, what: &str) {
    let groups: Vec<_> = fs.space().groups().map(|group| (group.logical, group.length, group.item_used)).collect();
    for (logical, length, known) in groups.into_iter().filter(|(.., known)| known.is_some()) {
        let key = Key::new(logical.0, KeyType::BLOCK_GROUP_ITEM, length);
        let data = fs.block_group_items().find(fs, key).unwrap().unwrap();
        let noted = BlockGroupItem::read_prefix(&data).unwrap().0.used.get();
        assert_eq!(known, Some(noted), "{what}: group {logical}");
    }
}

fn with_block_group_tree(scratch: &Scratch) -> Vec<PathBuf> {
    let options = small_image::Options {
        size: 8 * GIB,
        nodesize: 4096,
        no_holes: true,
        block_group_tree: true,
        ..Default::default()
    };
    let image = scratch.path("block-group-tree.img");
    small_image::write_small_image(&options, &File::create(&image).unwrap()).unwrap();
    vec![image]
}

/// Writing the item of a block group may take a block of the same group: what was written and what is in use are two
/// numbers from then on.
#[test]
fn a_block_group_that_is_used_while_its_item_is_written_is_written_again() {
    let scratch = Scratch::in_memory();
    let images = with_block_group_tree(&scratch);
    // Brought up to date beside handles.
    let mut fs = open_for_change(&images);
    let handle = begin(&fs, 4).unwrap();
    let key = Key::new(u64::MAX / 2, KeyType::TEMPORARY_ITEM, 0);
    fs.device_tree().edit(&fs, |editor| editor.insert(key, &[0; 100])).unwrap();
    fs.device_tree().edit(&fs, |editor| editor.delete(key)).unwrap();
    finish(handle).unwrap();
    let used = |fs: &Filesystem| fs.space().info(BlockGroupFlags(METADATA)).used;
    let before = used(&fs);
    fs.flush().unwrap();
    assert!(used(&fs) > before, "no block was taken");
    assert_items_are_known(&fs, "flush");
    fs.commit().unwrap();
    assert_items_are_known(&fs, "commit");
    assert_sound(&images, "flush");
    // Inserted: all new blocks, that of its own item among them, are in the new group.
    let mut handle = begin(&fs, items(&fs)).unwrap();
    let old = groups(&fs, METADATA);
    let new = alloc(&mut handle, &wish(METADATA, None, 16 * MIB)).unwrap().unwrap();
    old.iter().for_each(|logical| fs.space().set_read_only(*logical));
    finish(handle).unwrap();
    assert!(fs.space().group(new).unwrap().used > 0);
    assert_items_are_known(&fs, "insertion");
    fs.commit().unwrap();
    assert_items_are_known(&fs, "commit");
    assert_sound(&images, "insertion");
    or_skip(btrfs_check(&images));
}

// ---- metadata

/// Handles that take all that there is to be promised leave enough for what the commit itself writes.
#[test]
fn what_is_promised_leaves_the_commit_its_share() {
    let scratch = Scratch::in_memory();
    let Some(images) = make_filesystem(&["-m", "single", "-n", "4k"], 1, 400 * MIB, &scratch) else { return };
    let mut fs = open_for_change(&images);
    // No more chunks of metadata.
    fill(&fs);
    fs.commit().unwrap();
    let key = |number: u64| Key::new(u64::MAX / 2 + number, KeyType::TEMPORARY_ITEM, 0);
    // Of what is promised all is taken, other than by handles, which are promised more than they need.
    const PROMISE: u64 = 4 * 4096;
    let mut inserted = 0;
    let mut is_full = false;
    while !is_full {
        for _ in 0..64 {
            is_full = !fs.space().info_mut(BlockGroupFlags(METADATA)).reserve(PROMISE);
            if is_full {
                break;
            }
            fs.device_tree().edit(&fs, |editor| editor.insert(key(inserted), &[0; 3000])).unwrap();
            release(&fs, METADATA, PROMISE);
            inserted += 1;
        }
        fs.commit().unwrap_or_else(|error| panic!("after {inserted} items: {error}"));
    }
    assert!(inserted > 500, "{inserted}");
    for number in 0..inserted {
        let handle = fs.begin_to_free(1).unwrap();
        fs.device_tree().edit(&fs, |editor| editor.delete(key(number))).unwrap();
        finish(handle).unwrap();
        if number % 64 == 63 {
            fs.commit().unwrap_or_else(|error| panic!("after {number} deletions: {error}"));
        }
    }
    fs.commit().unwrap();
    assert_sound(&images, "emptied");
}

// ---- whether a chunk is wanted

/// Has so many bytes of data taken, which no file refers to.
fn take_data(fs: &Filesystem, taken: u64) {
    let mut missing = taken - fs.space().info(BlockGroupFlags(DATA)).taken();
    while missing > 0 {
        let length = missing.min(MIB);
        fs.allocate_data(length).unwrap();
        missing -= length;
    }
}

fn is_allocated(fs: &Filesystem, force: Force) -> bool {
    let mut handle = begin(fs, items(fs)).unwrap();
    let wish = AllocRequest { type_bits: DATA, profile: None, size: Some(STRIPE_LEN), force };
    let allocated = alloc(&mut handle, &wish).unwrap();
    finish(handle).unwrap();
    allocated.is_some()
}

#[test]
fn a_chunk_is_made_when_as_much_is_taken_as_the_kernel_waits_for() {
    // Size of the filesystem, bytes of data space, and how little has to be left of it for a limited wish.
    for (size, total, little) in [(10 * GIB, 300 * MIB, 10 * GIB / 100), (4 * GIB, 200 * MIB, 64 * MIB)] {
        let scratch = Scratch::in_memory();
        let options = ["-m", "single", "-d", "single"];
        let Some(images) = make_filesystem(&options, 1, size, &scratch) else { return };
        let open = || {
            let fs = open_for_change(&images);
            let info = |fs: &Filesystem| fs.space().info(BlockGroupFlags(DATA)).clone();
            allocate(&fs, &wish(DATA, None, total - info(&fs).total)).unwrap().unwrap();
            assert_eq!((info(&fs).total, info(&fs).taken()), (total, 0));
            fs
        };
        let is_first = |force, limit: u64| {
            let fs = open();
            take_data(&fs, limit - 4096);
            let below = is_allocated(&fs, force);
            take_data(&fs, limit);
            (below, is_allocated(&fs, force))
        };
        assert_eq!(is_first(Force::No, total / 5 * 4 - 2 * MIB), (false, true), "{size}");
        // The first sector with which less than that is left.
        let limit = (total - little) / 4096 * 4096 + 4096;
        assert_eq!(is_first(Force::Limited, limit), (false, true), "{size}");
        assert!(is_allocated(&open(), Force::Force));
    }
}

/// Two want a chunk at any price, at the same time: what the first one makes is for both.
#[test]
fn who_waits_for_a_chunk_of_another_does_not_insist_on_one_more() {
    let scratch = Scratch::in_memory();
    let Some(images) = make_filesystem(&["-m", "single"], 1, 64 * GIB, &scratch) else { return };
    let fs = open_for_change(&images);
    // Whether both have come to wait when the chunks are set free is a matter of luck; that it never comes to that is not.
    let is_shared = (0..10).any(|attempt| {
        let made = std::thread::scope(|scope| {
            let chunks = fs.chunks();
            let threads = [0; 2].map(|_| {
                scope.spawn(|| {
                    let mut handle = fs.begin(4).unwrap();
                    let made = alloc(&mut handle, &wish(DATA, None, 8 * MIB)).unwrap();
                    finish(handle).unwrap();
                    made
                })
            });
            std::thread::sleep(Duration::from_millis(5 << attempt));
            drop(chunks);
            threads.map(|thread| thread.join().unwrap())
        });
        made.iter().flatten().count() == 1
    });
    assert!(is_shared);
}
