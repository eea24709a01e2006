//! Damaged copies, lost devices and trees with holes.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Seek, SeekFrom};

use rbtrfs::disk::inode::{FileExtentDisk, FileExtentItem};
use rbtrfs::disk::objectid::{CSUM_TREE, EXTENT_CSUM, FS_TREE, ROOT_DIR};
use rbtrfs::disk::{Key, KeyType, Logical, STRIPE_LEN};
use rbtrfs::error::{Error, FileProblem, RangeProblem};
use rbtrfs::files::{Files, InodeId, Notice, Start};
use rbtrfs::volume::Volume;

use super::support::contents::{choices, for_each_item, mirrors, place, tree};
use super::support::inject::Injector;
use super::support::profiles::{PROFILES, Redundancy, without};
use super::support::*;
use super::{Told, all_that_is_readable, read};

const SECTOR: u64 = 4096;
const PATHS: [&str; 7] = [
    "files/random",
    "files/nodatacow",
    "files/bookend",
    "files/text-2048",
    "zlib/text-400000",
    "lzo/text-400000",
    "zstd/text-400000",
];

/// Those of the files that are there.
fn contents_of(volume: &Volume) -> BTreeMap<&'static str, Vec<u8>> {
    let files = Files::open(volume, Start::TopLevel).unwrap();
    let found: BTreeMap<_, _> =
        PATHS.into_iter().filter(|path| files.lookup(path).is_ok()).map(|path| (path, read(&files, path))).collect();
    assert!(found.len() >= PATHS.len() - 1);
    found
}

/// Offset in the file and the structs of the extents of a file that are on disk.
fn extents(volume: &Volume, id: InodeId) -> Vec<(u64, FileExtentItem, FileExtentDisk)> {
    let mut extents = Vec::new();
    for_each_item(volume, &tree(volume, id.tree.0), |item| {
        if (item.key.objectid, item.key.key_type) == (id.ino.0, KeyType::EXTENT_DATA) {
            let (extent, rest) = FileExtentItem::read_prefix(item.data).unwrap();
            if extent.r#type == 1 {
                extents.push((item.key.offset, *extent, *FileExtentDisk::read_prefix(rest).unwrap().0));
            }
        }
    });
    extents.retain(|(_, _, disk)| disk.disk_bytenr.get() != 0);
    extents
}

fn lookup(volume: &Volume, path: &str) -> InodeId {
    Files::open(volume, Start::TopLevel).unwrap().lookup(path).unwrap()
}

/// Where the sector of an uncompressed file at `offset` lies.
fn address(volume: &Volume, path: &str, offset: u64) -> Logical {
    let extents = extents(volume, lookup(volume, path));
    let holds = |(start, _, disk): &&(u64, FileExtentItem, FileExtentDisk)| {
        (*start..start + disk.num_bytes.get()).contains(&offset)
    };
    let (start, extent, disk) = extents.iter().find(holds).unwrap();
    assert_eq!(extent.compression, 0);
    Logical(disk.disk_bytenr.get() + disk.offset.get() + offset - start)
}

/// The range of an error, and why.
fn range(error: &Error) -> (u64, u64, &RangeProblem) {
    match error {
        Error::File { problem, .. } => match &**problem {
            FileProblem::Range { offset, length, problem } => (*offset, *length, problem),
            other => panic!("{other}"),
        },
        other => panic!("{other}"),
    }
}

