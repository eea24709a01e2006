//! What is written is what every copy holds, parity too, and nothing else changes; what is in use is not written.
//!
//! The judges are the kernel, btrfs-progs, and a model of parity that is as slow as the definition.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use rbtrfs::Error;
use rbtrfs::block::BlockKind;
use rbtrfs::block::verify::Expected;
use rbtrfs::disk::node::{HEADER_SIZE, Item, KeyPtr};
use rbtrfs::disk::{Logical, Profile, STRIPE_LEN};
use rbtrfs::image::Image;
use rbtrfs::tree::stale_devices;
use rbtrfs::volume::{ChunkMapping, MissingDevices, Staged, Volume, WritableVolume, superblock_ranges};

use crate::support::contents::*;
use crate::support::mounted::{Mounted, attach, attach_with, btrfs_check, detach};
use crate::support::profiles::{PROFILES, Redundancy, without};
use crate::support::soundness::assert_sound;
use crate::support::*;

/// What has another form than the filesystems of the profiles.
const FORMS: [&str; 6] = ["mixed", "nodesize-4k", "nodesize-64k", "sha256", "convert", "uuid-metadata"];

type Ranges = BTreeMap<Logical, Vec<u8>>;

fn writable(images: &[PathBuf], missing: MissingDevices) -> WritableVolume {
    WritableVolume::open(images, missing).unwrap()
}

fn staged(ranges: &Ranges) -> Vec<Staged<'_>> {
    ranges.iter().map(|(logical, bytes)| Staged { logical: *logical, bytes }).collect()
}

fn write(volume: &WritableVolume, ranges: &Ranges) {
    volume.write(volume.volume().chunks(), &staged(ranges)).unwrap();
}

/// All tree blocks, `change`d.
fn tree_blocks(volume: &Volume, change: impl Fn(&Expected, &mut Vec<u8>)) -> Ranges {
    let mut ranges = Ranges::new();
    for block in blocks(volume) {
        let mut bytes = volume.read_block(&block, &mut Vec::new()).unwrap().block.bytes().to_vec();
        change(&block, &mut bytes);
        ranges.insert(block.logical, bytes);
    }
    ranges
}

/// All tree blocks with other bytes where they have none that mean anything.
fn changed_blocks(volume: &Volume) -> Ranges {
    tree_blocks(volume, |_, bytes| {
        let block = rbtrfs::block::Block::new(bytes).unwrap();
        let nritems = block.header().nritems.get() as usize;
        let unused = match block.kind() {
            BlockKind::Node(_) => HEADER_SIZE + nritems * size_of::<KeyPtr>()..bytes.len(),
            BlockKind::Leaf(leaf) => {
                let data = leaf.items().flatten().map(|item| item.data.as_ptr() as usize - bytes.as_ptr() as usize);
                HEADER_SIZE + nritems * size_of::<Item>()..data.min().unwrap_or(bytes.len())
            }
        };
        bytes[unused].fill(0x5a);
        volume.format().csum_type.stamp(bytes);
    })
}

fn data(volume: &Volume) -> Ranges {
    let mut ranges = Ranges::new();
    for (address, length) in data_extents(volume) {
        let mut bytes = vec![0; length as usize];
        volume.read(Logical(address), 1, &mut bytes).unwrap();
        ranges.insert(Logical(address), bytes);
    }
    ranges
}

// ---- profiles

#[test]
fn what_is_written_as_it_was_changes_no_byte() {
    let forms = FORMS.into_iter().chain(["seed-sprout", "dev-replace"]);
    for name in PROFILES.into_iter().map(|profile| profile.name).chain(forms) {
        let scratch = Scratch::in_memory();
        let Some(before) = kernel_image_or_skip(name) else { return };
        let images = copies(&before, &scratch.new_directory());
        let volume = writable(&images, MissingDevices::Refuse);
        let mut ranges = tree_blocks(volume.volume(), |_, _| {});
        ranges.append(&mut data(volume.volume()));
        // What lies on a seed is not written.
        let is_own = |logical: &Logical| {
            let chunk = volume.volume().chunks().find(*logical).unwrap();
            chunk.stripes.iter().all(|stripe| !volume.volume().device(stripe).unwrap().is_seed())
        };
        ranges.retain(|logical, _| is_own(logical));
        assert!(ranges.len() > 5, "{name}");
        write(&volume, &ranges);
        assert_identical(&images, &before, name);
        for (logical, bytes) in ranges {
            write(&volume, &Ranges::from([(logical, bytes)]));
        }
        assert_identical(&images, &before, name);
    }
}

