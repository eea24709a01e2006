//! Data is verified on every copy: one flipped byte is found at its place and nothing else is, whatever holds it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use crate::support::contents::{checksums, for_each_item, place, trees};
use crate::support::failing_disk::FailingDisk;
use crate::support::inject::Injector;
use crate::support::soundness::beyond_notes;
use crate::support::{Scratch, change, check_data, copy_of_kernel_image_or_skip, kernel_image_or_skip, open, or_skip};
use rbtrfs::disk::flags::incompat;
use rbtrfs::disk::inode::{FileExtentDisk, FileExtentItem, compression, file_extent_type};
use rbtrfs::disk::{Key, KeyType, Logical, STRIPE_LEN, objectid};
use rbtrfs::finding::Finding;
use rbtrfs::problem::Problem;
use rbtrfs::volume::{ChunkMapping, Content, Volume};
use serde_json::{Value, json};

const SECTOR: usize = 4096;

/// Code and values of what is found, notes left out.
fn problems(images: &[PathBuf]) -> Vec<(&'static str, Value)> {
    let found = beyond_notes(check_data(&open(images), 2));
    found.iter().map(|problem| (problem.code(), values(problem))).collect()
}

fn values(problem: &Problem) -> Value {
    let mut values = serde_json::to_value(problem).unwrap();
    values.as_object_mut().unwrap().remove("problem");
    values
}

fn range(logical: u64, devid: usize, physical: u64, length: usize) -> Value {
    json!({"logical": logical, "length": length, "devid": devid, "physical": physical})
}

/// Other bits on each device, and none a power of the generator times another's: parity could cancel those out.
fn flip(images: &[PathBuf], (image, offset): (usize, u64)) {
    change(&images[image], offset + 100, 1, |bytes| bytes[0] ^= [0x03, 0x11, 0x5c, 0xa7][image]);
}

/// Makes damage, tells what is found, and takes the damage back.
fn found_with(images: &[PathBuf], places: &[(usize, u64)]) -> Vec<(&'static str, Value)> {
    places.iter().for_each(|place| flip(images, *place));
    let found = problems(images);
    places.iter().for_each(|place| flip(images, *place));
    found
}

/// The first, middle and last sector that has a checksum.
fn some_sectors(volume: &Volume) -> Vec<u64> {
    let sums: Vec<u64> = checksums(volume).into_keys().collect();
    vec![sums[0], sums[sums.len() / 2], sums[sums.len() - 1]]
}

fn chunk(volume: &Volume, logical: u64) -> ChunkMapping {
    volume.chunks().find(Logical(logical)).unwrap().clone()
}

/// The parts of files that a lost sector takes with it, of each tree.
fn files_of(volume: &Volume, logical: u64) -> Vec<Value> {
    let mut files = Vec::new();
    for tree in trees(volume).iter().filter(|tree| objectid::is_fs_tree(tree.key.objectid)) {
        for_each_item(volume, tree, |item| {
            if item.key.key_type != KeyType::EXTENT_DATA {
                return;
            }
            let (extent, rest) = FileExtentItem::read_prefix(item.data).unwrap();
            if extent.r#type != file_extent_type::REG {
                return;
            }
            let (disk, _) = FileExtentDisk::read_prefix(rest).unwrap();
            let (bytenr, num_bytes) = (disk.disk_bytenr.get(), disk.num_bytes.get());
            let (offset, length) = match extent.compression {
                compression::NONE => {
                    let first = bytenr + disk.offset.get();
                    if !(first..first + num_bytes).contains(&logical) {
                        return;
                    }
                    (item.key.offset + logical - first, SECTOR as u64)
                }
                _ if (bytenr..bytenr + disk.disk_num_bytes.get()).contains(&logical) => (item.key.offset, num_bytes),
                _ => return,
            };
            let (tree, inode) = (tree.key.objectid, item.key.objectid);
            files.push(json!({"tree": tree, "inode": inode, "offset": offset, "length": length}));
        });
    }
    files
}

