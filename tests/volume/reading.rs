//! What can be read is read right, whatever is lost or damaged; what cannot be read is said, and nothing else happens.
//!
//! The judges are others: the kernel made the filesystems and summed their data, and what a command prints of a damaged
//! filesystem is measured against what it prints of the sound one.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use rbtrfs::disk::volume::{Chunk, Stripe};
use rbtrfs::disk::{Logical, STRIPE_LEN, objectid};
use rbtrfs::tree::TreeRoot;
use rbtrfs::volume::{ChunkMap, ChunkMapping};

use crate::support::contents::*;
use crate::support::failing_disk::FailingDisk;
use crate::support::profiles::{PROFILES, Redundancy, without};
use crate::support::reference::without_encryption;
use crate::support::*;

const SUPERBLOCK: u64 = 64 << 10;
const SUPERBLOCK_MIRROR: u64 = 64 << 20;

// ---- chunks

/// Neither the system chunk array nor a damaged chunk tree has to name chunks in the order of their addresses.
#[test]
fn chunks_side_by_side_are_found_in_whatever_order_they_come() {
    const SIZE: u64 = 1 << 20;
    let mapping = |logical: u64, length: u64| {
        let mut chunk = Chunk::zeroed();
        chunk.length = length.into();
        (chunk.stripe_len, chunk.num_stripes) = (STRIPE_LEN.into(), 1.into());
        ChunkMapping::new(Logical(logical), &chunk, &[Stripe::zeroed()]).unwrap()
    };
    let mut chunks = ChunkMap::default();
    for number in [3, 1, 2, 0] {
        chunks.insert(mapping(number * SIZE, SIZE)).unwrap();
    }
    let starts = |chunks: &ChunkMap| chunks.iter().map(|chunk| chunk.logical.0 / SIZE).collect::<Vec<_>>();
    assert_eq!(starts(&chunks), [0, 1, 2, 3]);
    for (logical, length, other) in [(SIZE, SIZE, 1), (2 * SIZE - 1, 1, 1), (4 * SIZE - 1, 2 * SIZE, 3)] {
        let (refused, overlapped) = chunks.insert(mapping(logical, length)).unwrap_err();
        assert_eq!((refused.logical.0, overlapped.0), (logical, other * SIZE));
    }
    assert_eq!(starts(&chunks), [0, 1, 2, 3]);
}

// ---- profiles

#[test]
fn every_copy_of_file_data_is_what_the_kernel_summed() {
    for Redundancy { name, .. } in PROFILES {
        let Some(images) = kernel_image_or_skip(name) else { return };
        let volume = open_mapped(&images);
        let (sums, sector) = (checksums(&volume), u64::from(volume.format().sectorsize));
        let mut verified = 0;
        for (address, length) in data_extents(&volume) {
            let mut data = vec![0; length as usize];
            for mirror in 1..=mirrors(&volume, Logical(address)) {
                volume.read(Logical(address), mirror, &mut data).unwrap();
                for (sector_address, bytes) in (address..).step_by(sector as usize).zip(data.chunks(sector as usize)) {
                    let Some(sum) = sums.get(&sector_address) else { continue };
                    let computed = volume.format().csum_type.compute(bytes);
                    assert_eq!(computed[..sum.len()], sum[..], "{name}: mirror {mirror} of {sector_address}");
                    verified += 1;
                }
            }
        }
        assert!(verified > 1000, "{name}: only {verified} sectors");
    }
}

#[test]
fn every_copy_of_every_tree_block_is_good() {
    for Redundancy { name, .. } in PROFILES {
        let Some(images) = kernel_image_or_skip(name) else { return };
        let volume = open_mapped(&images);
        let mut buffer = vec![0; volume.format().nodesize as usize];
        for block in blocks(&volume) {
            for mirror in 1..=mirrors(&volume, block.logical) {
                volume.read(block.logical, mirror, &mut buffer).unwrap();
                let verified = volume.format().verify(&buffer, &block).map(drop);
                assert_eq!(verified, Ok(()), "{name}: mirror {mirror} of {}", block.logical);
            }
        }
    }
}