#[test]
fn the_kernel_finds_every_copy_of_what_was_written_good() {
    for name in PROFILES.into_iter().map(|profile| profile.name).chain(FORMS) {
        let scratch = Scratch::in_memory();
        let Some(images) = copy_of_kernel_image_or_skip(name, &scratch) else { return };
        let Some(contents) = or_skip(Mounted::new(&images, "ro", &scratch)).map(|mounted| mounted.contents()) else {
            return;
        };
        let volume = writable(&images, MissingDevices::Refuse);
        write(&volume, &changed_blocks(volume.volume()));
        drop(volume);
        assert_sound(&images, name);
        or_skip(btrfs_check(&images));
        images.iter().for_each(|image| File::options().write(true).open(image).unwrap().set_len(1 << 30).unwrap());
        let mounted = Mounted::new(&images, "rw", &scratch).unwrap();
        assert_eq!(mounted.contents(), contents, "{name}");
        mounted.scrub();
    }
}

#[test]
fn parity_that_was_written_brings_back_a_lost_device() {
    let has_parity = |profile: &Redundancy| profile.name.starts_with("raid5") || profile.name.starts_with("raid6");
    for Redundancy { name, data: tolerated, .. } in PROFILES.into_iter().filter(has_parity) {
        let scratch = Scratch::in_memory();
        let Some(images) = copy_of_kernel_image_or_skip(name, &scratch) else { return };
        let volume = writable(&images, MissingDevices::Refuse);
        let ranges = changed_blocks(volume.volume());
        write(&volume, &ranges);
        drop(volume);
        let Some(contents) = or_skip(Mounted::new(&images, "ro", &scratch)).map(|mounted| mounted.contents()) else {
            return;
        };
        for lost in choices(&images, tolerated) {
            let left = without(&images, &lost);
            let volume = open(&left);
            assert_eq!(tree_blocks(&volume, |_, _| {}), ranges, "{name} without {lost:?}");
            let mounted = Mounted::new(&left, "ro,degraded", &scratch).unwrap();
            assert_eq!(mounted.contents(), contents, "{name} without {lost:?}");
        }
    }
}

#[test]
fn what_is_written_without_a_device_is_there_without_it_and_so_is_all_else() {
    for Redundancy { name, data: tolerated, .. } in PROFILES.into_iter().filter(|profile| profile.data > 0) {
        let scratch = Scratch::in_memory();
        let Some(images) = copy_of_kernel_image_or_skip(name, &scratch) else { return };
        let Some(contents) = or_skip(Mounted::new(&images, "ro", &scratch)).map(|mounted| mounted.contents()) else {
            return;
        };
        for lost in choices(&images, tolerated) {
            let scratch = Scratch::in_memory();
            let left = copies(&without(&images, &lost), &scratch.new_directory());
            let refused = WritableVolume::open(&left, MissingDevices::Refuse);
            assert!(matches!(refused, Err(Error::MissingDevice { .. })), "{name}: {refused:?}");
            let volume = writable(&left, MissingDevices::Skip);
            // Half of the blocks: the others, in the same rows, are to stay.
            let mut expected = tree_blocks(volume.volume(), |_, _| {});
            let written: Ranges = changed_blocks(volume.volume()).into_iter().step_by(2).collect();
            write(&volume, &written);
            drop(volume);
            expected.extend(written);
            assert!(tree_blocks(&open(&left), |_, _| {}) == expected, "{name} without {lost:?}");
            assert_sound(&left, &format!("{name} without {lost:?}"));
            let mounted = Mounted::new(&left, "ro,degraded", &scratch).unwrap();
            assert_eq!(mounted.contents(), contents, "{name} without {lost:?}");
        }
    }
}

#[test]
fn a_chunk_that_lost_too_much_is_not_written() {
    let scratch = Scratch::in_memory();
    // Metadata outlives two devices, data one.
    let Some(images) = kernel_image_or_skip("raid5-data-raid1c3-meta") else { return };
    let before = &images[..2];
    let images = copies(before, &scratch.new_directory());
    let volume = writable(&images, MissingDevices::Skip);
    let chunks = volume.volume().chunks();
    let chunk = chunks.iter().find(|chunk| chunk.profile == Profile::Raid5).unwrap();
    let metadata = tree_blocks(volume.volume(), |_, _| {});
    let mut ranges = metadata.clone();
    ranges.insert(chunk.logical, vec![1; 4096]);
    let error = volume.write(chunks, &staged(&ranges)).unwrap_err().to_string();
    assert!(error.contains("2 of its stripes are missing, RAID5 tolerates 1"), "{error}");
    assert_identical(&images, before, "refused");
    write(&volume, &metadata);
}

