//! Subvolumes that share blocks and data with each other are changed at random; each then says what a map of its items
//! says, and the kernel finds nothing wrong.

mod files;

use std::path::PathBuf;
use std::sync::Mutex;

use rbtrfs::block::reference::{FileExtent, Reference};
use rbtrfs::chunk::{begin, finish};
use rbtrfs::disk::flags::block_group::{DATA, METADATA};
use rbtrfs::disk::flags::qgroup_status::{INCONSISTENT, ON};
use rbtrfs::disk::quota::QgroupStatusItem;
use rbtrfs::disk::{BlockGroupFlags, KeyType, Logical, objectid};
use rbtrfs::error::{Error, Result};
use rbtrfs::trans::Filesystem;

use crate::support::change::{allocate, open_for_change, wish};
use crate::support::contents::{checksums, for_each_item, tree, trees};
use crate::support::mounted::{Mounted, btrfs_check};
use crate::support::random::Random;
use crate::support::soundness::assert_sound_with_data;
use crate::support::*;
use files::Files;

const MIB: u64 = 1 << 20;

/// The ids of all trees of files.
fn file_trees(images: &[PathBuf]) -> Vec<u64> {
    let ids = trees(&open(images)).into_iter().map(|root| root.key.objectid);
    ids.filter(|id| objectid::is_fs_tree(*id)).collect()
}

/// One transaction, in which each of some threads changes some of the trees. Returns the trees as they are to be then.
fn transaction(images: &[PathBuf], steps: usize, threads: usize, seed: u64) -> Vec<Files> {
    let mut fs = open_for_change(images);
    let volume = open(images);
    allocate(&fs, &wish(METADATA, None, 16 * MIB)).unwrap();
    let mut trees: Vec<Files> = file_trees(images).into_iter().map(|id| Files::read(&volume, id)).collect();
    let share = trees.len().div_ceil(threads);
    let written = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for (number, own) in trees.chunks_mut(share).enumerate() {
            let (fs, written) = (&fs, &written);
            scope.spawn(move || {
                let mut random = Random(seed * 64 + number as u64 + 1);
                for _ in 0..steps / threads {
                    // Many stay as they are: their blocks must, too.
                    let at = random.below(own.len().div_ceil(2));
                    let handle = begin(fs, 60).unwrap();
                    own[at].change(fs, &mut random, written).unwrap();
                    finish(handle).unwrap();
                }
            });
        }
    });
    files::write_data(images, &fs.chunks().map, &written.into_inner().unwrap());
    fs.commit().unwrap();
    trees
}

#[track_caller]
fn assert_items(images: &[PathBuf], trees: &[Files], what: &str) {
    let volume = open(images);
    for files in trees {
        let found = Files::read(&volume, files.id);
        assert!(found.items.keys().eq(files.items.keys()), "{what}: keys of tree {}", files.id);
        assert!(found.items == files.items, "{what}: items of tree {}", files.id);
    }
}

/// The kernel reads all there is, writes to each tree, and makes and deletes snapshots, so that trees share more.
fn use_by_kernel(images: &[PathBuf], trees: &[Files], round: usize) -> Option<()> {
    let scratch = Scratch::new();
    let mounted = or_skip(Mounted::new(images, "commit=1", &scratch))?;
    mounted.contents();
    for files in trees {
        files.assert_readable(mounted.path());
    }
    let path = |name: &str| mounted.path().join(name).into_os_string();
    let btrfs = |words: &[&str], paths: &[std::ffi::OsString]| {
        let words = words.iter().map(std::ffi::OsString::from);
        tool("btrfs", words.chain(paths.iter().cloned())).unwrap();
    };
    let (new, old) = (format!("new-{round}"), format!("new-{}", round.wrapping_sub(2)));
    btrfs(&["-q", "subvolume", "snapshot"], &[path("volume"), path(&new)]);
    std::fs::write(path(&format!("{new}/written")), vec![round as u8; 100_000]).unwrap();
    std::fs::write(path("volume/written"), vec![round as u8; 50_000]).unwrap();
    std::fs::write(path("written"), vec![round as u8; 3000]).unwrap();
    if mounted.path().join(&old).exists() {
        btrfs(&["-q", "subvolume", "delete"], &[path(&old)]);
        btrfs(&["-q", "subvolume", "sync"], &[path("")]);
    }
    if round == 1 {
        // Blocks of relocations, of which nobody has a name in the extent tree.
        btrfs(&["-q", "balance", "start", "-m"], &[path("")]);
    }
    Some(())
}

