//! Where the system chunk array does not lead to the chunk tree, the tree is read from where it lies, a check says what is
//! wrong, and nothing is written.

use std::collections::BTreeSet;
use std::path::PathBuf;

use rbtrfs::disk::fields::Uuid;
use rbtrfs::disk::flags::block_group::SYSTEM;
use rbtrfs::disk::superblock::Superblock;
use rbtrfs::disk::volume::{Chunk, Stripe};
use rbtrfs::disk::{DiskKey, Logical, objectid};
use rbtrfs::finding::{Finding, Severity};
use rbtrfs::image::Image;
use rbtrfs::problem::Problem;
use rbtrfs::tree::{Levels, TreeRoot, Walk};
use rbtrfs::volume::sys_chunk_array::Entries;
use rbtrfs::volume::{Notice, Volume};
use zerocopy::FromBytes;

use crate::support::change::make_filesystem;
use crate::support::contents::{choices, first_leaf, mirrors, place};
use crate::support::inject::Injector;
use crate::support::limits::rbtrfs_within_limits;
use crate::support::mounted::Mounted;
use crate::support::profiles::{PROFILES, Redundancy, without};
use crate::support::soundness::assert_sound;
use crate::support::*;

const ENTRY: usize = size_of::<DiskKey>() + size_of::<Chunk>();

/// Changes the stripes of the first chunk of the array.
fn stripes(superblock: &mut Superblock, change: impl Fn(&mut Stripe)) {
    let entry = Entries::new(superblock.sys_chunk_array()).next().unwrap().unwrap();
    let count = entry.stripes.len();
    for stripe in 0..count {
        let bytes = &mut superblock.sys_chunk_array[ENTRY + stripe * size_of::<Stripe>()..];
        change(Stripe::mut_from_prefix(bytes).unwrap().0);
    }
}

/// A place that no chunk has.
const AWAY: u64 = 200 << 20;

type Damage = fn(&mut Superblock);

/// What makes the array useless, and what a check calls it.
const DAMAGES: [(&str, &[&str], Damage); 5] = [
    ("emptied", &["super-field", "sys-array-missing"], |superblock| superblock.sys_chunk_array_size.set(0)),
    ("with a damaged key", &["sys-array-entry"], |superblock| superblock.sys_chunk_array[8] = 1),
    ("cut amid an entry", &["super-field", "sys-array-entry"], |superblock| {
        superblock.sys_chunk_array_size.set(ENTRY as u32)
    }),
    ("with stripes elsewhere", &["sys-array-mismatch"], |superblock| {
        stripes(superblock, |stripe| stripe.offset += 3 << 16);
    }),
    ("with devices that there are not", &["sys-array-mismatch"], |superblock| {
        stripes(superblock, |stripe| (stripe.devid, stripe.dev_uuid) = (stripe.devid + 70, Uuid([9; 16])));
    }),
];

fn fatal(problems: Vec<Problem>) -> BTreeSet<&'static str> {
    problems.iter().filter(|problem| problem.severity() == Severity::Fatal).map(Finding::code).collect()
}

/// The chunks that `list-chunks --raw` prints.
fn chunks(listed: &str) -> Vec<String> {
    let is_chunk = |line: &&str| line.starts_with("chunk") || line.starts_with("\tstripe");
    listed.lines().filter(is_chunk).map(|line| line.replace(" in sys_chunk_array", "")).collect()
}

#[track_caller]
fn assert_refused_and_untouched(injector: &Injector, what: &str) {
    let before = Injector::new(injector.images());
    for command in ["chunk-alloc --type data", "chunk-alloc --type system", "chunk-remove --unused"] {
        let run = run_rbtrfs(command, injector.images());
        assert_eq!((run.code, run.stderr.lines().count()), (2, 1), "{what}: {command}: {}", run.stderr);
        assert!(run.says(&["check it first"]), "{what}: {command}: {}", run.stderr);
    }
    assert_identical(injector.images(), before.images(), what);
}

#[test]
fn a_useless_array_costs_no_reader_anything_and_nothing_is_written() {
    for (number, Redundancy { name, .. }) in PROFILES.into_iter().enumerate() {
        let Some(images) = kernel_image_or_skip(name) else { return };
        let (dump, list) = (output_of("dump-tree", &images), chunks(&output_of("list-chunks --raw", &images)));
        // All of them where it is cheap, and each where stripes differ.
        let damages = if images.len() == 1 { &DAMAGES[..] } else { &DAMAGES[number % DAMAGES.len()..][..1] };
        for (damaged, codes, damage) in damages.iter().copied() {
            let what = format!("{name}, array {damaged}");
            let injector = Injector::new(&images);
            injector.superblocks(damage);
            let run = run_rbtrfs("dump-tree", injector.images());
            assert_eq!(run.code, 0, "{what}: {}", run.stderr);
            assert!(run.stdout == dump, "{what}: the dump is not the same");
            assert!(run.says(&["warning", "chunk tree block", "found"]), "{what}: {}", run.stderr);
            let run = run_rbtrfs("list-chunks --raw", injector.images());
            assert_eq!((run.code, chunks(&run.stdout)), (0, list.clone()), "{what}: {}", run.stderr);
            assert_eq!(fatal(check(&injector.volume(), 2)), codes.iter().copied().collect(), "{what}");
            assert_eq!(run_rbtrfs("check", injector.images()).code, 1, "{what}");
            assert_refused_and_untouched(&injector, &what);
        }
    }
}