#[test]
fn two_damaged_stripes_of_a_raid6_row_cost_nothing_and_three_are_an_error() {
    let scratch = Scratch::in_memory();
    let Some(images) = copy_of_kernel_image_or_skip("raid6", &scratch) else { return };
    let volume = open(&images);
    let mut buffer = Vec::new();
    for id in [objectid::CHUNK_TREE, objectid::ROOT_TREE, objectid::FS_TREE, objectid::EXTENT_TREE] {
        let block = first_leaf(&volume, id);
        let places = row(&volume, block.logical);
        for lost in (2..=3).flat_map(|count| choices(&places, count)).filter(|lost| lost[0] == places[0]) {
            let length = volume.format().nodesize as usize;
            let damage =
                |(image, offset): &(usize, u64)| change(&images[*image], *offset, length, |bytes| bytes.fill(7));
            let sound: Vec<_> = lost.iter().map(damage).collect();
            let read = volume.read_block(&block, &mut buffer);
            assert_eq!(read.is_ok(), lost.len() == 2, "tree {id}: damaged {lost:?}");
            for ((image, offset), before) in lost.iter().zip(sound) {
                change(&images[*image], *offset, length, |bytes| bytes.copy_from_slice(&before));
            }
        }
    }
}

#[test]
fn a_lost_device_costs_nothing_that_the_profile_tolerates() {
    for Redundancy { name, metadata: tolerated, .. } in PROFILES {
        let Some(images) = kernel_image_or_skip(name) else { return };
        let whole = output_of("dump-tree", &images);
        for lost in (1..=tolerated).flat_map(|count| choices(&images, count)) {
            let left = without(&images, &lost);
            let run = run_rbtrfs("dump-tree", &left);
            assert_eq!(run.code, 0, "{name} without {lost:?}: {}", run.stderr);
            assert!(run.stdout == whole, "{name} without {lost:?} is not the same");
            // Said once each, not again for every block.
            assert_eq!(run.stderr.lines().count(), lost.len(), "{name} without {lost:?}: {}", run.stderr);
            for image in &lost {
                let devid = images.iter().position(|other| other == image).unwrap() + 1;
                assert!(run.says(&["warning", &format!("device {devid} "), "missing"]), "{name}: {}", run.stderr);
            }
        }
    }
}

#[test]
fn a_lost_device_costs_no_file_data() {
    for Redundancy { name, data: tolerated, .. } in PROFILES {
        let Some(images) = kernel_image_or_skip(name) else { return };
        for left in choices(&images, images.len() - tolerated) {
            let volume = open(&left);
            let mut data = vec![0; volume.format().sectorsize as usize];
            for (address, sum) in checksums(&volume) {
                let mut is_good = |mirror| {
                    let read = volume.read(Logical(address), mirror, &mut data);
                    read.is_ok() && volume.format().csum_type.compute(&data)[..sum.len()] == sum[..]
                };
                let found = (1..=mirrors(&volume, Logical(address))).any(&mut is_good);
                assert!(found, "{name} with {left:?}: no good copy of {address}");
            }
        }
    }
}

#[test]
fn a_device_too_many_lost_is_an_error_and_no_panic() {
    for Redundancy { name, metadata: tolerated, .. } in PROFILES {
        let Some(images) = kernel_image_or_skip(name) else { return };
        let mut failures = 0;
        for left in choices(&images, images.len().saturating_sub(tolerated + 1)).iter().filter(|left| !left.is_empty())
        {
            for command in ["dump-tree", "list-chunks"] {
                let run = run_rbtrfs(command, left);
                assert!(run.code == 0 || run.code == 2, "{name} with {left:?}: {run:?}");
                assert!(run.code == 0 || run.says(&["missing"]), "{name} with {left:?}: {}", run.stderr);
                failures += usize::from(run.code == 2);
            }
        }
        // RAID10 lives on if each pair has a device left, and metadata may by chance not need what is lost.
        let must_fail = ["raid0", "raid10", "raid5", "raid6"].contains(&name);
        assert!(failures > 0 || !must_fail, "{name}: nothing failed");
    }
}