#[test]
fn a_bad_copy_of_any_sector_costs_nothing_and_is_told() {
    for Redundancy { name, data: tolerated, .. } in PROFILES.iter().filter(|profile| profile.data > 0) {
        let scratch = Scratch::new();
        let Some(images) = copy_of_kernel_image_or_skip(name, &scratch) else { return };
        let volume = open(&images);
        let sound = contents_of(&volume);
        let sums = contents::checksums(&volume);
        // Sectors so far from each other that no two of them are in one row at the same place.
        let damaged: BTreeSet<u64> = sums.keys().copied().step_by(41).collect();
        for address in &damaged {
            let (image, offset) = place(&volume, Logical(*address), 1);
            change(&images[image], offset, 4096, |bytes| bytes.iter_mut().for_each(|byte| *byte ^= 0x5a));
        }
        let told = Told::default();
        let files = told.open(&volume, Start::TopLevel);
        for (path, sound) in &sound {
            assert!(read(&files, path) == *sound, "{name}: {path}, {tolerated}");
        }
        drop(files);
        let mut met = 0;
        for notice in told.take() {
            let Notice::DataCopy { logical, copy, .. } = notice else { panic!("{name}: {notice}") };
            assert!(damaged.contains(&logical.0) && copy.mirror == 1, "{name}: {logical} {copy}");
            met += 1;
        }
        assert!(met >= 10, "{name}: {met} bad copies were met");
    }
}

#[test]
fn lost_devices_cost_nothing_that_the_profile_tolerates() {
    for Redundancy { name, data: tolerated, metadata } in PROFILES {
        let Some(images) = kernel_image_or_skip(name) else { return };
        let sound = contents_of(&open(&images));
        for lost in choices(&images, tolerated.min(metadata)) {
            if lost.is_empty() {
                continue;
            }
            let volume = open(&without(&images, &lost));
            let told = Told::default();
            let files = told.open(&volume, Start::TopLevel);
            for (path, sound) in &sound {
                assert!(read(&files, path) == *sound, "{name} without {lost:?}: {path}");
            }
            drop(files);
            // The volume tells of them, once.
            assert_eq!(told.take(), [], "{name} without {lost:?}");
        }
    }
}

/// The place of the parity of a byte in a chunk of RAID5.
fn parity_of(volume: &Volume, logical: Logical) -> (usize, u64) {
    let chunk = volume.chunks().find(logical).unwrap();
    let (element, within) = ((logical.0 - chunk.logical.0) / STRIPE_LEN, (logical.0 - chunk.logical.0) % STRIPE_LEN);
    let row = element / chunk.data_stripes();
    let stripe = &chunk.stripes[chunk.stripe_index(row, chunk.data_stripes(), 1)];
    (stripe.devid as usize - 1, stripe.physical.0 + row * STRIPE_LEN + within)
}

#[test]
fn a_sector_without_a_good_copy_is_an_error_in_its_place_and_the_rest_is_read() {
    const AT: u64 = 300 * SECTOR;
    for name in ["single", "raid1", "raid1c3", "raid0", "raid10", "raid5", "mixed-dup"] {
        let scratch = Scratch::new();
        let Some(images) = copy_of_kernel_image_or_skip(name, &scratch) else { return };
        let volume = open(&images);
        let sound = contents_of(&volume);
        let logical = address(&volume, "files/random", AT);
        let places = match name {
            "raid5" => vec![place(&volume, logical, 1), parity_of(&volume, logical)],
            _ => (1..=mirrors(&volume, logical)).map(|mirror| place(&volume, logical, mirror)).collect(),
        };
        for (image, offset) in places {
            change(&images[image], offset, 1, |bytes| bytes[0] ^= 1);
        }
        let files = Files::open(&volume, Start::TopLevel).unwrap();
        let id = files.lookup("files/random").unwrap();
        let (bytes, errors) = all_that_is_readable(&files, id);
        let mut expected = sound["files/random"].clone();
        expected[AT as usize..][..SECTOR as usize].fill(0);
        assert!(bytes == expected, "{name}");
        assert_eq!(errors.len(), 1, "{name}: {errors:?}");
        let (offset, length, problem) = range(&errors[0]);
        assert_eq!((offset, length), (AT, SECTOR), "{name}");
        assert!(matches!(problem, RangeProblem::Data { logical: lost, .. } if *lost == logical), "{name}: {problem}");
        let text = errors[0].to_string();
        let parts = [format!("inode {}", id.ino), format!("offset {AT}"), format!("data {logical}"), "checksum".into()];
        assert!(parts.iter().all(|part| text.contains(part)), "{text}");

        // A buffer that begins before it is filled up to it.
        let mut buffer = vec![0; 100_000];
        assert_eq!(files.read(id, AT - 1000, &mut buffer).unwrap(), 1000);
        for offset in [AT, AT + 1, AT + SECTOR - 1] {
            let error = files.read(id, offset, &mut buffer).unwrap_err();
            assert_eq!(range(&error).0 + range(&error).1, AT + SECTOR);
        }
        assert_eq!(files.read(id, AT + SECTOR, &mut buffer).unwrap(), buffer.len());

        // A stream stays before it, and may be put behind it.
        let mut file = files.file(id).unwrap();
        let mut read = Vec::new();
        let error = file.read_to_end(&mut read).unwrap_err().downcast::<Error>().unwrap();
        assert_eq!((range(&error).0, file.stream_position().unwrap()), (AT, AT), "{name}");
        assert_eq!(read, sound["files/random"][..AT as usize], "{name}");
        file.seek(SeekFrom::Current(SECTOR as i64)).unwrap();
        read.clear();
        file.read_to_end(&mut read).unwrap();
        assert_eq!(read, sound["files/random"][(AT + SECTOR) as usize..], "{name}");
    }
}