/// Of trees that share a leaf only the first is told; each other file is. Adjacent parts of a file are told as one.
fn assert_lost(name: &str, volume: &Volume, logical: u64, found: &[(&str, Value)]) {
    let files = files_of(volume, logical);
    let told: Vec<&Value> = found.iter().filter(|(code, _)| *code == "data-lost-file").map(|(_, file)| file).collect();
    assert!(told.iter().all(|file| files.contains(file)), "{name}: {told:?}, not {files:?}");
    let inodes = |files: &mut dyn Iterator<Item = &Value>| -> BTreeSet<u64> {
        files.map(|file| file["inode"].as_u64().unwrap()).collect()
    };
    assert_eq!(inodes(&mut told.iter().copied()), inodes(&mut files.iter()), "{name}");
    let others = found.iter().filter(|(code, _)| *code != "data-lost-file");
    assert_eq!(others.map(|(code, _)| *code).collect::<Vec<_>>(), ["data-lost"], "{name}: {found:?}");
}

#[test]
fn a_bad_copy_is_found_while_another_is_good() {
    for name in ["dup", "raid1", "raid1c3", "raid1c4", "raid10", "mixed-dup"] {
        let scratch = Scratch::in_memory();
        let Some(images) = copy_of_kernel_image_or_skip(name, &scratch) else { return };
        let volume = open(&images);
        let logical = some_sectors(&volume)[1];
        let chunk = chunk(&volume, logical);
        assert!(chunk.mirrors() > 1);
        for mirror in 1..=chunk.mirrors() {
            let (image, offset) = place(&volume, Logical(logical), mirror);
            let expected = vec![("data-bad-copy", range(logical, image + 1, offset, SECTOR))];
            assert_eq!(found_with(&images, &[(image, offset)]), expected, "{name}");
        }
        let all: Vec<_> = (1..=chunk.mirrors()).map(|mirror| place(&volume, Logical(logical), mirror)).collect();
        let found = found_with(&images, &all);
        assert_lost(name, &volume, logical, &found);
        let first = ("data-lost", range(logical, all[0].0 + 1, all[0].1, SECTOR));
        assert!(found.contains(&first), "{name}: {found:?}");
    }
}

#[test]
fn the_only_copy_is_lost_whatever_the_checksum_and_named_with_its_files() {
    for name in ["single", "raid0", "xxhash", "sha256", "blake2", "mixed", "nodesize-64k"] {
        let scratch = Scratch::in_memory();
        let Some(images) = copy_of_kernel_image_or_skip(name, &scratch) else { return };
        let volume = open(&images);
        for logical in some_sectors(&volume) {
            let found = found_with(&images, &[place(&volume, Logical(logical), 1)]);
            assert_lost(name, &volume, logical, &found);
        }
    }
}

#[test]
fn a_compressed_extent_is_lost_as_a_whole() {
    let scratch = Scratch::in_memory();
    let Some(images) = copy_of_kernel_image_or_skip("single", &scratch) else { return };
    let volume = open(&images);
    let mut seen = [false; 4];
    for root in trees(&volume).iter().filter(|root| root.key.objectid == objectid::FS_TREE) {
        for_each_item(&volume, root, |item| {
            let Some((extent, rest)) = FileExtentItem::read_prefix(item.data) else { return };
            if item.key.key_type != KeyType::EXTENT_DATA || extent.r#type != file_extent_type::REG {
                return;
            }
            let (disk, _) = FileExtentDisk::read_prefix(rest).unwrap();
            let (method, logical) = (usize::from(extent.compression), disk.disk_bytenr.get());
            if logical == 0 || std::mem::replace(&mut seen[method], true) {
                return;
            }
            let found = found_with(&images, &[place(&volume, Logical(logical), 1)]);
            assert_lost("single", &volume, logical, &found);
        });
    }
    assert_eq!(seen, [true; 4]);
}