#[test]
fn the_order_of_devices_changes_nothing() {
    for Redundancy { name, .. } in PROFILES {
        let Some(images) = kernel_image_or_skip(name) else { return };
        let (mut reversed, mut rotated) = (images.clone(), images.clone());
        reversed.reverse();
        rotated.rotate_left(1);
        for command in ["dump-tree", "list-chunks"] {
            let expected = output_of(command, &images);
            for other in [&reversed, &rotated] {
                assert!(output_of(command, other) == expected, "{command} {other:?}");
                assert_eq!(open(other).superblock().dev_item.devid.get(), 1, "{other:?}");
            }
        }
    }
}

// ---- bad copies

type Damage<'a> = &'a dyn Fn(&mut [u8]);

#[test]
fn a_bad_copy_is_replaced_by_a_good_one_with_a_warning() {
    for name in ["dup", "raid1", "raid1c4", "raid10", "raid5", "raid6"] {
        let scratch = Scratch::in_memory();
        let Some(images) = copy_of_kernel_image_or_skip(name, &scratch) else { return };
        let volume = open(&images);
        let length = volume.format().nodesize as usize;
        let whole = output_of("dump-tree", &images);
        let mut other_block = vec![0; length];
        volume.read(tree(&volume, objectid::DEV_TREE).logical, 1, &mut other_block).unwrap();
        let damages: [(&str, Damage); 3] = [
            ("zeroed", &|bytes| bytes.fill(0)),
            ("with a flipped bit", &|bytes| bytes[length / 2] ^= 0x10),
            ("written to the wrong place", &|bytes| bytes.copy_from_slice(&other_block)),
        ];
        for id in [objectid::CHUNK_TREE, objectid::ROOT_TREE, objectid::FS_TREE] {
            let logical = first_leaf(&volume, id).logical;
            let (image, offset) = place(&volume, logical, 1);
            for (damage, damaged) in damages {
                let before = change(&images[image], offset, length, damaged);
                let run = run_rbtrfs("dump-tree", &images);
                change(&images[image], offset, length, |bytes| bytes.copy_from_slice(&before));
                assert_eq!(run.code, 0, "{name} {damage}: {}", run.stderr);
                assert!(run.stdout == whole, "{name} {damage} is not the same");
                let (block, device) = (format!("block {logical}"), format!("device {} at {offset}", image + 1));
                assert!(run.says(&["warning", &block, &device]), "{name} {damage}: {block} {device}: {}", run.stderr);
            }
        }
    }
}

#[test]
fn a_block_without_a_good_copy_is_named_and_the_rest_is_dumped() {
    for name in ["single", "dup", "raid1", "raid1c3"] {
        let scratch = Scratch::in_memory();
        let Some(images) = copy_of_kernel_image_or_skip(name, &scratch) else { return };
        let volume = open(&images);
        let logical = first_leaf(&volume, objectid::FS_TREE).logical;
        let whole = output_of("dump-tree", &images);
        let block = output_of(&format!("dump-tree -b {logical}"), &images);
        let (_, block) = block.split_once('\n').unwrap();
        for mirror in 1..=mirrors(&volume, logical) {
            let (image, offset) = place(&volume, logical, mirror);
            change(&images[image], offset, 512, |bytes| bytes.fill(0));
        }
        let run = run_rbtrfs("dump-tree", &images);
        assert_eq!(run.code, 2, "{name}: {}", run.stderr);
        assert!(run.says(&[&format!("tree 5 block {logical}"), "checksum"]), "{name}: {}", run.stderr);
        assert!(whole.contains(block) && run.stdout == whole.replace(block, ""), "{name}: the rest is not the same");
    }
}