// ---- parity against its definition

fn multiply(mut left: u8, mut right: u8) -> u8 {
    let mut product = 0;
    while right != 0 {
        product ^= if right & 1 != 0 { left } else { 0 };
        left = left << 1 ^ if left & 0x80 != 0 { 0x1d } else { 0 };
        right >>= 1;
    }
    product
}

/// P and Q of a row as the sums that they are, against what is on the disks.
fn assert_parity(images: &[PathBuf], chunk: &ChunkMapping, row: u64) {
    let parities = usize::from(chunk.profile.geometry().nparity);
    let count = chunk.stripes.len();
    let columns: Vec<Vec<u8>> = (0..count)
        .map(|column| {
            let stripe = &chunk.stripes[(column + row as usize) % count];
            let mut bytes = vec![0; STRIPE_LEN as usize];
            let file = File::open(&images[stripe.devid as usize - 1]).unwrap();
            file.read_exact_at(&mut bytes, stripe.physical.0 + row * STRIPE_LEN).unwrap();
            bytes
        })
        .collect();
    let (data, parity) = columns.split_at(count - parities);
    for byte in 0..STRIPE_LEN as usize {
        let (mut p, mut q, mut factor) = (0, 0, 1);
        for column in data {
            p ^= column[byte];
            q ^= multiply(factor, column[byte]);
            factor = multiply(factor, 2);
        }
        let expected = [p, q];
        let found: Vec<u8> = parity.iter().map(|column| column[byte]).collect();
        assert_eq!(found, expected[..parities], "byte {byte} of row {row}");
    }
}

#[test]
fn parity_is_right_however_little_of_a_row_is_written() {
    for name in ["raid5", "raid6", "raid5-of-2", "raid6-of-3"] {
        let scratch = Scratch::in_memory();
        let Some(images) = copy_of_kernel_image_or_skip(name, &scratch) else { return };
        let volume = writable(&images, MissingDevices::Refuse);
        let is_striped = |chunk: &&ChunkMapping| matches!(chunk.profile, Profile::Raid5 | Profile::Raid6);
        let chunk = volume.volume().chunks().iter().find(is_striped).unwrap();
        let row_length = chunk.data_stripes() * STRIPE_LEN;
        // Row and range within it: whole, one byte, over the border of two columns, all but the ends, some of the next row.
        let cases = [
            (1, 0, row_length),
            (2, 70_000 % row_length, 1),
            (3, 65_530 % row_length, 12),
            (4, 5, row_length - 10),
            (5, 16_384, 16_384),
            (6, row_length - 7, 4096),
            (8, 0, 3 * row_length),
        ];
        for (seed, (row, start, length)) in cases.into_iter().enumerate() {
            let bytes: Vec<u8> = (0..length).map(|i| (i * 31 + i / 251 + seed as u64 * 7 + 1) as u8).collect();
            let logical = Logical(chunk.logical.0 + row * row_length + start);
            write(&volume, &Ranges::from([(logical, bytes.clone())]));
            let mut read = vec![0; bytes.len()];
            for mirror in 1..=chunk.mirrors() {
                volume.volume().read(logical, mirror, &mut read).unwrap();
                assert!(read == bytes, "{name}: mirror {mirror} of row {row}");
            }
            (row..=row + length / row_length).for_each(|row| assert_parity(&images, chunk, row));
        }
    }
}

// ---- one copy

/// Image, offset and length of each place of one copy: of parity all columns.
fn places(volume: &Volume, logical: Logical, length: usize, mirror: u16) -> Vec<(usize, u64, usize)> {
    let mut places = Vec::new();
    for piece in volume.chunks().pieces(logical, length) {
        let piece = piece.unwrap();
        let (chunk, offset) = (piece.chunk, piece.logical.0 - piece.chunk.logical.0);
        let mut add = |devid: u64, physical: u64| places.push((devid as usize - 1, physical, piece.length));
        if mirror == 1 || chunk.row_length().is_none() {
            let (stripe, physical) = chunk.place(piece.logical, mirror).unwrap();
            add(stripe.devid, physical.0);
            continue;
        }
        let (row, columns) = (offset / chunk.row_length().unwrap(), chunk.data_stripes());
        for column in columns..chunk.stripes.len() as u64 {
            let stripe = &chunk.stripes[(column + row) as usize % chunk.stripes.len()];
            add(stripe.devid, stripe.physical.0 + row * STRIPE_LEN + offset % STRIPE_LEN);
        }
    }
    places
}

