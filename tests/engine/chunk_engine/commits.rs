//! Several commits of one opened filesystem, and trees that are brought up to date while handles run.

use std::fs::File;
use std::path::PathBuf;
use std::time::Duration;

use rbtrfs::chunk::{alloc, begin, begin_to_free, finish, remove};
use rbtrfs::disk::flags::block_group::{DATA, METADATA, SYSTEM};
use rbtrfs::disk::node::Header;
use rbtrfs::disk::volume::BlockGroupItem;
use rbtrfs::disk::{BlockGroupFlags, Key, KeyType, Logical, Profile, STRIPE_LEN, objectid};
use rbtrfs::trans::Filesystem;
use rbtrfs::tree::TreeRoot;
use rbtrfs::volume::MissingDevices;
use rbtrfs::{Error, Result};
use zerocopy::FromBytes;

use super::{Random, allocate, assert_sound, items, make_filesystem, open_for_change, wish};
use crate::support::inject::Injector;
use crate::support::mounted::btrfs_check;
use crate::support::*;

const MIB: u64 = 1 << 20;

pub fn groups(fs: &Filesystem, type_bits: u64) -> Vec<Logical> {
    fs.space().groups_of(BlockGroupFlags(type_bits)).map(|group| group.logical).collect()
}

/// Allocates data chunks until there is no room for more.
pub fn fill(fs: &Filesystem) -> Vec<Logical> {
    let mut added = Vec::new();
    loop {
        match allocate(fs, &wish(DATA, None, 8 * MIB)) {
            Ok(logical) => added.extend(logical),
            Err(Error::NoSpace { .. }) => return added,
            Err(error) => panic!("{error}"),
        }
    }
}

fn remove_one(fs: &Filesystem, logical: Logical) -> Result<()> {
    let mut handle = begin_to_free(fs, items(fs))?;
    let removed = remove(&mut handle, logical);
    finish(handle)?;
    removed
}

#[test]
fn what_one_commit_freed_the_next_transaction_finds_and_no_sooner() {
    for (options, devices) in
        [(&["-m", "single"][..], 1), (&["-m", "raid1", "-d", "raid1", "-R", "free-space-tree"][..], 2)]
    {
        let scratch = Scratch::in_memory();
        let Some(images) = make_filesystem(options, devices, 400 * MIB, &scratch) else { return };
        let mut fs = open_for_change(&images);
        let mut counts = Vec::new();
        for round in 0..4 {
            let added = fill(&fs);
            fs.commit().unwrap();
            assert_sound(&images, &format!("{options:?}, filled, round {round}"));
            added.iter().for_each(|logical| remove_one(&fs, *logical).unwrap());
            assert_eq!(fill(&fs), [], "the place of what this transaction freed must stay as it is");
            fs.commit().unwrap();
            assert_sound(&images, &format!("{options:?}, emptied, round {round}"));
            counts.push(added.len());
        }
        assert!(counts[0] > 10 && counts.iter().all(|count| *count == counts[0]), "{counts:?}");
        drop(fs);
        or_skip(btrfs_check(&images));
    }
}

fn item_used(images: &[PathBuf], logical: Logical) -> u64 {
    let volume = open(images);
    let roots = TreeRoot::root_tree(&volume).children(&volume);
    let extent_tree = roots.iter().find(|root| root.key.objectid == objectid::EXTENT_TREE).unwrap();
    let mut used = None;
    let (from, to) = (Key::new(logical.0, KeyType(0), 0), Key::new(logical.0, KeyType(u8::MAX), u64::MAX));
    let found = extent_tree.range(&volume, from, to, |item| {
        if item.key.key_type == KeyType::BLOCK_GROUP_ITEM {
            used = BlockGroupItem::read_prefix(item.data).map(|(item, _)| item.used.get());
        }
    });
    found.unwrap();
    used.unwrap()
}

/// Its blocks are in use before its item is there: whoever brings items up to date meanwhile must come back to it.
#[test]
fn a_block_group_whose_item_is_pending_stops_nobody_and_is_not_forgotten() {
    let scratch = Scratch::in_memory();
    let Some(images) = make_filesystem(&["-m", "single", "-n", "4k"], 1, 1 << 30, &scratch) else { return };
    let mut fs = open_for_change(&images);
    let before = groups(&fs, METADATA);
    let mut pending = begin(&fs, items(&fs)).unwrap();
    let new = alloc(&mut pending, &wish(METADATA, None, 16 * MIB)).unwrap().unwrap();
    // From here on all new blocks go to the new group.
    before.iter().for_each(|logical| fs.space().set_read_only(*logical));
    for _ in 0..20 {
        allocate(&fs, &wish(DATA, None, STRIPE_LEN)).unwrap().unwrap();
    }
    fs.flush().unwrap();
    let state = |fs: &Filesystem| fs.space().group(new).map(|group| (group.used, group.item_used)).unwrap();
    assert!(matches!(state(&fs), (1.., None)));
    finish(pending).unwrap();
    let (used, inserted) = state(&fs);
    assert!(inserted.is_some());
    fs.flush().unwrap();
    assert!(state(&fs).0 >= used);
    fs.commit().unwrap();
    let (used, _) = state(&fs);
    assert!(used > 0);
    assert_eq!(item_used(&images, new), used);
    assert_sound(&images, "after the commit");
    or_skip(btrfs_check(&images));
}