/// Which trees there are is written in the root tree: without it, none is found, and that is not the same as none.
#[test]
fn trees_that_cannot_be_found_are_not_taken_for_trees_that_are_not_there() {
    let scratch = Scratch::in_memory();
    let Some(images) = copy_of_kernel_image_or_skip("dup", &scratch) else { return };
    let volume = open(&images);
    let logical = tree(&volume, objectid::ROOT_TREE).logical;
    for mirror in [1, 2] {
        change(&images[0], place(&volume, logical, mirror).1, 512, |bytes| bytes.fill(0));
    }
    for command in ["dump-tree", "dump-tree -t fs", "dump-tree -e", "dump-tree -u", "dump-tree -d", "list-chunks"] {
        let run = run_rbtrfs(command, &images);
        assert_eq!(run.code, 2, "{command}: {}", run.stderr);
        let named = run.stderr.lines().filter(|line| line.contains(&format!("block {logical}: "))).count();
        assert_eq!(named, 1, "{command}: {}", run.stderr);
    }
}

#[test]
fn a_damaged_primary_superblock_is_replaced_by_its_mirror_with_a_warning() {
    let damages: [fn(&mut [u8]); 2] = [|bytes| bytes.fill(0), |bytes| bytes[200] ^= 1];
    for damage in damages {
        let scratch = Scratch::in_memory();
        let Some(images) = copy_of_kernel_image_or_skip("raid1", &scratch) else { return };
        let whole = output_of("dump-tree", &images);
        change(&images[1], SUPERBLOCK, 4096, damage);
        let run = run_rbtrfs("dump-tree", &images);
        assert_eq!(run.code, 0, "{}", run.stderr);
        assert!(run.stdout == whole);
        assert!(run.says(&["warning", "1.img", "superblock", &SUPERBLOCK_MIRROR.to_string()]), "{}", run.stderr);
    }
}

// ---- which images

#[test]
fn a_sprout_is_read_with_its_seed_and_names_what_it_lacks_without() {
    let Some(images) = kernel_image_or_skip("seed-sprout") else { return };
    let both = output_of("dump-tree", &images);
    let seed = output_of("dump-tree", &images[..1]);
    for tree in ["\nfs tree key (FS_TREE", "\nextent tree key", "\nchecksum tree key", "\nfile tree key (256 "] {
        assert!(both.contains(tree) && seed.contains(tree), "no {tree}");
    }
    let sprout = run_rbtrfs("dump-tree", &images[1..]);
    assert_eq!(sprout.code, 2, "{}", sprout.stderr);
    assert!(sprout.says(&["device 1 ", "is missing"]), "{}", sprout.stderr);
    // What the sprout has of its own is dumped: nothing but whole lines of the whole dump.
    let lines: BTreeSet<&str> = both.lines().collect();
    assert!(sprout.stdout.lines().count() > 1000 && sprout.stdout.lines().all(|line| lines.contains(line)));
}

#[test]
fn images_that_are_not_of_one_filesystem_are_refused_with_one_line() {
    let (Some(single), Some(dup)) = (kernel_image_or_skip("single"), kernel_image_or_skip("dup")) else { return };
    let (Some(raid1), Some(sprout)) = (kernel_image_or_skip("raid1"), kernel_image_or_skip("seed-sprout")) else {
        return;
    };
    let scratch = Scratch::in_memory();
    let seeds =
        [&single[0], &dup[0]].map(|image| scratch.path(image.parent().unwrap().file_name().unwrap().to_str().unwrap()));
    for (seed, image) in seeds.iter().zip([&single[0], &dup[0]]) {
        std::fs::rename(scratch.copy(image), seed).unwrap();
        let Some(_) = or_skip(tool("btrfstune", ["-S".as_ref(), "1".as_ref(), seed.as_os_str()])) else { return };
    }
    for images in [
        vec![single[0].clone(), dup[0].clone()],
        vec![raid1[0].clone(), raid1[1].clone(), single[0].clone()],
        vec![single[0].clone(), single[0].clone()],
        vec![raid1[0].clone(), raid1[1].clone(), raid1[0].clone()],
        vec![sprout[0].clone(), sprout[0].clone()],
        // Seeds may be of other fsids than the rest, but not any seeds.
        vec![seeds[0].clone(), seeds[1].clone()],
        vec![raid1[0].clone(), raid1[1].clone(), seeds[0].clone()],
    ] {
        for command in ["dump-tree", "list-chunks"] {
            assert_refused(command, &images);
        }
    }
}