fn change_and_use(name: &str, steps: usize) {
    let scratch = Scratch::new();
    let Some(images) = copy_of_kernel_image_or_skip(name, &scratch) else { return };
    for round in 0..3 {
        let what = format!("{name}, round {round}");
        let trees = transaction(&images, steps, 1 + round, 7 * round as u64 + name.len() as u64);
        assert_items(&images, &trees, &what);
        assert_sound_with_data(&images, &what);
        or_skip(btrfs_check(&images));
        if use_by_kernel(&images, &trees, round).is_none() {
            return;
        }
        assert_sound_with_data(&images, &format!("{what}, after the kernel"));
    }
    or_skip(btrfs_check(&images));
}

#[test]
fn shared_trees_of_16k_blocks_are_what_a_map_says() {
    change_and_use("single", 1200);
}

#[test]
fn shared_trees_of_4k_blocks_are_what_a_map_says() {
    change_and_use("nodesize-4k", 1200);
}

#[test]
fn shared_trees_without_skinny_metadata_are_what_a_map_says() {
    change_and_use("no-skinny", 800);
}

#[test]
fn trees_that_share_in_every_way_are_what_a_map_says() {
    change_and_use("snapshots", 1500);
}

#[test]
fn data_that_is_given_up_is_not_handed_out_before_the_commit() {
    let scratch = Scratch::new();
    let Some(images) = copy_of_kernel_image_or_skip("single", &scratch) else { return };
    let before = crate::support::contents::data_extents(&open(&images));
    let mut fs = open_for_change(&images);
    let volume = open(&images);
    let mut files = Files::read(&volume, objectid::FS_TREE);
    let handle = begin(&fs, 100).unwrap();
    let dropped = files.truncate_all(&fs).unwrap();
    assert!(dropped.len() > 10);
    // All that is left is taken, in small pieces, and none of it is what was given up.
    let mut taken = Vec::new();
    loop {
        match fs.allocate_data(4096) {
            Ok(logical) => taken.push(logical),
            Err(Error::NoSpace { .. }) => break,
            Err(error) => panic!("{error}"),
        }
    }
    assert!(taken.len() > 100);
    for logical in &taken {
        let holds = |(start, length): &(u64, u64)| (*start..start + length).contains(&logical.0);
        assert!(!before.iter().any(holds), "{logical} is in use by the last commit");
    }
    finish(handle).unwrap();
    fs.commit().unwrap();
    // To what was taken nobody refers: it is free again.
    assert_sound_with_data(&images, "after the commit");
    assert_items(&images, &[files], "after the commit");
    or_skip(btrfs_check(&images));
    let (after, sums) = (crate::support::contents::data_extents(&open(&images)), checksums(&open(&images)));
    let gone: Vec<_> = before.difference(&after).collect();
    assert!(!gone.is_empty());
    for (start, length) in gone {
        assert_eq!(sums.range(start..&(start + length)).count(), 0, "checksums of {start}");
    }
    let used = |fs: &Filesystem| fs.space().info(BlockGroupFlags(DATA)).used;
    let used_before = used(&fs);
    let mut again = Vec::new();
    while let Ok(logical) = fs.allocate_data(4096) {
        again.push(logical);
    }
    assert!(again.len() > taken.len() && used(&fs) - used_before == again.len() as u64 * 4096);
    assert!(matches!(fs.allocate_data(0), Err(Error::NoSpace { .. })));
    assert!(matches!(fs.allocate_data(100), Err(Error::NoSpace { .. })));
}