#[test]
fn trees_that_are_brought_up_to_date_amid_changes_say_what_is() {
    for (seed, options) in
        [&["-m", "single", "-n", "4k"][..], &["-m", "dup", "-R", "free-space-tree"]].iter().enumerate()
    {
        let scratch = Scratch::in_memory();
        let Some(images) = make_filesystem(options, 1, 8 << 30, &scratch) else { return };
        let mut fs = open_for_change(&images);
        for round in 0..4 {
            let change = |thread: usize| {
                let mut random = Random((seed * 64 + round * 8 + thread + 1) as u64);
                for _ in 0..60 {
                    if random.below(3) > 0 {
                        let type_bits = [DATA, DATA, METADATA, SYSTEM][random.below(4)];
                        let size = (1 + random.below(16) as u64) * STRIPE_LEN;
                        match allocate(&fs, &wish(type_bits, None, size)) {
                            Ok(_) | Err(Error::SysChunkArrayFull { .. }) => {}
                            Err(error) => panic!("{error}"),
                        }
                    } else {
                        let candidates: Vec<Logical> = fs.chunks().map.iter().map(|chunk| chunk.logical).collect();
                        match remove_one(&fs, candidates[random.below(candidates.len())]) {
                            Ok(()) | Err(Error::ChunkInUse { .. } | Error::LastChunk { .. }) => {}
                            Err(Error::NoChunk { .. } | Error::NoSpace { .. }) => {}
                            Err(error) => panic!("{error}"),
                        }
                    }
                }
            };
            std::thread::scope(|scope| {
                let changing: Vec<_> = (0..4).map(|thread| scope.spawn(move || change(thread))).collect();
                while changing.iter().any(|thread| !thread.is_finished()) {
                    fs.flush().unwrap();
                }
            });
            fs.commit().unwrap();
            assert_sound(&images, &format!("{options:?}, round {round}"));
        }
        drop(fs);
        or_skip(btrfs_check(&images));
    }
}

fn system_profiles(fs: &Filesystem) -> Vec<Profile> {
    fs.space().groups_of(BlockGroupFlags(SYSTEM)).map(|group| group.flags.profile().unwrap()).collect()
}

/// Handles were promised blocks: what is brought up to date beside them takes others.
#[test]
fn trees_that_are_brought_up_to_date_leave_running_handles_what_they_were_promised() {
    let scratch = Scratch::in_memory();
    let Some(images) = make_filesystem(&["-m", "single", "-R", "free-space-tree"], 1, 4 << 30, &scratch) else {
        return;
    };
    let mut fs = open_for_change(&images);
    allocate(&fs, &wish(DATA, None, MIB)).unwrap().unwrap();
    let running = begin(&fs, items(&fs)).unwrap();
    let state = || {
        let space = fs.space();
        let info = space.info(BlockGroupFlags(METADATA));
        (info.taken(), info.reserve)
    };
    let (taken, reserve) = state();
    fs.flush().unwrap();
    let (taken_after, reserve_after) = state();
    assert!(taken_after > taken, "no block was copied");
    assert_eq!(reserve_after, reserve);
    finish(running).unwrap();
    fs.commit().unwrap();
    assert_sound(&images, "after the commit");
}

/// A second transaction of the same number would pass for the committed one.
/// What one commit writes into the superblock the next one of the same transaction begins with.
#[test]
fn a_second_commit_forgets_nothing_that_the_first_wrote_into_the_superblock() {
    let scratch = Scratch::in_memory();
    let Some(images) = copy_of_kernel_image_or_skip("single", &scratch) else { return };
    let read = || *open(&images).superblock();
    let made = read();
    assert_eq!(made.uuid_tree_generation, made.generation);
    let mut fs = open_for_change(&images);
    for commit in 1..=3 {
        allocate(&fs, &wish(DATA, None, 8 * MIB)).unwrap().unwrap();
        fs.commit().unwrap();
        let superblock = read();
        let generation = made.generation.get() + commit;
        assert_eq!(superblock.generation.get(), generation);
        // The uuid tree, which was not changed, is as new as the filesystem still.
        assert_eq!(superblock.uuid_tree_generation, superblock.generation, "commit {commit}");
        let backups: Vec<u64> = superblock.super_roots.iter().map(|backup| backup.tree_root_gen.get()).collect();
        let own = made.generation.get() + 1..=generation;
        assert!(
            own.clone().all(|generation| backups.contains(&generation)),
            "commit {commit}: {backups:?}, not {own:?}"
        );
    }
}