fn assert_refused(command: &str, images: &[PathBuf]) {
    let run = run_rbtrfs(command, images);
    // Programs that wait for a document get one.
    let is_told = match command.contains("--json") {
        true => run.stdout.starts_with("{\"schema\":\"rbtrfs.error/1\"") && run.stdout.lines().count() == 1,
        false => run.stdout.is_empty(),
    };
    assert!(run.code == 2 && is_told, "{command} {images:?}: {} {}", run.code, run.stderr);
    assert_eq!(run.stderr.lines().count(), 1, "{command} {images:?}: {}", run.stderr);
    assert!(images.iter().any(|image| run.says(&[image.to_str().unwrap()])), "not named: {}", run.stderr);
}

#[test]
fn what_is_no_image_is_refused_with_one_line() {
    let scratch = Scratch::in_memory();
    let Some(dup) = kernel_image_or_skip("dup") else { return };
    let ext4 = scratch.zeros("ext4", 16 << 20);
    let Some(_) = or_skip(tool("mkfs.ext4", ["-q".as_ref(), ext4.as_os_str()])) else { return };
    let truncated = |size: u64| {
        let image = scratch.path(&format!("truncated-to-{size}"));
        std::fs::rename(scratch.copy(&dup[0]), &image).unwrap();
        OpenOptions::new().write(true).open(&image).unwrap().set_len(size).unwrap();
        image
    };
    let fifo = scratch.path("fifo");
    tool("mkfifo", [&fifo]).unwrap();
    let no_images = [
        scratch.path("."),
        scratch.path("missing"),
        scratch.zeros("empty", 0),
        scratch.zeros("short", 70_000),
        scratch.zeros("shorter", 1000),
        scratch.zeros("zeros", 64 << 20),
        PathBuf::from("/dev/null"),
        PathBuf::from("/dev/zero"),
        fifo,
        ext4.clone(),
    ];
    for image in &no_images {
        for command in ["dump-tree", "dump-tree --json", "dump-tree -t fs", "list-chunks", "dump-super"] {
            assert_refused(command, std::slice::from_ref(image));
        }
    }
    for size in [1 << 20, 10 << 20] {
        let image = truncated(size);
        // The primary superblock is there, and all that is asked for.
        let superblock = |image: &PathBuf| output_of("dump-super", std::slice::from_ref(image));
        assert!(superblock(&image).lines().skip(1).eq(superblock(&dup[0]).lines().skip(1)));
        for command in ["dump-tree", "dump-tree -t fs", "list-chunks"] {
            assert_refused(command, std::slice::from_ref(&image));
            assert!(run_rbtrfs(command, std::slice::from_ref(&image)).says(&["truncated", &size.to_string()]));
        }
    }
    let [_, _, empty, _, shorter, ..] = no_images;
    for (image, found) in [(empty, ": empty"), (shorter, "too short for a superblock"), (ext4, "ext4 filesystem")] {
        assert!(run_rbtrfs("dump-tree", &[image]).says(&[found]));
    }
    // The primary superblock is overwritten, and what is left of a copy still tells what this was.
    let image = truncated(SUPERBLOCK_MIRROR + 1024);
    change(&image, SUPERBLOCK, 512, |bytes| bytes.fill(0));
    assert!(run_rbtrfs("dump-tree", &[image]).says(&["another copy of the superblock is there"]));
}