/// Image, place and row of a sector of parity. `wanted` is told of each sector of data that it covers whether that has a
/// checksum.
fn parity_place(volume: &Volume, index: usize, wanted: impl Fn(&[bool]) -> bool) -> (usize, u64, u64) {
    let sums = checksums(volume);
    let chunk = chunk(volume, *sums.keys().next().unwrap());
    let found = (0..chunk.stripe_size()).step_by(SECTOR).find_map(|offset| {
        let contents: Vec<Content> =
            (0..chunk.stripes.len()).map(|stripe| chunk.content(stripe, offset).unwrap()).collect();
        let has_sum = |content: &Content| match content {
            Content::Data(logical) => Some(sums.contains_key(&logical.0)),
            Content::Parity { .. } => None,
        };
        if !wanted(&contents.iter().filter_map(has_sum).collect::<Vec<bool>>()) {
            return None;
        }
        contents.iter().zip(&chunk.stripes).find_map(|(content, stripe)| match content {
            Content::Parity { index: own, row } if *own == index => {
                Some((stripe.devid as usize - 1, stripe.physical.0 + offset, row.0))
            }
            _ => None,
        })
    });
    found.expect("there is such a row")
}

#[test]
fn wrong_parity_is_found_and_a_bad_data_stripe_is_rebuilt() {
    for (name, parities) in [("raid5", 1), ("raid6", 2), ("raid5-data-raid1c3-meta", 1)] {
        let scratch = Scratch::in_memory();
        let Some(images) = copy_of_kernel_image_or_skip(name, &scratch) else { return };
        let volume = open(&images);
        for logical in some_sectors(&volume) {
            let (image, offset) = place(&volume, Logical(logical), 1);
            let expected = vec![("data-bad-copy", range(logical, image + 1, offset, SECTOR))];
            assert_eq!(found_with(&images, &[(image, offset)]), expected, "{name}");
        }
        for index in 0..parities {
            let (image, offset, row) = parity_place(&volume, index, |data| !data.contains(&false));
            let expected = vec![("parity-bad", range(row, image + 1, offset, SECTOR))];
            assert_eq!(found_with(&images, &[(image, offset)]), expected, "{name}");
            let is_mixed = |data: &[bool]| data.contains(&true) && data.contains(&false);
            let (image, offset, row) = parity_place(&volume, index, is_mixed);
            let expected = vec![("parity-disagrees", range(row, image + 1, offset, SECTOR))];
            assert_eq!(found_with(&images, &[(image, offset)]), expected, "{name}");
        }
        let logical = some_sectors(&volume)[1];
        let row: Vec<_> = crate::support::contents::row(&volume, Logical(logical));
        let found = found_with(&images, &row[..=parities]);
        assert!(found.iter().any(|(code, _)| *code == "data-lost"), "{name}: {found:?}");
    }
}

#[test]
fn the_parity_of_tree_blocks_is_verified_too() {
    let scratch = Scratch::in_memory();
    let Some(images) = copy_of_kernel_image_or_skip("raid5", &scratch) else { return };
    let volume = open(&images);
    let block = crate::support::contents::first_leaf(&volume, objectid::FS_TREE).logical;
    let chunk = chunk(&volume, block.0);
    let (stripe, physical) = chunk.place(block, 1).unwrap();
    let offset = physical.0 - stripe.physical.0;
    let parity = (0..chunk.stripes.len()).find_map(|stripe| match chunk.content(stripe, offset).unwrap() {
        Content::Parity { row, .. } => Some((chunk.stripes[stripe], row.0)),
        Content::Data(_) => None,
    });
    let (stripe, row) = parity.unwrap();
    let place = (stripe.devid as usize - 1, stripe.physical.0 + offset);
    let expected = vec![("parity-disagrees", range(row, place.0 + 1, place.1, SECTOR))];
    assert_eq!(found_with(&images, &[place]), expected);
}