#[test]
fn after_the_last_generation_nothing_is_committed() {
    let scratch = Scratch::in_memory();
    let image = scratch.path("last.img");
    let options = small_image::Options { size: 1 << 30, ..Default::default() };
    small_image::write_small_image(&options, &File::create(&image).unwrap()).unwrap();
    let injector = Injector::new(&[image]);
    let last = (u64::MAX - 1).into();
    injector.block(injector.root(objectid::ROOT_TREE).logical, |block| {
        Header::mut_from_prefix(block).unwrap().0.generation = last;
    });
    injector.superblocks(|superblock| superblock.generation = last);
    let images = injector.images();
    let mut fs = open_for_change(images);
    allocate(&fs, &wish(DATA, None, MIB)).unwrap().unwrap();
    fs.commit().unwrap();
    assert_eq!(open(images).superblock().generation().0, u64::MAX);
    let before = copies(images, &scratch.new_directory());
    drop(allocate(&fs, &wish(DATA, None, MIB)));
    assert!(fs.commit().is_err());
    assert_identical(images, &before, "after the last generation");
}

/// One that waits for the chunk of another thread sleeps, also before that has come to the chunks.
#[test]
fn a_thread_that_waits_for_a_chunk_sleeps() {
    let scratch = Scratch::in_memory();
    let Some(images) = make_filesystem(&["-m", "single"], 1, 4 << 30, &scratch) else { return };
    let mut fs = open_for_change(&images);
    let data = BlockGroupFlags(DATA);
    fs.space().info_mut(data).chunk_alloc = true;
    let nanoseconds = std::thread::scope(|scope| {
        let waiter = scope.spawn(|| {
            // Nanoseconds on a processor.
            let busy = || -> u64 {
                let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
                text.split(' ').next().unwrap().parse().unwrap()
            };
            let before = busy();
            assert_eq!(allocate(&fs, &wish(DATA, None, MIB)).unwrap(), None);
            busy() - before
        });
        std::thread::sleep(Duration::from_millis(1000));
        fs.end_chunk_alloc(data);
        waiter.join().unwrap()
    });
    assert!(nanoseconds < 300_000_000, "{nanoseconds} ns");
    // The next one need not wait.
    allocate(&fs, &wish(DATA, None, MIB)).unwrap().unwrap();
    fs.commit().unwrap();
    assert_sound(&images, "after the commit");
}

/// Free bytes in a group that is read-only are no system space, and those of a degraded one are where nothing better can be had.
#[test]
fn system_space_that_cannot_be_used_is_made_once_and_not_believed() {
    let scratch = Scratch::in_memory();
    let Some(images) = copy_of_kernel_image_or_skip("raid1", &scratch) else { return };
    let degraded = &images[..images.len() - 1];
    let mut fs = Filesystem::open(degraded, MissingDevices::Skip).unwrap();
    let before = system_profiles(&fs);
    for _ in 0..3 {
        allocate(&fs, &wish(DATA, None, STRIPE_LEN)).unwrap().unwrap();
    }
    // No RAID1 chunk can be made of one device: the degraded one is written, as by the kernel.
    assert_eq!(system_profiles(&fs), before);
    fs.commit().unwrap();

    let scratch = Scratch::in_memory();
    let Some(images) = copy_of_kernel_image_or_skip("single", &scratch) else { return };
    let mut fs = open_for_change(&images);
    for made in 1..4 {
        groups(&fs, SYSTEM).into_iter().for_each(|logical| fs.space().set_read_only(logical));
        for _ in 0..3 {
            allocate(&fs, &wish(DATA, None, STRIPE_LEN)).unwrap().unwrap();
        }
        assert_eq!(system_profiles(&fs).len(), 1 + made);
    }
    fs.commit().unwrap();
    assert_sound(&images, "after the commit");
    or_skip(btrfs_check(&images));
}

#[test]
fn without_room_for_system_space_nothing_is_begun() {
    let scratch = Scratch::in_memory();
    let Some(images) = make_filesystem(&["-m", "single"], 1, 400 * MIB, &scratch) else { return };
    let mut fs = open_for_change(&images);
    let added = fill(&fs);
    fs.commit().unwrap();
    groups(&fs, SYSTEM).into_iter().for_each(|logical| fs.space().set_read_only(logical));
    for logical in &added {
        assert!(matches!(remove_one(&fs, *logical), Err(Error::NoSpace { what: "device", .. })));
    }
    assert!(matches!(allocate(&fs, &wish(DATA, None, STRIPE_LEN)), Err(Error::NoSpace { what: "device", .. })));
    groups(&fs, SYSTEM).into_iter().for_each(|logical| fs.space().set_read_write(logical));
    added.iter().for_each(|logical| remove_one(&fs, *logical).unwrap());
    fs.commit().unwrap();
    assert_sound(&images, "after what could be done");
}
