//! A device whose superblock is behind is written if all of its blocks are there, and never if one is missing.
//!
//! Judges are the check of this project, btrfs-progs and the kernel, and for single blocks the chunks themselves.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rbtrfs::Error;
use rbtrfs::disk::flags::block_group::DATA;
use rbtrfs::disk::superblock::{SUPER_INFO_SIZE, SUPER_OFFSETS};
use rbtrfs::disk::{Logical, STRIPE_LEN, Transid};
use rbtrfs::finding::{Finding, Severity};
use rbtrfs::problem::Problem;
use rbtrfs::tree::stale_devices;
use rbtrfs::volume::{Content, MissingDevices, Volume, read_copies};

use crate::support::change::*;
use crate::support::contents::*;
use crate::support::mounted::{Mounted, btrfs_check};
use crate::support::profiles::without;
use crate::support::soundness::*;
use crate::support::*;

/// One commit of this project.
fn commit(images: &[PathBuf]) {
    let mut fs = open_for_change(images);
    allocate(&fs, &wish(DATA, None, STRIPE_LEN)).unwrap().unwrap();
    fs.commit().unwrap();
}

/// As [`run_rbtrfs`], once the images are in use by no program that another test is just starting.
fn run_alone(command: &str, images: &[PathBuf]) -> Run {
    for _ in 0..500 {
        let run = run_rbtrfs(command, images);
        if !run.says(&["in use", "locked"]) {
            return run;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("{images:?} stay in use");
}

/// Copies of `images` in a directory of their own.
fn kept(images: &[PathBuf], scratch: &Scratch) -> Vec<PathBuf> {
    copies(images, &scratch.new_directory())
}

/// Puts the superblocks of `old` into the places of those of `image`.
fn put_superblocks_back(old: &Path, image: &Path) {
    let size = std::fs::metadata(image).unwrap().len();
    let bytes = std::fs::read(old).unwrap();
    for offset in SUPER_OFFSETS.iter().map(|offset| offset.0).filter(|offset| offset + SUPER_INFO_SIZE as u64 <= size) {
        let old = &bytes[offset as usize..][..SUPER_INFO_SIZE];
        change(image, offset, SUPER_INFO_SIZE, |bytes| bytes.copy_from_slice(old));
    }
}

/// The generations of all superblocks of an image.
fn generations(image: &Path) -> Vec<Transid> {
    let image = rbtrfs::image::Image::open(image).unwrap();
    read_copies(&image).unwrap().iter().map(|copy| copy.superblock.generation()).collect()
}

fn newest(images: &[PathBuf]) -> Transid {
    open(images).stored_superblock().generation()
}

fn with_code<'a>(problems: &'a [Problem], code: &'static str) -> impl Iterator<Item = &'a Problem> {
    problems.iter().filter(move |problem| problem.code() == code)
}

/// The values of all problems of one kind that say which device is meant.
fn devids(problems: &[Problem], code: &'static str) -> Vec<u64> {
    with_code(problems, code).map(|problem| serde_json::to_value(problem).unwrap()["devid"].as_u64().unwrap()).collect()
}

/// The kernel reads the same as before, scrubs without an error, and btrfs-progs finds nothing.
#[track_caller]
fn assert_kernel_agrees(images: &[PathBuf], contents: &str, scratch: &Scratch, what: &str) {
    btrfs_check(images).unwrap();
    let copies = kept(images, scratch);
    copies.iter().for_each(|image| grow(image));
    let mounted = Mounted::new(&copies, "rw", scratch).unwrap();
    assert_eq!(mounted.contents(), contents, "{what}");
    mounted.scrub();
}

/// Scrub wants free space behind the end of a device.
fn grow(image: &Path) {
    let size = std::fs::metadata(image).unwrap().len();
    std::fs::OpenOptions::new().write(true).open(image).unwrap().set_len(size + (512 << 20)).unwrap();
}

/// What the kernel reads without the devices that are not there.
fn contents_of(images: &[PathBuf], scratch: &Scratch) -> Option<String> {
    or_skip(Mounted::new(images, "ro,degraded", scratch)).map(|mounted| mounted.contents())
}

#[test]
fn a_device_with_all_blocks_is_written_however_far_its_superblock_is_behind() {
    for (name, behind) in [("raid1", 1), ("raid1", 3), ("raid5", 1), ("raid5", 2), ("raid6", 2), ("raid10", 1)] {
        let what = format!("{name}, {behind} behind");
        let scratch = Scratch::in_memory();
        let Some(images) = copy_of_kernel_image_or_skip(name, &scratch) else { return };
        let Some(contents) = contents_of(&images, &scratch) else { return };
        let old = kept(&images, &scratch);
        (0..behind).for_each(|_| commit(&images));
        let last = images.len() - 1;
        put_superblocks_back(&old[last], &images[last]);

        let problems = check_data(&open(&images), 2);
        assert!(beyond_notes(problems.clone()).is_empty(), "{what}:{}", describe(&problems));
        let note = with_code(&problems, "device-behind").next().unwrap();
        let values = serde_json::to_value(note).unwrap();
        assert_eq!((&values["devid"], &values["behind"]), (&(last + 1).into(), &behind.into()), "{what}");
        let generations_text =
            if behind == 1 { "one generation behind".to_owned() } else { format!("{behind} generations") };
        assert!(note.to_string().contains(&generations_text) && note.to_string().contains("nothing is lost"), "{note}");
        assert_eq!(run_alone("check", &images).code, 0, "{what}");

        // Wherever the newest is named.
        let named: Vec<PathBuf> = images.iter().rev().cloned().collect();
        commit(&named);
        assert_sound_with_data(&images, &what);
        let newest = newest(&images);
        for image in &images {
            assert!(generations(image).iter().all(|generation| *generation == newest), "{what}: {}", image.display());
        }
        assert_kernel_agrees(&images, &contents, &scratch, &what);
    }
}

/// What follows for devices that are stale, the last of `images`: they are left out or the change is refused.
#[track_caller]
fn assert_left_out(images: &[PathBuf], stale: &[usize], what: &str) {
    let scratch = Scratch::in_memory();
    let lost: Vec<PathBuf> = stale.iter().map(|index| images[*index].clone()).collect();
    let expected: Vec<u64> = stale.iter().map(|index| *index as u64 + 1).collect();
    let left = without(images, &lost);
    let problems = check_data(&open(images), 2);
    assert_eq!(devids(&problems, "device-stale"), expected, "{what}:{}", describe(&problems));
    assert!(with_code(&problems, "device-stale").all(|problem| problem.severity() == Severity::Fatal));
    // All that is bad is on these devices, and good elsewhere.
    let recoverable = ["device-stale", "block-bad-copy", "data-bad-copy", "parity-bad", "parity-disagrees"];
    for problem in beyond_notes(problems) {
        let devid = serde_json::to_value(&problem).unwrap()["devid"].as_u64();
        // Parity is compared with what stands in its row, stale columns too.
        let is_theirs = devid.is_some_and(|devid| expected.contains(&devid)) || problem.code().starts_with("parity");
        assert!(recoverable.contains(&problem.code()) && is_theirs, "{what}: {problem}");
    }
    assert_eq!(run_alone("check", images).code, 1, "{what}");

    let contents = contents_of(&left, &scratch).unwrap();
    let before = kept(images, &scratch);
    let removable = open(images).chunks().iter().map(|chunk| chunk.logical).last().unwrap();
    let removal = format!("chunk-remove --chunk {removable}");
    for command in ["chunk-alloc --type data --size 1M", "chunk-alloc --dry-run --type metadata", &removal] {
        let run = run_alone(command, images);
        assert_eq!(run.code, 2, "{what}: {command}: {}", run.stderr);
        let (device, generation) = (format!("device {}", expected[0]), generations(&lost[0])[0]);
        let generation = format!("generation {generation}");
        assert!(run.says(&[&device, "stale", &generation, "misses", "--degraded"]), "{what}: {}", run.stderr);
    }
    assert_identical(images, &before, what);

    let run = run_alone("chunk-alloc --degraded --type data --size 1M", images);
    let is_warned = expected.iter().all(|devid| run.says(&["warning", &format!("device {devid} "), "left out"]));
    assert!(run.code == 0 && is_warned, "{what}: {}", run.stderr);
    let before: Vec<PathBuf> = stale.iter().map(|index| before[*index].clone()).collect();
    assert_identical(&lost, &before, what);
    assert_eq!(contents_of(&left, &scratch).unwrap(), contents, "{what}");
    let problems = check_data(&open(images), 2);
    let is_lost = |problem: &Problem| ["block-unreadable", "data-lost"].contains(&problem.code());
    assert!(!problems.iter().any(is_lost), "{what}:{}", describe(&problems));
    // Where all blocks that a device misses were written anew, on others only, it misses nothing any more.
    let still_stale = devids(&problems, "device-stale");
    let current = devids(&problems, "device-behind");
    assert_eq!(still_stale.len() + current.len(), stale.len(), "{what}:{}", describe(&problems));
    let added = run_alone("chunk-alloc --degraded -q --type metadata --size 8M", images);
    assert_eq!((added.code, added.stderr.as_str()), (0, ""), "{what}");
    for (index, before) in stale.iter().zip(&before) {
        if still_stale.contains(&(*index as u64 + 1)) {
            assert_identical(&images[*index..=*index], std::slice::from_ref(before), what);
        } else {
            assert_eq!(generations(&images[*index])[0], newest(images), "{what}");
        }
    }
    assert_eq!(contents_of(&left, &scratch).unwrap(), contents, "{what}");
    // The kernel, which has the stale devices back, finds on the others what it needs to mend them.
    let copies = kept(images, &scratch);
    let mounted = Mounted::new(&copies, "rw", &scratch).unwrap();
    assert_eq!(mounted.contents(), contents, "{what}");
    mounted.scrub_and_mend();
    drop(mounted);
    assert_sound_with_data(&copies, what);
}

/// The kernel writes on, with devices missing, in one commit or more.
fn write_without(images: &[PathBuf], stale: &[usize], scratch: &Scratch) -> Option<()> {
    let lost: Vec<PathBuf> = stale.iter().map(|index| images[*index].clone()).collect();
    let mounted = or_skip(Mounted::new(&without(images, &lost), "degraded,rw,commit=3000", scratch))?;
    for number in 0..60 {
        std::fs::write(mounted.path().join(format!("small-{number}")), vec![number as u8; 1700]).unwrap();
    }
    std::fs::write(mounted.path().join("large"), vec![7; 3 << 20]).unwrap();
    Some(())
}

#[test]
fn a_device_that_missed_a_commit_of_the_kernel_is_left_out_or_nothing_is_written() {
    for (name, stale) in
        [("raid1c3", &[2][..]), ("raid5", &[2]), ("raid6", &[3]), ("raid6", &[1, 3]), ("raid1c3", &[1, 2])]
    {
        let scratch = Scratch::in_memory();
        let Some(images) = copy_of_kernel_image_or_skip(name, &scratch) else { return };
        let Some(()) = write_without(&images, stale, &scratch) else { return };
        assert_left_out(&images, stale, &format!("{name} without {stale:?}"));
    }
}

#[test]
fn a_device_that_missed_a_commit_of_this_project_is_left_out_or_nothing_is_written() {
    for (name, count) in [("raid1", 1), ("raid5", 1), ("raid6", 2)] {
        let scratch = Scratch::in_memory();
        let Some(images) = copy_of_kernel_image_or_skip(name, &scratch) else { return };
        let stale: Vec<usize> = (images.len() - count..images.len()).collect();
        let old = kept(&images, &scratch);
        commit(&images);
        for index in &stale {
            std::fs::copy(&old[*index], &images[*index]).unwrap();
        }
        assert_left_out(&images, &stale, &format!("{name}, {count} devices"));
    }
}

/// Rows that both devices are in are judged by what the stale one should hold.
#[test]
fn a_current_device_is_written_beside_a_stale_one() {
    for name in ["raid1c3", "raid6"] {
        let scratch = Scratch::in_memory();
        let Some(images) = copy_of_kernel_image_or_skip(name, &scratch) else { return };
        let last = images.len() - 1;
        let Some(()) = write_without(&images, &[last], &scratch) else { return };
        let all_but_last = &images[..last];
        let Some(contents) = contents_of(all_but_last, &scratch) else { return };
        let old = kept(&images, &scratch);
        let mut fs = open_with(all_but_last, MissingDevices::Skip).unwrap();
        allocate(&fs, &wish(DATA, None, STRIPE_LEN)).unwrap().unwrap();
        fs.commit().unwrap();
        drop(fs);
        put_superblocks_back(&old[last - 1], &images[last - 1]);

        let problems = check(&open(&images), 2);
        assert_eq!(devids(&problems, "device-stale"), [last as u64 + 1], "{name}");
        assert_eq!(devids(&problems, "device-behind"), [last as u64], "{name}");
        let refused = open_with(&images, MissingDevices::Refuse);
        assert!(matches!(refused, Err(Error::StaleDevice { devid, .. }) if devid == last as u64 + 1), "{name}");
        let run = run_alone("chunk-alloc -q --degraded --type data --size 1M", &images);
        assert_eq!((run.code, run.stderr.as_str()), (0, ""), "{name}");
        assert_identical(&images[last..], &old[last..], name);
        assert_eq!(generations(&images[last - 1])[0], newest(&images), "{name}");
        assert_eq!(contents_of(all_but_last, &scratch).unwrap(), contents, "{name}");
    }
}

/// The places on a device that newer blocks of a tree need: copies, columns and parity; and places that they do not.
fn places(volume: &Volume, old: Transid, devid: u64) -> (Vec<u64>, Vec<u64>) {
    let (newer, older): (Vec<_>, Vec<_>) = blocks(volume).partition(|block| block.generation.unwrap() > old);
    let is_newer = |logical: Logical| newer.iter().any(|block| block.logical == logical);
    let (mut needed, mut others) = (Vec::new(), Vec::new());
    for block in newer.iter().chain(&older) {
        let chunk = volume.chunks().find(block.logical).unwrap();
        let copies = if chunk.profile.geometry().nparity > 0 { 1 } else { chunk.mirrors() };
        let own = (1..=copies).filter_map(|mirror| chunk.place(block.logical, mirror));
        let own = own.filter(|(stripe, _)| stripe.devid == devid).map(|(_, physical)| physical.0);
        match is_newer(block.logical) {
            true => needed.extend(own),
            false => others.extend(own),
        }
        if chunk.profile.geometry().nparity > 0 && is_newer(block.logical) {
            let (stripe, physical) = chunk.place(block.logical, 1).unwrap();
            let within = physical.0 - stripe.physical.0;
            let index = chunk.stripes.iter().position(|stripe| stripe.devid == devid).unwrap();
            if let Some(Content::Parity { .. }) = chunk.content(index, within) {
                needed.push(chunk.stripes[index].physical.0 + within);
            }
        }
    }
    (needed, others)
}

#[test]
fn one_block_that_is_missing_makes_a_device_stale_and_an_older_one_does_not() {
    for name in ["raid1", "raid5", "raid6", "raid10"] {
        let scratch = Scratch::in_memory();
        let Some(images) = copy_of_kernel_image_or_skip(name, &scratch) else { return };
        let old = kept(&images, &scratch);
        commit(&images);
        let mut judged = 0;
        for index in 0..images.len() {
            let images = kept(&images, &scratch);
            put_superblocks_back(&old[index], &images[index]);
            let (needed, others) = places(&open(&images), generations(&old[index])[0], index as u64 + 1);
            judged += needed.len();
            let stale_with = |place: u64| {
                // The last byte of a block counts like the first.
                let flip = |bytes: &mut [u8]| bytes[0] ^= 1;
                change(&images[index], place + 16383, 1, flip);
                let stale = stale_devices(&open(&images));
                change(&images[index], place + 16383, 1, flip);
                !stale.is_empty()
            };
            assert!(stale_devices(&open(&images)).is_empty(), "{name}: device {index}");
            assert!(needed.iter().all(|place| stale_with(*place)), "{name}: device {index}");
            assert!(!others.iter().take(5).any(|place| stale_with(*place)), "{name}: device {index}");
        }
        assert!(judged > 8, "{name}: {judged} places");
    }
}

/// New extents, and space that was allocated before and is written now.
#[test]
fn newer_data_that_is_missing_makes_a_device_stale_and_older_data_does_not() {
    for name in ["raid1", "raid5", "raid6", "raid5-data-raid1c3-meta"] {
        let scratch = Scratch::in_memory();
        let Some(images) = copy_of_kernel_image_or_skip(name, &scratch) else { return };
        let before = checksums(&open(&images));
        let Some(mounted) = or_skip(Mounted::new(&images, "rw,commit=3000", &scratch)) else { return };
        let path = mounted.path().join("preallocated");
        tool("fallocate", ["-l".as_ref(), "1M".as_ref(), path.as_os_str()]).unwrap();
        drop(mounted);
        let old = kept(&images, &scratch);
        let Some(mounted) = or_skip(Mounted::new(&images, "rw,commit=3000", &scratch)) else { return };
        let script = "head -c 40000 /dev/urandom | dd conv=notrunc of=preallocated status=none; \
            head -c 200000 /dev/urandom >new";
        let output = std::process::Command::new("sh").args(["-ec", script]).current_dir(mounted.path()).status();
        assert!(output.unwrap().success());
        drop(mounted);
        let after = checksums(&open(&images));
        for index in 0..images.len() {
            let images = kept(&images, &scratch);
            put_superblocks_back(&old[index], &images[index]);
            let volume = open(&images);
            assert_eq!(stale_devices(&volume), [], "{name}: device {index}");
            // By the place of the sector itself, or of any parity of its row.
            let places = |logical: u64| -> Vec<u64> {
                let chunk = volume.chunks().find(Logical(logical)).unwrap();
                match chunk.profile.geometry().nparity {
                    0 => (1..=chunk.mirrors()).map(|mirror| place(&volume, Logical(logical), mirror)).collect(),
                    _ => {
                        let all = row(&volume, Logical(logical));
                        let is_covered = |(number, (image, at)): &(usize, &(usize, u64))| {
                            let of = |stripe: &&rbtrfs::volume::StripeMapping| stripe.devid as usize == image + 1;
                            let stripe = chunk.stripes.iter().position(|stripe| of(&stripe)).unwrap();
                            let content = chunk.content(stripe, at - chunk.stripes[stripe].physical.0);
                            *number == 0 || matches!(content, Some(Content::Parity { .. }))
                        };
                        all.iter().enumerate().filter(is_covered).map(|(_, place)| *place).collect::<Vec<_>>()
                    }
                }
                .into_iter()
                .filter(|(image, _)| *image == index)
                .map(|(_, at)| at)
                .collect()
            };
            let stale_with = |at: u64| {
                let flip = |bytes: &mut [u8]| bytes[0] ^= 1;
                change(&images[index], at + 4095, 1, flip);
                let stale = stale_devices(&open(&images));
                change(&images[index], at + 4095, 1, flip);
                !stale.is_empty()
            };
            let newer = after.keys().filter(|logical| !before.contains_key(logical)).step_by(7);
            let newer: Vec<u64> = newer.flat_map(|logical| places(*logical)).collect();
            assert!(!newer.is_empty(), "{name}: nothing of the data on device {index}");
            assert!(newer.iter().all(|at| stale_with(*at)), "{name}: device {index}");
            let copies_of_old = before.keys().step_by(before.len() / 3).filter(|logical| after.contains_key(logical));
            let older: Vec<(usize, u64)> = copies_of_old.map(|logical| place(&volume, Logical(*logical), 1)).collect();
            let older = older.iter().filter(|(image, _)| *image == index);
            assert!(!older.into_iter().any(|(_, at)| stale_with(*at)), "{name}: device {index}, older data");
        }
    }
}

#[test]
fn a_device_is_stale_where_no_copy_of_a_newer_block_can_be_read() {
    let scratch = Scratch::in_memory();
    let Some(images) = copy_of_kernel_image_or_skip("raid1", &scratch) else { return };
    let old = kept(&images, &scratch);
    commit(&images);
    put_superblocks_back(&old[1], &images[1]);
    let volume = open(&images);
    let device_tree = tree(&volume, rbtrfs::disk::objectid::DEV_TREE).logical;
    for mirror in 1..=2 {
        let (image, at) = place(&volume, device_tree, mirror);
        change(&images[image], at, 1, |byte| byte[0] ^= 1);
    }
    let stale = stale_devices(&open(&images));
    assert_eq!(stale.len(), 1);
    assert_eq!(stale[0].missed.logical, device_tree);
    let before = kept(&images, &scratch);
    assert!(matches!(open_with(&images, MissingDevices::Refuse), Err(Error::StaleDevice { devid: 2, .. })));
    assert!(open_with(&images, MissingDevices::Skip).is_err());
    assert_identical(&images, &before, "refused");
}

/// It has no chunk whose blocks it could miss.
#[test]
fn a_device_that_was_removed_while_it_was_away_is_not_taken_back() {
    let scratch = Scratch::in_memory();
    let Some(images) = copy_of_kernel_image_or_skip("raid1", &scratch) else { return };
    let new = scratch.zeros("new.img", 200 << 20);
    let mut fs = open_for_change(&images);
    let devid = rbtrfs::device::add(&fs, &new, rbtrfs::device::Occupied::Refuse).unwrap();
    fs.commit().unwrap();
    rbtrfs::device::remove(&fs, devid).unwrap();
    let away = scratch.path("away.img");
    std::fs::copy(&new, &away).unwrap();
    fs.commit().unwrap();
    drop(fs);
    let before = kept(std::slice::from_ref(&away), &scratch);
    let all: Vec<PathBuf> = images.iter().chain([&away]).cloned().collect();
    let refused = open_with(&all, MissingDevices::Refuse);
    assert!(matches!(refused, Err(Error::StaleDevice { devid: stale, .. }) if stale == devid), "{refused:?}");
    let mut fs = open_with(&all, MissingDevices::Skip).unwrap();
    allocate(&fs, &wish(DATA, None, STRIPE_LEN)).unwrap().unwrap();
    fs.commit().unwrap();
    drop(fs);
    assert_identical(std::slice::from_ref(&away), &before, "the device that was removed");
    assert_sound(&images, "without the device that was removed");
}

#[test]
fn superblocks_that_a_crash_left_behind_on_one_device_are_a_note() {
    let scratch = Scratch::in_memory();
    let Some(images) = copy_of_kernel_image_or_skip("raid1", &scratch) else { return };
    let old = kept(&images, &scratch);
    commit(&images);
    let new = kept(&images, &scratch);
    // The mirror of one device, and of another the primary: the kernel writes them at the same time.
    for (image, offset) in [(0, SUPER_OFFSETS[1].0), (1, SUPER_OFFSETS[0].0)] {
        let bytes = std::fs::read(&old[image]).unwrap();
        let bytes = &bytes[offset as usize..][..SUPER_INFO_SIZE];
        change(&images[image], offset, SUPER_INFO_SIZE, |present| present.copy_from_slice(bytes));
    }
    let problems = check(&open(&images), 2);
    assert!(beyond_notes(problems.clone()).is_empty(), "{}", describe(&problems));
    assert_eq!(devids(&problems, "super-behind"), [1, 2]);
    assert_eq!(devids(&problems, "device-behind"), [2]);
    commit(&images);
    assert_sound(&images, "after the next commit");
    assert!(generations(&images[0]).iter().all(|generation| *generation > newest(&new)));
    let problems = check(&open(&images), 2);
    assert!(devids(&problems, "super-behind").is_empty(), "{}", describe(&problems));
}