#[test]
fn a_read_only_image_is_read_by_anybody_and_stays_as_it_was() {
    let scratch = Scratch::in_memory();
    let Some(images) = copy_of_kernel_image_or_skip("single", &scratch) else { return };
    let image = &images[0];
    std::fs::set_permissions(image, PermissionsExt::from_mode(0o444)).unwrap();
    let state = || (std::fs::metadata(image).unwrap().modified().unwrap(), tool("sha256sum", [image]).unwrap());
    let before = state();
    // Where others may not look into the target directory, they may run a copy.
    let program = scratch.copy(PROGRAM.as_ref());
    for command in ["dump-tree", "dump-tree --json", "dump-super -fa", "list-chunks --raw", "list-chunks --json"] {
        let mut nobody = Command::new(&program);
        nobody.args(command.split_whitespace()).arg(image).uid(65534).gid(65534);
        let Some(output) = or_skip(nobody.output().map_err(|error| format!("{command} as nobody: {error}"))) else {
            return;
        };
        let run = Run::of(output);
        assert_eq!((run.code, run.stderr.as_str()), (0, ""), "{command}");
        assert!(run.stdout.len() > 1000, "{command}");
    }
    assert_eq!(before, state());
}

// ---- read errors

#[test]
fn a_file_truncated_while_it_is_open_is_a_read_error() {
    let scratch = Scratch::in_memory();
    let Some(images) = copy_of_kernel_image_or_skip("dup", &scratch) else { return };
    let volume = open_mapped(&images);
    OpenOptions::new().write(true).open(&images[0]).unwrap().set_len(1 << 20).unwrap();
    let mut buffer = Vec::new();
    let root = TreeRoot::root_tree(&volume).expected();
    let Err(error) = volume.read_block(&root, &mut buffer) else { panic!("read what is gone") };
    let offset = place(&volume, root.logical, 1).1;
    assert!(
        error.to_string().contains(&format!("ends at 1048576, cannot read 16384 bytes at offset {offset}")),
        "{error}"
    );
    let error = volume.read(root.logical, 1, &mut [0; 512]).unwrap_err();
    assert!(error.to_string().contains(&format!("offset {offset}")), "{error}");
}

#[test]
fn a_file_truncated_amid_a_dump_ends_it_with_errors_and_no_signal() {
    let scratch = Scratch::in_memory();
    let Some(images) = copy_of_kernel_image_or_skip("deep", &scratch) else { return };
    let messages = scratch.path("stderr");
    let mut child = Command::new(PROGRAM)
        .arg("dump-tree")
        .args(&images)
        .stdout(Stdio::piped())
        .stderr(File::create(&messages).unwrap())
        .spawn()
        .unwrap();
    let mut stdout = child.stdout.take().unwrap();
    stdout.read_exact(&mut [0; 100_000]).unwrap();
    // Megabytes of text are still to come, and the program waits for us to read them.
    OpenOptions::new().write(true).open(&images[0]).unwrap().set_len(1 << 20).unwrap();
    std::io::copy(&mut stdout, &mut std::io::sink()).unwrap();
    let status = child.wait().unwrap();
    let stderr = std::fs::read_to_string(messages).unwrap();
    assert_eq!(status.code(), Some(2), "{status}: {stderr}");
    let mut lines = stderr.lines();
    assert!(lines.next_back().is_some_and(|hint| hint.contains("rbtrfs check ")), "{stderr}");
    assert!(lines.all(|line| line.contains("ends at 1048576, cannot read 4096 bytes at offset ")), "{stderr}");
}