/// The kernel writes parity with the data, sector by sector: what was on the disks before stays wherever a row has no
/// data, allocated or not.
#[test]
fn what_was_never_written_has_no_parity() {
    for name in ["raid5", "raid6", "raid5-data-raid1c3-meta"] {
        let scratch = Scratch::in_memory();
        let Some(images) = copy_of_kernel_image_or_skip(name, &scratch) else { return };
        let volume = open(&images);
        let sums = checksums(&volume);
        let chunk = chunk(&volume, *sums.keys().next().unwrap());
        let mut filled = 0;
        for offset in (0..chunk.stripe_size()).step_by(SECTOR) {
            let has_sum = |stripe: usize| match chunk.content(stripe, offset).unwrap() {
                Content::Data(logical) => sums.contains_key(&logical.0),
                Content::Parity { .. } => false,
            };
            let is_superblock = |physical: u64| (64 << 20..(64 << 20) + SECTOR as u64).contains(&physical);
            if (0..chunk.stripes.len()).any(has_sum) || filled > 20_000 {
                continue;
            }
            for stripe in chunk.stripes.iter().filter(|stripe| !is_superblock(stripe.physical.0 + offset)) {
                let (image, byte) = (stripe.devid as usize - 1, (offset / 4096 * 37 + stripe.devid) as u8);
                change(&images[image], stripe.physical.0 + offset, SECTOR, |bytes| bytes.fill(byte));
                filled += 1;
            }
        }
        assert!(filled > 1000);
        assert_eq!(problems(&images), [], "{name}");
    }
}

#[test]
fn what_is_lost_in_one_piece_is_told_as_one() {
    for name in ["raid0", "raid1", "raid10", "raid5"] {
        let scratch = Scratch::in_memory();
        let Some(images) = copy_of_kernel_image_or_skip(name, &scratch) else { return };
        let volume = open(&images);
        // Runs of sectors with checksums on the devices.
        let mut places: BTreeMap<(usize, u64), u64> = BTreeMap::new();
        for logical in checksums(&volume).into_keys() {
            let chunk = chunk(&volume, logical);
            let copies = if chunk.profile.geometry().nparity > 0 { 1 } else { chunk.mirrors() };
            places.extend((1..=copies).map(|mirror| (place(&volume, Logical(logical), mirror), logical)));
        }
        // With parity on three devices, each third element of a device is parity.
        let length = if name == "raid5" { 2 } else { 5 } * STRIPE_LEN as usize;
        let has_sums = |(image, offset): (usize, u64)| {
            (offset..offset + length as u64).step_by(SECTOR).all(|offset| places.contains_key(&(image, offset)))
        };
        let (image, offset) = places.keys().copied().find(|place| has_sums(*place)).expect("a run of data");
        change(&images[image], offset, length, |bytes| bytes.iter_mut().for_each(|byte| *byte ^= 0x55));
        let found = problems(&images);
        let code = if name == "raid0" { "data-lost" } else { "data-bad-copy" };
        let expected = (code, range(places[&(image, offset)], image + 1, offset, length));
        let found: Vec<_> = found.into_iter().filter(|(code, _)| *code != "data-lost-file").collect();
        assert_eq!(found, [expected], "{name}");
    }
}

#[test]
fn a_missing_device_is_no_damage_and_what_is_lost_beside_it_is() {
    for (name, tolerates) in [("raid1", true), ("raid10", true), ("raid5", true), ("raid6", true), ("raid0", false)] {
        let scratch = Scratch::in_memory();
        let Some(images) = copy_of_kernel_image_or_skip(name, &scratch) else { return };
        let volume = open(&images);
        let logical = some_sectors(&volume)[1];
        let (own, _) = place(&volume, Logical(logical), 1);
        let left: Vec<PathBuf> =
            images.iter().enumerate().filter(|(image, _)| *image != own).map(|(_, image)| image.clone()).collect();
        let is_of_data = |(code, _): &(&str, Value)| code.starts_with("data-") || code.starts_with("parity-");
        assert!(!problems(&left).iter().any(is_of_data), "{name}");
        if !tolerates {
            continue;
        }
        assert_eq!(problems(&left), [], "{name}");
        let others: Vec<(usize, u64)> = match name {
            "raid1" | "raid10" => vec![place(&volume, Logical(logical), 2)],
            _ => crate::support::contents::row(&volume, Logical(logical))[1..].to_vec(),
        };
        others.iter().for_each(|place| flip(&images, *place));
        let found = problems(&left);
        others.iter().for_each(|place| flip(&images, *place));
        let is_lost = |(code, values): &(&str, Value)| *code == "data-lost" && values["logical"] == logical;
        assert!(found.iter().any(is_lost), "{name}: {found:?}");
    }
}