/// The first, the middle and the last tree block, and the data of a file.
fn samples(volume: &Volume) -> Ranges {
    let blocks: Vec<_> = tree_blocks(volume, |_, _| {}).into_iter().collect();
    let mut samples: Ranges = [0, blocks.len() / 2, blocks.len() - 1].map(|index| blocks[index].clone()).into();
    samples.extend(data(volume).into_iter().max_by_key(|(_, bytes)| bytes.len()));
    samples
}

#[test]
fn one_copy_is_written_and_no_byte_of_any_other() {
    for name in PROFILES.into_iter().map(|profile| profile.name) {
        let scratch = Scratch::in_memory();
        let Some(before) = kernel_image_or_skip(name) else { return };
        let images = copies(&before, &scratch.new_directory());
        let samples = samples(&open(&images));
        let volume = writable(&images, MissingDevices::Refuse);
        let most = samples.keys().map(|logical| volume.volume().mirrors(*logical)).max().unwrap();
        for mirror in 1..=most {
            let own = samples.iter().filter(|(logical, _)| mirror <= volume.volume().mirrors(**logical));
            let all_places =
                |(logical, bytes): (&Logical, &Vec<u8>)| places(volume.volume(), *logical, bytes.len(), mirror);
            for ((image, offset, length), number) in own.clone().flat_map(all_places).zip((0_u8..64).cycle()) {
                // Other damage to P than to Q: with the same to both, some column would be rebuilt as it should be.
                let flip = 0x5a + number;
                change(&images[image], offset, length, |bytes| bytes.iter_mut().for_each(|byte| *byte ^= flip));
            }
            for (logical, bytes) in own.clone() {
                let mut read = vec![0; bytes.len()];
                volume.volume().read(*logical, mirror, &mut read).unwrap();
                assert!(read != *bytes, "{name}: mirror {mirror} of {logical} has no damage to mend");
                volume.write_copy(*logical, mirror, bytes).unwrap();
                volume.volume().read(*logical, mirror, &mut read).unwrap();
                assert!(read == *bytes, "{name}: mirror {mirror} of {logical}");
            }
            assert_identical(&images, &before, &format!("{name}: mirror {mirror}"));
        }
    }
}

/// The bytes of each image that differ.
fn differing(images: &[PathBuf], others: &[PathBuf]) -> Vec<(usize, u64)> {
    let of_image = |(number, (image, other)): (usize, (&PathBuf, &PathBuf))| {
        let output = Command::new("cmp").arg("-l").args([image, other]).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let offset = |line: &str| line.split_whitespace().next().unwrap().parse::<u64>().unwrap() - 1;
        text.lines().map(|line| (number, offset(line))).collect::<Vec<_>>()
    };
    images.iter().zip(others).enumerate().flat_map(of_image).collect()
}

#[test]
fn other_bytes_in_one_copy_are_in_that_copy_alone() {
    for name in PROFILES.into_iter().map(|profile| profile.name) {
        let scratch = Scratch::in_memory();
        let Some(before) = kernel_image_or_skip(name) else { return };
        let images = copies(&before, &scratch.new_directory());
        let volume = writable(&images, MissingDevices::Refuse);
        let (logical, bytes) = samples(volume.volume()).pop_first().unwrap();
        let other: Vec<u8> = bytes.iter().map(|byte| byte ^ 0xa5).collect();
        for mirror in 1..=volume.volume().mirrors(logical) {
            volume.write_copy(logical, mirror, &other).unwrap();
            let mut read = vec![0; bytes.len()];
            volume.volume().read(logical, mirror, &mut read).unwrap();
            assert!(read == other, "{name}: mirror {mirror}");
            let mut expected: Vec<(usize, u64)> = places(volume.volume(), logical, bytes.len(), mirror)
                .into_iter()
                .flat_map(|(image, offset, length)| (offset..offset + length as u64).map(move |byte| (image, byte)))
                .collect();
            expected.sort_unstable();
            // Of parity each byte differs, too: another sum of one column is another sum.
            assert!(differing(&images, &before) == expected, "{name}: mirror {mirror}");
            volume.write_copy(logical, mirror, &bytes).unwrap();
        }
        assert_identical(&images, &before, name);
    }
}