#[test]
fn a_lost_sector_of_a_compressed_extent_costs_that_extent() {
    for method in ["zlib", "lzo", "zstd"] {
        let path = format!("{method}/text-400000");
        let scratch = Scratch::new();
        let Some(images) = copy_of_kernel_image_or_skip("single", &scratch) else { return };
        let volume = open(&images);
        let sound = contents_of(&volume).remove(&*path).unwrap();
        let extents = extents(&volume, lookup(&volume, &path));
        // One that no other part of the file is in.
        let is_alone = |address| extents.iter().filter(|(_, _, disk)| disk.disk_bytenr.get() == address).count() == 1;
        let (start, _, disk) = extents
            .iter()
            .find(|(start, extent, disk)| *start > 0 && extent.compression != 0 && is_alone(disk.disk_bytenr.get()))
            .unwrap();
        let (image, offset) = place(&volume, Logical(disk.disk_bytenr.get()), 1);
        change(&images[image], offset + 100, 1, |bytes| bytes[0] ^= 1);
        let files = Files::open(&volume, Start::TopLevel).unwrap();
        let (bytes, errors) = all_that_is_readable(&files, files.lookup(&path).unwrap());
        assert_eq!(errors.len(), 1, "{method}: {errors:?}");
        let (offset, length, _) = range(&errors[0]);
        assert_eq!((offset, length), (*start, disk.num_bytes.get()), "{method}");
        let mut expected = sound;
        expected[offset as usize..][..length as usize].fill(0);
        assert!(bytes == expected, "{method}");
    }
}

#[test]
fn data_whose_checksums_are_lost_is_handed_out_to_those_who_ask_for_it() {
    let Some(images) = kernel_image_or_skip("single") else { return };
    for how in ["item", "leaf", "root"] {
        let injector = Injector::new(&images);
        let sound = contents_of(&injector.volume());
        let logical = address(&injector.volume(), "files/random", 0);
        let key = Key::new(EXTENT_CSUM, KeyType::EXTENT_CSUM, logical.0);
        match how {
            "item" => injector.leaf(CSUM_TREE, key, |items| items.retain(|(item, _)| item.offset > logical.0)),
            "leaf" => injector.block_unstamped(injector.leaf_of(CSUM_TREE, key), |bytes| bytes.fill(1)),
            _ => injector.remove_item(1, Key::new(CSUM_TREE, KeyType::ROOT_ITEM, 0)),
        }
        let volume = injector.volume();
        let told = Told::default();
        let files = told.open(&volume, Start::TopLevel);
        let id = files.lookup("files/random").unwrap();
        let (bytes, errors) = all_that_is_readable(&files, id);
        assert!(!errors.is_empty(), "{how}");
        for (offset, length, problem) in errors.iter().map(range) {
            assert!(matches!(problem, RangeProblem::Unverified { .. }), "{how}: {problem}");
            assert!(bytes[offset as usize..][..length as usize].iter().all(|byte| *byte == 0));
        }
        // What has no checksums on purpose does not need them.
        assert!(read(&files, "files/nodatacow") == sound["files/nodatacow"], "{how}");
        assert!(read(&files, "files/text-2048") == sound["files/text-2048"], "{how}");
        told.take();
        let asked = told.open_with(&volume, Start::TopLevel, true);
        for (path, sound) in &sound {
            assert!(read(&asked, path) == *sound, "{how}: {path}");
        }
        drop(asked);
        let notices = told.take();
        let unverified = notices.iter().filter(|notice| matches!(notice, Notice::Unverified { .. })).count();
        assert!(unverified > 0, "{how}: {notices:?}");
        assert_eq!(notices.len() > unverified, how == "leaf", "{how}: {notices:?}");
    }
}