#[test]
fn a_reference_that_is_not_there_is_not_dropped() {
    let scratch = Scratch::new();
    let Some(images) = copy_of_kernel_image_or_skip("single", &scratch) else { return };
    let (start, length) = crate::support::contents::data_extents(&open(&images)).into_iter().next().unwrap();
    let extent = Logical(start);
    let file = |extent, length, objectid| {
        let reference = Reference::ExtentData { root: 5, objectid, offset: 0 };
        FileExtent { extent, length, reference }
    };
    type Change<'c> = &'c dyn Fn(&Filesystem) -> Result<()>;
    let cases: [Change<'_>; 4] = [
        &|fs| fs.drop_data_reference(&file(extent, length, 1 << 40)),
        &|fs| fs.drop_data_reference(&file(Logical(start + 4096), 4096, 257)),
        &|fs| fs.add_data_reference(&file(Logical(4096), 4096, 257)),
        &|fs| {
            fs.add_data_reference(&file(extent, length, 1 << 40))?;
            fs.add_data_reference(&file(extent, length + 4096, 1 << 40))
        },
    ];
    for change in cases {
        let mut fs = open_for_change(&images);
        let error = change(&fs).and_then(|()| fs.commit()).unwrap_err().to_string();
        assert!(error.contains("extent") && error.contains(|c: char| c.is_ascii_digit()), "{error}");
        let same = tool("cmp", [&kernel_image("single")[0], &images[0]]);
        assert_eq!(same, Ok(String::new()));
    }
}

#[test]
fn quotas_that_are_no_longer_true_are_counted_anew() {
    let scratch = Scratch::new();
    let Some(images) = copy_of_kernel_image_or_skip("quota", &scratch) else { return };
    let status = |images: &[PathBuf]| {
        let (volume, mut flags) = (open(images), None);
        for_each_item(&volume, &tree(&volume, objectid::QUOTA_TREE), |item| {
            if item.key.key_type == KeyType::QGROUP_STATUS {
                flags = QgroupStatusItem::read_prefix(item.data).map(|(status, _)| status.flags.get());
            }
        });
        flags.unwrap()
    };
    assert_eq!(status(&images), ON);
    let trees = transaction(&images, 200, 1, 3);
    assert_eq!(status(&images), ON | INCONSISTENT);
    assert_items(&images, &trees, "quota");
    assert_sound_with_data(&images, "quota");
    let Some(mounted) = or_skip(Mounted::new(&images, "rw", &scratch)) else { return };
    tool("btrfs", ["quota", "rescan", "-w", mounted.path().to_str().unwrap()]).unwrap();
    drop(mounted);
    assert_eq!(status(&images), ON);
    or_skip(btrfs_check(&images));
}

#[test]
fn trees_that_must_not_be_changed_are_refused() {
    let refused = |name: &str, id: Option<u64>, telling: &str| {
        let scratch = Scratch::new();
        let Some(images) = copy_of_kernel_image_or_skip(name, &scratch) else { return };
        let fs = open_for_change(&images);
        let id = id.unwrap_or_else(|| fs_tree_that_is_dropped(&images));
        let error = fs.tree(id).unwrap_err().to_string();
        assert!(error.contains(telling), "{error}");
    };
    for id in [1, 2, 3, 4, 10, 11] {
        refused("single", Some(id), "by the transaction alone");
    }
    refused("single", Some(1 << 30), "is missing");
    refused("squota", Some(5), "simple quotas");
    refused("half-dropped", None, "is being deleted");
}

fn fs_tree_that_is_dropped(images: &[PathBuf]) -> u64 {
    let volume = open(images);
    let mut dropped = None;
    for_each_item(&volume, &tree(&volume, objectid::ROOT_TREE), |item| {
        if let Some(root) = rbtrfs::disk::root::RootItem::read(item.data)
            && item.key.key_type == KeyType::ROOT_ITEM
            && root.refs.get() == 0
            && objectid::is_fs_tree(item.key.objectid)
        {
            dropped = Some(item.key.objectid);
        }
    });
    dropped.unwrap()
}

#[test]
fn data_and_references_are_refused_under_simple_quotas() {
    let scratch = Scratch::new();
    let Some(images) = copy_of_kernel_image_or_skip("squota", &scratch) else { return };
    let fs = open_for_change(&images);
    assert!(matches!(fs.allocate_data(4096), Err(Error::SimpleQuotas)));
    let reference = Reference::ExtentData { root: 5, objectid: 257, offset: 0 };
    let file = FileExtent { extent: Logical(4096), length: 4096, reference };
    assert!(matches!(fs.add_data_reference(&file), Err(Error::SimpleQuotas)));
    fs.tree(objectid::CSUM_TREE).unwrap();
}