#[test]
fn no_copy_is_written_where_there_is_none() {
    let (scratch, mut refusals) = (Scratch::in_memory(), 0);
    for (name, mirrors) in [("single", 1), ("dup", 2), ("raid1c3", 3), ("raid5", 2), ("raid6", 4)] {
        let Some(before) = kernel_image_or_skip(name) else { return };
        let images = copies(&before, &scratch.new_directory());
        let volume = writable(&images, MissingDevices::Refuse);
        let root = volume.volume().superblock().root();
        let block = vec![1; volume.volume().format().nodesize as usize];
        for mirror in [0, mirrors + 1, u16::MAX] {
            let refused = volume.write_copy(root, mirror, &block);
            assert!(matches!(refused, Err(Error::NoMirror { mirrors: has, .. }) if has == mirrors), "{refused:?}");
        }
        let last = volume.volume().chunks().iter().last().unwrap().end();
        for logical in [0, last.0 - 4096, u64::MAX - 4096] {
            let refused = volume.write_copy(Logical(logical), 1, &block);
            assert!(matches!(refused, Err(Error::NoChunk { .. })), "{name} {logical}: {refused:?}");
        }
        assert_identical(&images, &before, name);
        // Of a row the superblock lies in one column.
        let ranges = volume.volume().chunks().iter().flat_map(superblock_ranges);
        let elements = ranges.flat_map(|(start, end)| (start.0..end.0).step_by(STRIPE_LEN as usize));
        let places = elements.flat_map(|logical| (1..=mirrors).map(move |mirror| (Logical(logical), mirror)));
        let refused = places.filter(|(logical, mirror)| volume.write_copy(*logical, *mirror, &block[..4096]).is_err());
        refusals += refused.count();
        for image in &images {
            let superblocks = |image: &PathBuf| {
                let file = File::open(image).unwrap();
                [64 << 10, 64 << 20].map(|offset| {
                    let mut bytes = [0; 4096];
                    file.read_exact_at(&mut bytes, offset).unwrap();
                    bytes
                })
            };
            let number = images.iter().position(|other| other == image).unwrap();
            assert!(superblocks(image) == superblocks(&before[number]), "{name}");
        }
    }
    assert!(refusals >= 4, "{refusals} places over superblocks were refused");
}

#[test]
fn a_copy_on_a_device_that_is_missing_or_stale_is_not_written() {
    for (name, is_stale) in [("raid1", false), ("raid1", true), ("raid5", false), ("raid5", true), ("raid6", false)] {
        let Some(before) = kernel_image_or_skip(name) else { return };
        let volume = open(&before);
        let (root, nodesize) = (volume.superblock().root(), volume.format().nodesize as usize);
        let lost = places(&volume, root, nodesize, 1)[0].0;
        let injector = crate::support::inject::Injector::new(&before);
        for mirror in (0..2).filter(|_| is_stale) {
            injector.superblock_copy(lost, mirror, |superblock| superblock.generation -= 1);
        }
        let others = |images: &[PathBuf]| [&images[..lost], &images[lost + 1..]].concat();
        let images = if is_stale { injector.images().to_vec() } else { others(injector.images()) };
        let volume = writable(&images, MissingDevices::Skip);
        let mut good = vec![0; nodesize];
        volume.volume().read(root, 2, &mut good).unwrap();
        let refused = volume.write_copy(root, 1, &good);
        assert!(matches!(refused, Err(Error::MissingDevice { devid, .. }) if devid == lost as u64 + 1), "{refused:?}");
        // What is left of the row is its parity, which does not need the missing device.
        volume.write_copy(root, 2, &good).unwrap();
        assert_identical(&others(injector.images()), &others(&before), &format!("{name}, stale {is_stale}"));
    }
}

// ---- what must not be written