#[test]
fn a_directory_with_a_leaf_that_cannot_be_read_is_listed_by_the_other_items() {
    let Some(images) = kernel_image_or_skip("deep") else { return };
    for key_type in [KeyType::DIR_ITEM, KeyType::DIR_INDEX] {
        let injector = Injector::new(&images);
        let middle = if key_type == KeyType::DIR_ITEM { 1 << 31 } else { 15_000 };
        let leaf = injector.leaf_of(FS_TREE, Key::new(ROOT_DIR, key_type, middle));
        injector.block_unstamped(leaf, |bytes| bytes[2000] ^= 1);
        let (volume, told) = (injector.volume(), Told::default());
        let files = told.open(&volume, Start::TopLevel);
        let (entries, errors): (Vec<_>, Vec<_>) = files.read_dir(files.root()).unwrap().partition(Result::is_ok);
        let names: BTreeSet<Vec<u8>> = entries.into_iter().map(|entry| entry.unwrap().name).collect();
        assert_eq!((names.len(), errors.len()), (30_000, 1), "{key_type}");
        told.take();
        for number in 1..=300 {
            let name = format!("file-{}", number * 100);
            let id = files.lookup(&name).unwrap_or_else(|error| panic!("{key_type}: {name}: {error}"));
            assert_eq!(files.attributes(id).unwrap().size, 10);
        }
    }
}

#[test]
fn a_file_with_a_leaf_that_cannot_be_read_is_read_on_both_sides_of_it() {
    let scratch = Scratch::new();
    let Some(images) = change::make_filesystem(&["-n", "4k"], 1, 256 << 20, &scratch) else { return };
    let Some(mounted) = or_skip(mounted::Mounted::new(&images, "noatime", &scratch)) else { return };
    // Each block is written for itself.
    let script = "for n in $(seq 0 2 400); do head -c 4096 /dev/urandom | dd of=file bs=4096 seek=$n conv=notrunc status=none; done";
    let sh = std::process::Command::new("sh").args(["-ec", script]).current_dir(mounted.path()).status().unwrap();
    assert!(sh.success());
    drop(mounted);
    let injector = Injector::new(&images);
    let sound = { read(&Files::open(&injector.volume(), Start::TopLevel).unwrap(), "file") };
    let id = lookup(&injector.volume(), "file");
    let leaf = injector.leaf_of(FS_TREE, Key::new(id.ino.0, KeyType::EXTENT_DATA, 200 * SECTOR));
    injector.block_unstamped(leaf, |bytes| bytes[2000] ^= 1);
    let volume = injector.volume();
    let files = Files::open(&volume, Start::TopLevel).unwrap();
    let (bytes, errors) = all_that_is_readable(&files, id);
    assert_eq!(errors.len(), 1, "{errors:?}");
    let (offset, length, problem) = range(&errors[0]);
    assert!(matches!(problem, RangeProblem::TreeBlock { logical, .. } if *logical == leaf), "{problem}");
    assert!((offset..offset + length).contains(&(200 * SECTOR)) && length < 110 * SECTOR, "{offset} {length}");
    let mut expected = sound;
    expected[offset as usize..][..length as usize].fill(0);
    assert!(bytes == expected);
}