#[test]
fn a_sector_that_cannot_be_read_is_a_bad_copy() {
    let scratch = Scratch::in_memory();
    let Some(images) = kernel_image_or_skip("raid1") else { return };
    let volume = open(&images);
    let logical = some_sectors(&volume)[1];
    let (image, offset) = place(&volume, Logical(logical), 2);
    let sector = offset..offset + SECTOR as u64;
    let Some(disk) = or_skip(FailingDisk::new(&images[image], vec![sector], &scratch)) else { return };
    let mut failing = images.clone();
    failing[image] = disk.image();
    assert_eq!(problems(&failing), [("data-bad-copy", range(logical, image + 1, offset, SECTOR))]);
    let found = check_data(&open(&failing), 2);
    let told = found.iter().find(|problem| problem.code() == "data-bad-copy").unwrap().to_string();
    assert!(told.contains("nput/output error"), "{told}");
}

#[test]
fn the_number_of_threads_makes_no_difference() {
    for name in ["raid10", "raid6", "single"] {
        let scratch = Scratch::in_memory();
        let Some(images) = copy_of_kernel_image_or_skip(name, &scratch) else { return };
        let volume = open(&images);
        let damaged = checksums(&volume).into_keys().enumerate().filter(|(index, _)| index % 7 < 3);
        damaged.for_each(|(_, logical)| flip(&images, place(&volume, Logical(logical), 1)));
        let one = check_data(&open(&images), 1);
        assert!(one.len() > 20, "{name}: {}", one.len());
        assert_eq!(one, check_data(&open(&images), 3), "{name}");
    }
}

#[test]
fn what_no_extent_holds_is_not_called_lost() {
    let Some(images) = kernel_image_or_skip("single") else { return };
    let injector = Injector::new(&images);
    let logical = some_sectors(&injector.volume())[1];
    let holds = |key: &Key| key.key_type == KeyType::EXTENT_ITEM && key.objectid <= logical;
    let mut items = injector.items(objectid::EXTENT_TREE).into_iter().map(|(key, _)| key);
    let key = items.rfind(holds).unwrap();
    assert!(logical < key.objectid + key.offset);
    flip(injector.images(), place(&injector.volume(), Logical(logical), 1));
    injector.remove_item(objectid::EXTENT_TREE, key);
    let found = problems(injector.images());
    assert!(found.iter().any(|(code, _)| *code == "csum-without-extent"), "{found:?}");
    assert!(!found.iter().any(|(code, _)| code.starts_with("data-")), "{found:?}");
}

#[test]
fn what_the_raid_stripe_tree_places_is_not_called_bad() {
    let Some(images) = kernel_image_or_skip("raid1") else { return };
    let injector = Injector::new(&images);
    flip(injector.images(), place(&injector.volume(), Logical(some_sectors(&injector.volume())[1]), 1));
    injector.superblocks(|superblock| {
        superblock.incompat_flags.set(superblock.incompat_flags.get() | incompat::RAID_STRIPE_TREE);
    });
    let found = check_data(&injector.volume(), 2);
    let codes: BTreeSet<_> = found.iter().map(Finding::code).filter(|code| code.starts_with("data-")).collect();
    assert_eq!(codes, BTreeSet::from(["data-not-verified"]));
}