#[test]
fn nothing_is_written_where_it_must_not_be() {
    let scratch = Scratch::in_memory();
    let Some(before) = kernel_image_or_skip("dup") else { return };
    let images = copies(&before, &scratch.new_directory());
    let volume = writable(&images, MissingDevices::Refuse);
    let chunks = volume.volume().chunks();
    let last = chunks.iter().last().unwrap();
    let block = vec![1; 16384];
    let root = volume.volume().superblock().root();
    let staged = |logical| Staged { logical, bytes: &block };
    // The address whose copy would be the superblock's second place.
    let over = chunks.iter().find_map(|chunk| {
        let mut within = chunk.stripes.iter().filter_map(|stripe| (64_u64 << 20).checked_sub(stripe.physical.0));
        within.find(|within| *within < chunk.stripe_size()).map(|within| Logical(chunk.logical.0 + within))
    });
    let over = over.expect("a chunk lies over the second superblock");
    for (case, staged) in [
        ("past the last chunk", vec![staged(root), staged(Logical(last.end().0 - 4096))]),
        ("nowhere", vec![staged(root), staged(Logical(u64::MAX - 4096))]),
        ("out of order", vec![staged(root), staged(Logical(root.0 - 16384))]),
        ("overlapping", vec![staged(root), staged(Logical(root.0 + 4096))]),
        ("superblock", vec![staged(over)]),
    ] {
        assert!(volume.write(chunks, &staged).is_err(), "{case}");
        assert_identical(&images, &before, case);
    }
    let image = Image::open_for_writing(&scratch.zeros("short", 10_000)).unwrap();
    assert!(matches!(image.write(rbtrfs::disk::Physical(9_000), &block[..2000]), Err(Error::PastEnd { .. })));
    assert!(matches!(image.write(rbtrfs::disk::Physical(u64::MAX), &block), Err(Error::PastEnd { .. })));
    assert_eq!(std::fs::metadata(image.path()).unwrap().len(), 10_000);
}

/// The one line that opening an image for writing ends with.
fn refusal(image: &std::path::Path) -> String {
    let error = Image::open_for_writing(image).expect_err("refused");
    assert!(matches!(error, Error::InUse { .. } | Error::ReadOnly { .. }), "{error:?}");
    let line = error.to_string();
    assert!(line.starts_with(&image.display().to_string()) && line.lines().count() == 1, "{line}");
    line
}

#[test]
fn what_is_mounted_is_not_written_whether_or_not_it_may_be() {
    let scratch = Scratch::in_memory();
    let Some(images) = copy_of_kernel_image_or_skip("raid1", &scratch) else { return };
    let link = scratch.path("hard-link.img");
    std::fs::hard_link(&images[1], &link).unwrap();
    for (options, how) in [("rw", "read-write"), ("ro", "read-only")] {
        let Some(mounted) = or_skip(Mounted::new(&images, options, &scratch)) else { return };
        let devices: Vec<PathBuf> = mounted.loops().iter().map(PathBuf::from).collect();
        for path in images.iter().chain(&devices).chain([&link]) {
            let expected = format!("in use: mounted {how} at {}", mounted.path().display());
            assert!(refusal(path).ends_with(&expected), "{}", refusal(path));
            assert!(matches!(WritableVolume::open(&images, MissingDevices::Refuse), Err(Error::InUse { .. })));
        }
    }
    assert!(Image::open_for_writing(&images[0]).is_ok());
}

#[test]
fn what_a_loop_device_holds_is_not_written() {
    let scratch = Scratch::in_memory();
    let image = scratch.zeros("image", 1 << 20);
    let Some(device) = or_skip(attach(&image)) else { return };
    let renamed = scratch.path("renamed");
    let by_name = refusal(&image);
    std::fs::rename(&image, &renamed).unwrap();
    let by_inode = refusal(&renamed);
    let through_device = Image::open_for_writing(device.as_ref()).map(|image| {
        // Exclusive: neither another program nor this one opens it so again.
        let second = refusal(image.path());
        image.write(rbtrfs::disk::Physical(4096), &[7; 4096]).unwrap();
        image.sync().unwrap();
        second
    });
    detach(&device);
    assert!(by_name.ends_with(&format!("in use: backs the loop device {device}")), "{by_name}");
    assert!(by_inode.ends_with(&format!("in use: backs the loop device {device}")), "{by_inode}");
    let second = through_device.unwrap();
    assert!(second.ends_with("in use: opened exclusively by another program"), "{second}");
    let mut bytes = [0; 4096];
    File::open(&renamed).unwrap().read_exact_at(&mut bytes, 4096).unwrap();
    assert_eq!(bytes, [7; 4096]);
    assert!(Image::open_for_writing(&renamed).is_ok());
}