#[test]
fn a_lost_device_hides_no_chunk_tree_that_the_rest_of_the_row_tells() {
    for Redundancy { name, metadata: tolerated, .. } in PROFILES {
        let Some(images) = kernel_image_or_skip(name) else { return };
        let dump = output_of("dump-tree", &images);
        let injector = Injector::new(&images);
        injector.superblocks(|superblock| superblock.sys_chunk_array_size.set(0));
        for lost in (1..=tolerated).flat_map(|count| choices(injector.images(), count)) {
            let left = without(injector.images(), &lost);
            let run = run_rbtrfs("dump-tree", &left);
            assert_eq!(run.code, 0, "{name} without {lost:?}: {}", run.stderr);
            assert!(run.stdout == dump, "{name} without {lost:?}: the dump is not the same");
        }
    }
}

/// The root of a chunk tree of many leaves, or some of its leaves, lie in chunks that the array lacks.
#[test]
fn every_block_of_a_chunk_tree_is_found() {
    let scratch = Scratch::in_memory();
    let Some(images) = copy_of_kernel_image_or_skip("nodesize-4k", &scratch) else { return };
    output_of("chunk-alloc --type system --size 1M", &images);
    output_of("chunk-alloc --type data --count 150 --size 256K", &images);
    // Blocks are copied into the chunk that has room.
    output_of("chunk-alloc --type data --count 5 --size 256K", &images);
    let dump = output_of("dump-tree", &images);
    let volume = open(&images);
    let root = TreeRoot::chunk_tree(&volume);
    let leaves = Walk::new(&volume, root.expected(), Levels::Only(0)).count();
    assert!(root.level > 0 && leaves > 3, "{leaves} leaves");
    let system: Vec<Logical> =
        volume.chunks().iter().filter(|chunk| chunk.flags.contains(SYSTEM)).map(|chunk| chunk.logical).collect();
    assert!(system.len() > 1);
    for lost in (1..=system.len()).flat_map(|count| choices(&system, count)) {
        let injector = Injector::new(&images);
        injector.superblocks(|superblock| lose_entries(superblock, &lost));
        let run = run_rbtrfs("dump-tree", injector.images());
        assert_eq!(run.code, 0, "without {lost:?}: {}", run.stderr);
        assert!(run.stdout == dump, "without {lost:?}: the dump is not the same");
        // Of no chunk at all the kernel refuses the superblock.
        let is_empty = lost.len() == system.len();
        let codes = ["sys-array-missing"].into_iter().chain(is_empty.then_some("super-field"));
        assert_eq!(fatal(check(&injector.volume(), 2)), codes.collect(), "without {lost:?}");
        for logical in &lost {
            assert!(run.says(&["warning", &format!("chunk {logical} is missing")]), "{}", run.stderr);
        }
        assert_refused_and_untouched(&injector, &format!("without {lost:?}"));
    }
}

fn lose_entries(superblock: &mut Superblock, lost: &[Logical]) {
    let mut array = Vec::new();
    let size = |stripes: usize| ENTRY + stripes * size_of::<Stripe>();
    let mut position = 0;
    for entry in Entries::new(superblock.sys_chunk_array()) {
        let entry = entry.unwrap();
        let end = position + size(entry.stripes.len());
        if !lost.contains(&Logical(entry.key.offset)) {
            array.extend_from_slice(&superblock.sys_chunk_array[position..end]);
        }
        position = end;
    }
    superblock.sys_chunk_array_size.set(array.len() as u32);
    superblock.sys_chunk_array.fill(0);
    superblock.sys_chunk_array[..array.len()].copy_from_slice(&array);
}