#[test]
fn an_unreadable_sector_costs_only_what_has_no_other_copy() {
    let Some(images) = kernel_image_or_skip("dup") else { return };
    let volume = open(&images);
    let whole = output_of("dump-tree", &images);
    let logical = first_leaf(&volume, objectid::FS_TREE).logical;
    let block = output_of(&format!("dump-tree -b {logical}"), &images);
    let (_, block) = block.split_once('\n').unwrap();
    let places = [1, 2].map(|mirror| place(&volume, logical, mirror).1);
    let sector = |place: u64| place + 4096..place + 4608;

    let scratch = Scratch::in_memory();
    let disk = FailingDisk::new(&images[0], vec![sector(places[0])], &scratch);
    let Some(disk) = or_skip(disk) else { return };
    let run = run_rbtrfs("dump-tree", &[disk.image()]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(run.stdout == whole);
    let (named, offset) = (format!("block {logical}"), format!("offset {}", places[0]));
    assert!(run.says(&["warning", &named, &offset, "Input/output error"]), "{}", run.stderr);

    let disk = FailingDisk::new(&images[0], places.map(sector).to_vec(), &scratch).unwrap();
    let run = run_rbtrfs("dump-tree", &[disk.image()]);
    assert_eq!(run.code, 2, "{}", run.stderr);
    assert!(run.says(&[&named, &offset, "Input/output error"]), "{}", run.stderr);
    assert!(whole.contains(block) && run.stdout == whole.replace(block, ""));
}

#[test]
fn an_unreadable_superblock_is_replaced_by_its_mirror() {
    let Some(images) = kernel_image_or_skip("single") else { return };
    let scratch = Scratch::in_memory();
    let primary = SUPERBLOCK..SUPERBLOCK + 512;
    let disk = FailingDisk::new(&images[0], vec![primary.clone()], &scratch);
    let Some(disk) = or_skip(disk) else { return };
    let run = run_rbtrfs("dump-tree", &[disk.image()]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(run.stdout == output_of("dump-tree", &images));
    assert!(run.says(&["warning", "superblock", &SUPERBLOCK_MIRROR.to_string()]), "{}", run.stderr);

    let both = vec![primary, SUPERBLOCK_MIRROR..SUPERBLOCK_MIRROR + 1];
    let disk = FailingDisk::new(&images[0], both, &scratch).unwrap();
    assert_refused("dump-tree", &[disk.image()]);
    let run = run_rbtrfs("dump-super", &[disk.image()]);
    assert_eq!(run.code, 2);
    assert!(run.says(&["offset 65536", "Input/output error"]), "{}", run.stderr);
}

// ---- sizes

/// The judge is `btrfs inspect-internal dump-tree`. Its version stands in the first line; newer ones escape names.
#[test]
fn no_size_of_sectors_and_nodes_is_misread() {
    let scratch = Scratch::in_memory();
    let directory = scratch.path("directory");
    std::fs::create_dir(&directory).unwrap();
    for number in 0..60 {
        std::fs::write(directory.join(format!("file-{number}")), vec![number; usize::from(number) * 800]).unwrap();
    }
    let mut images: Vec<PathBuf> = Vec::new();
    for size in ["4096", "8192", "16384", "65536"] {
        let image = scratch.zeros(size, 200 << 20);
        let options = ["-s", size, "-n", "65536", "-r", directory.to_str().unwrap()];
        let Some(()) = or_skip(mkfs_btrfs(options, std::slice::from_ref(&image))) else { return };
        images.push(image);
    }
    let Some(by_kernel) = kernel_image_or_skip("nodesize-64k") else { return };
    images.extend(by_kernel);
    for image in images {
        let arguments = ["inspect-internal", "dump-tree", "--hide-names", image.to_str().unwrap()];
        let Some(theirs) = or_skip(tool("btrfs", arguments)) else { return };
        let ours = output_of("dump-tree --hide-names", std::slice::from_ref(&image));
        let theirs = theirs.lines().filter_map(|line| std::str::from_utf8(without_encryption(line.as_bytes())?).ok());
        let (ours, theirs): (Vec<_>, Vec<_>) = (ours.lines().collect(), theirs.collect());
        assert_eq!(ours.len(), theirs.len(), "{image:?}");
        for (ours, theirs) in ours.into_iter().zip(theirs).skip(1) {
            assert_eq!(without_reference_type(ours), without_reference_type(theirs), "{image:?}");
        }
    }
}

/// Newer dumps begin each inline reference with its type and the hash or offset that orders it: `(178 0xdfb591f...) `.
fn without_reference_type(line: &str) -> String {
    let text = line.trim_start();
    match text.strip_prefix('(').and_then(|text| text.split_once(") ")) {
        Some((order, rest)) if order.contains(" 0x") => format!("{}{rest}", &line[..line.len() - text.len()]),
        _ => line.to_owned(),
    }
}