#[test]
fn what_another_process_locks_is_not_written() {
    let scratch = Scratch::in_memory();
    let image = scratch.zeros("image", 1 << 20);
    let mut holder = Command::new("flock")
        .arg(&image)
        .args(["-c", "echo locked; exec cat"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Read::read_exact(holder.stdout.as_mut().unwrap(), &mut [0; 7]).unwrap();
    let line = refusal(&image);
    drop(holder.stdin.take());
    holder.wait().unwrap();
    assert!(line.contains("in use: locked by "), "{line}");
    let image_of_own = Image::open_for_writing(&image).unwrap();
    // Another program of this project, and one that only reads.
    assert!(refusal(&image).ends_with(&format!("in use: locked by process {}", std::process::id())));
    assert!(Image::open(&image).is_ok());
    drop(image_of_own);
    assert!(Image::open_for_writing(&image).is_ok());
}

#[test]
fn what_is_read_only_is_said_to_be() {
    let scratch = Scratch::in_memory();
    let image = scratch.zeros("image", 1 << 20);
    let Some(device) = or_skip(attach_with(&image, &["--read-only"])) else { return };
    let line = refusal(device.as_ref());
    detach(&device);
    assert!(line.ends_with("cannot be written: the device is read-only"), "{line}");
    let Some(images) = kernel_image_or_skip("single") else { return };
    let copy = scratch.copy(&images[0]);
    let immutable = Command::new("chattr").arg("+i").arg(&copy).status().is_ok_and(|status| status.success());
    if !require("what_is_read_only_is_said_to_be", immutable, "no immutable files") {
        return;
    }
    let line = refusal(&copy);
    let opened = WritableVolume::open(std::slice::from_ref(&copy), MissingDevices::Refuse);
    assert!(Command::new("chattr").arg("-i").arg(&copy).status().unwrap().success());
    assert!(line.contains("cannot be written: "), "{line}");
    assert!(matches!(opened, Err(Error::ReadOnly { .. })), "{opened:?}");
}

#[test]
fn a_filesystem_that_must_be_left_alone_is_not_opened_for_writing() {
    let scratch = Scratch::in_memory();
    let Some(before) = kernel_image_or_skip("raid1") else { return };
    let edit = |edit: &dyn Fn(&mut rbtrfs::disk::Superblock), devices: std::ops::Range<usize>| {
        let injector = crate::support::inject::Injector::new(&before);
        for image in devices {
            (0..2).for_each(|mirror| injector.superblock_copy(image, mirror, edit));
        }
        let unjudged = WritableVolume::open(injector.images(), MissingDevices::Refuse).map(drop);
        (unjudged, WritableVolume::open_judged(injector.images(), MissingDevices::Refuse, stale_devices).map(drop))
    };
    type Edit = fn(&mut rbtrfs::disk::Superblock);
    let cases: [(&str, Edit, std::ops::Range<usize>); 4] = [
        ("0x8000000000", |superblock| superblock.incompat_flags |= 1 << 39, 0..2),
        ("0x1000", |superblock| superblock.incompat_flags |= 1 << 12, 0..2),
        ("0x40000000", |superblock| superblock.compat_ro_flags |= 1 << 30, 0..2),
        ("seed", |superblock| superblock.flags |= 1 << 32, 0..2),
    ];
    for (telling, change, devices) in cases {
        let (unjudged, judged) = edit(&change, devices);
        for error in [unjudged, judged].map(|opened| opened.expect_err(telling).to_string()) {
            assert!(error.contains(telling), "{error}");
        }
    }
    // A device that has all blocks is only behind, which is not known before its blocks are read.
    for behind in [1, 2] {
        let (unjudged, judged) = edit(&|superblock| superblock.generation -= behind, 1..2);
        assert!(matches!(unjudged, Err(Error::StaleDevice { .. })), "{unjudged:?}");
        assert!(judged.is_ok(), "{judged:?}");
    }
    let (unjudged, judged) = edit(&|_| {}, 0..2);
    assert!(unjudged.is_ok() && judged.is_ok());
    let images = copies(&before, &scratch.new_directory());
    let twice = WritableVolume::open(&[&images[0], &images[0]], MissingDevices::Skip);
    assert!(matches!(twice, Err(Error::Unrelated { .. })), "{twice:?}");
}