/// The block that is the newest is not always what the superblock says.
#[test]
fn no_other_block_is_taken_for_the_chunk_root() {
    let scratch = Scratch::in_memory();
    let Some(images) = copy_of_kernel_image_or_skip("dup", &scratch) else { return };
    let injector = Injector::new(&images);
    injector.superblocks(|superblock| superblock.sys_chunk_array_size.set(0));
    let wrong: [(&str, Damage); 3] = [
        ("generation", |superblock| superblock.chunk_root_generation -= 1),
        ("level", |superblock| superblock.chunk_root_level += 1),
        ("address", |superblock| superblock.chunk_root += 1 << 30),
    ];
    for (field, change) in wrong {
        let injector = Injector::new(injector.images());
        injector.superblocks(change);
        let opened = Volume::open(vec![Image::open(&injector.images()[0]).unwrap()]);
        let error = opened.map(drop).unwrap_err().to_string();
        assert!(error.contains("chunk root"), "wrong {field}: {error}");
    }
}

/// Images of which each copy of a leaf of the chunk tree was damaged, and the leaf: `damage` is told the image, place and
/// bytes of a copy.
fn with_bad_chunk_leaf(damage: impl Fn(&Injector, usize, u64, &[u8])) -> Option<(Injector, Logical)> {
    let images = kernel_image_or_skip("dup")?;
    let volume = open(&images);
    let logical = first_leaf(&volume, objectid::CHUNK_TREE).logical;
    let injector = Injector::new(&images);
    let mut good = vec![0; volume.format().nodesize as usize];
    for mirror in 1..=mirrors(&volume, logical) {
        let (image, offset) = place(&volume, logical, mirror);
        volume.read(logical, mirror, &mut good).unwrap();
        damage(&injector, image, offset, &good);
    }
    Some((injector, logical))
}

/// A block that is bad where it should be is nowhere else: disks of terabytes are not read for it.
#[test]
fn a_damaged_chunk_tree_is_told_from_one_that_lies_elsewhere() {
    let damaged = with_bad_chunk_leaf(|injector, image, offset, good| {
        injector.bytes(image, offset + 2000, 500, |bytes| bytes.fill(7));
        // A search would find this, where no chunk leads to it.
        injector.bytes(image, AWAY, good.len(), |bytes| bytes.copy_from_slice(good));
    });
    let Some((injector, _)) = damaged else { return };
    let error = Volume::open(vec![Image::open(&injector.images()[0]).unwrap()]).map(drop).unwrap_err().to_string();
    assert!(error.contains("checksum mismatch"), "{error}");
}

#[test]
fn a_search_of_terabytes_that_finds_nothing_ends_soon() {
    let damaged =
        with_bad_chunk_leaf(|injector, image, offset, _| injector.bytes(image, offset, 101, |bytes| bytes.fill(0)));
    let Some((injector, logical)) = damaged else { return };
    injector.superblocks(|superblock| superblock.sys_chunk_array_size.set(0));
    injector.resize(0, 8 << 40);
    // A check reports what is lost.
    for (command, code) in [("dump-tree", 2), ("list-chunks", 2), ("check", 1)] {
        let ended = rbtrfs_within_limits(&[command], &injector.images()[0]);
        assert_eq!(ended.code, Some(code), "{command}: {}", ended.stderr);
        let said = ended.stderr + &String::from_utf8_lossy(&ended.stdout);
        assert!(said.contains(&logical.to_string()), "{command}: {said}");
    }
}

/// Linux 6.18 adds a system chunk that has no room in the array, and moves the chunk root there.
#[test]
fn what_the_kernel_leaves_of_forty_devices_is_read() {
    let scratch = Scratch::in_memory();
    let options = ["-m", "raid10", "-d", "raid10", "-n", "64k"];
    let Some(images): Option<Vec<PathBuf>> = make_filesystem(&options, 40, 2 << 30, &scratch) else { return };
    let Some(mounted) = or_skip(Mounted::new(&images, "nossd", &scratch)) else { return };
    let Some(_) = or_skip(tool("fallocate", ["-l".as_ref(), "12G".as_ref(), mounted.path().join("f").as_os_str()]))
    else {
        return;
    };
    drop(mounted);
    let volume = open(&images);
    let listed: Vec<u64> =
        Entries::new(volume.superblock().sys_chunk_array()).map(|entry| entry.unwrap().key.offset).collect();
    let is_lost =
        volume.chunks().iter().any(|chunk| chunk.flags.contains(SYSTEM) && !listed.contains(&chunk.logical.0));
    if !is_lost {
        // A kernel that does it right.
        assert_sound(&images, "forty devices");
        return;
    }
    assert!(volume.notices().iter().any(|notice| matches!(notice, Notice::SysChunk { .. })), "{:?}", volume.notices());
    assert_eq!(fatal(check(&volume, 2)), BTreeSet::from(["sys-array-missing"]));
    assert!(chunks(&run_rbtrfs("list-chunks --raw", &images).stdout).len() > 5 * 40);
    drop(volume);
    let run = run_rbtrfs("chunk-alloc --type data", &images);
    assert!(run.code == 2 && run.says(&["check it first"]), "{}", run.stderr);
}
