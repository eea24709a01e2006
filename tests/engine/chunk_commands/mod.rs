//! Chunks come and go, and the filesystem stays what it was; what is refused changes nothing.
//!
//! The judges are the check of this project, btrfs-progs, and the kernel, which goes on to use the filesystem.

mod space;
mod threads;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rbtrfs::disk::flags::{block_group, incompat};
use rbtrfs::disk::space::FreeSpaceHeader;
use rbtrfs::disk::volume::BlockGroupItem;
use rbtrfs::disk::{BlockGroupFlags, Key, KeyType, Profile, objectid};
use rbtrfs::volume::ChunkMapping;
use serde_json::Value;

use crate::support::inject::Injector;
use crate::support::mounted::{Mounted, attach, btrfs_check, detach};
use crate::support::soundness::assert_sound_with_data;
use crate::support::*;

/// Kernel images that the commands refuse.
const REFUSED: [&str; 1] = ["log-tree"];
/// Those with devices that are missing, or that are never written.
const WITHOUT_ALL_DEVICES: [&str; 4] = ["degraded", "degraded-raid5", "degraded-raid6", "seed-sprout"];

/// Those of which btrfs-progs may not know the feature, or how to do without two devices.
const BEYOND_BTRFS_PROGS: [&str; 3] = ["squota", "squota-sharing", "degraded-raid6"];

fn degraded(name: &str) -> &'static str {
    if name.starts_with("degraded") { "--degraded" } else { "" }
}

/// What a command that is to succeed says in JSON.
fn document(command: &str, images: &[PathBuf]) -> Value {
    let run = run_rbtrfs(&format!("{command} --json"), images);
    assert_eq!((run.code, run.stderr.as_str()), (0, ""), "{command} {images:?}");
    serde_json::from_str(&run.stdout).unwrap()
}

fn addresses(document: &Value) -> Vec<u64> {
    document["chunks"].as_array().unwrap().iter().map(|chunk| chunk["logical"].as_u64().unwrap()).collect()
}

fn chunks(images: &[PathBuf], type_bits: u64) -> Vec<ChunkMapping> {
    let volume = open(images);
    volume.chunks().iter().filter(|chunk| chunk.flags.contains(type_bits)).cloned().collect()
}

/// Sound as far as this project and btrfs-progs see.
#[track_caller]
fn assert_sound(images: &[PathBuf], what: &str) {
    assert_sound_with_data(images, what);
    or_skip(btrfs_check(images));
}

/// The command fails with one line that contains `telling`, and changes nothing.
#[track_caller]
fn assert_refused(command: &str, images: &[PathBuf], telling: &str) {
    let scratch = Scratch::in_memory();
    let before = copies(images, &scratch.new_directory());
    let run = run_rbtrfs(command, images);
    assert_eq!((run.code, run.stderr.lines().count()), (2, 1), "{command}: {run:?}");
    assert!(run.stderr.contains(telling), "{command}: {}", run.stderr);
    assert_identical(images, &before, command);
}

/// The kernel finds what was there, and goes on with it.
fn assert_usable(name: &str, images: &[PathBuf], contents: &str, scratch: &Scratch) {
    images.iter().for_each(|image| File::options().write(true).open(image).unwrap().set_len(3 << 30).unwrap());
    let options = if name.starts_with("degraded") { "rw,degraded" } else { "rw" };
    let mounted = Mounted::new(images, options, scratch).unwrap();
    assert_eq!(mounted.contents(), contents, "{name}");
    if !WITHOUT_ALL_DEVICES.contains(&name) {
        mounted.scrub();
        mounted.write_something();
        mounted.scrub();
    } else if !name.starts_with("degraded") {
        mounted.write_something();
    }
}

/// Chunks of every type are allocated and removed, each step judged.
fn come_and_go(name: &str) {
    let scratch = Scratch::in_memory();
    let Some(mut images) = copy_of_kernel_image_or_skip(name, &scratch) else { return };
    if name == "seed-sprout" {
        // What is mounted is the filesystem of the first device: the sprout, not the seed.
        images.reverse();
    }
    let ro = if name.starts_with("degraded") { "ro,degraded" } else { "ro" };
    let Some(contents) = or_skip(Mounted::new(&images, ro, &scratch)).map(|mounted| mounted.contents()) else {
        return;
    };
    let flag = degraded(name);
    let judge = |step: &str| {
        assert_sound_with_data(&images, &format!("{name}: {step}"));
        if !BEYOND_BTRFS_PROGS.contains(&name) {
            or_skip(btrfs_check(&images));
        }
    };
    let before = chunks(&images, 0).len();
    let mut mine = Vec::new();
    for (step, least) in [
        ("chunk-alloc --type system --size 1M --count 2", 2),
        ("chunk-alloc --type metadata --size 2M", 1),
        ("chunk-alloc --type data --size 1M --count 5 --threads 4", 5),
        ("chunk-alloc --type data", 1),
    ] {
        let new = addresses(&document(&format!("{step} {flag}"), &images));
        assert!(new.len() >= least, "{name}: {step}: {new:?}");
        mine.extend(new);
        judge(step);
    }
    assert_eq!(chunks(&images, 0).len(), before + mine.len(), "{name}");
    // The last one is empty for sure: nothing but data goes there.
    let one = format!("chunk-remove --chunk {} {flag}", mine.pop().unwrap());
    assert_eq!(addresses(&document(&one, &images)).len(), 1, "{name}");
    judge(&one);
    let removed = addresses(&document(&format!("chunk-remove --unused --type data {flag}"), &images));
    assert!(!removed.is_empty(), "{name}");
    judge("chunk-remove --unused --type data");
    let again = "chunk-alloc --type data --size 3M --count 2";
    document(&format!("{again} {flag}"), &images);
    judge(again);
    let removed = addresses(&document(&format!("chunk-remove --unused {flag}"), &images));
    assert!(removed.len() >= 2, "{name}");
    judge("chunk-remove --unused");
    assert_usable(name, &images, &contents, &scratch);
    judge("use by the kernel");
}

/// A part of all kernel images: the tests of the parts run side by side.
fn part(number: usize) {
    let names = kernel_image_names("chunk_commands");
    let names = names.iter().filter(|name| !REFUSED.contains(&name.as_str())).skip(number).step_by(4);
    // All of them, however the others fare.
    let failed: Vec<_> = names.filter(|name| std::panic::catch_unwind(|| come_and_go(name)).is_err()).collect();
    assert!(failed.is_empty(), "{failed:?}");
}

#[test]
fn chunks_come_and_go_on_every_filesystem_first_part() {
    part(0);
}

#[test]
fn chunks_come_and_go_on_every_filesystem_second_part() {
    part(1);
}

#[test]
fn chunks_come_and_go_on_every_filesystem_third_part() {
    part(2);
}

#[test]
fn chunks_come_and_go_on_every_filesystem_fourth_part() {
    part(3);
}

#[test]
fn a_profile_brings_its_feature_and_takes_it_along() {
    let scratch = Scratch::in_memory();
    let Some(images) = copy_of_kernel_image_or_skip("raid10", &scratch) else { return };
    let Some(contents) = or_skip(Mounted::new(&images, "ro", &scratch)).map(|mounted| mounted.contents()) else {
        return;
    };
    let features = |images: &[PathBuf]| open(images).superblock().incompat_flags.get();
    let (before, old) = (features(&images), chunks(&images, block_group::DATA));
    for profile in ["single", "dup", "raid0", "raid1", "raid10", "raid5", "raid6", "raid1c3", "raid1c4"] {
        let command = format!("chunk-alloc --type data --size 1M --profile {profile}");
        let new = document(&command, &images);
        assert_eq!(new["chunks"][0]["profile"].as_str().unwrap().to_lowercase(), profile);
        assert_sound(&images, &command);
    }
    assert_eq!(features(&images), before | incompat::RAID56 | incompat::RAID1C34);
    // As the kernel has it, what the next chunk is depends on those that there are: one of each is left, but for those that
    // are named.
    document("chunk-remove --unused --type data", &images);
    let mut left = chunks(&images, block_group::DATA);
    for profile in Profile::ALL {
        assert!(left.iter().any(|chunk| chunk.profile == profile), "{profile:?}");
    }
    left.retain(|chunk| !old.contains(chunk));
    let names = left.iter().map(|chunk| format!("--chunk {}", chunk.logical));
    document(&format!("chunk-remove {}", names.collect::<Vec<_>>().join(" ")), &images);
    assert_sound(&images, "after removal");
    assert_eq!(features(&images), before);
    assert_usable("raid10", &images, &contents, &scratch);
    assert_sound(&images, "after use by the kernel");
}

#[test]
fn what_is_refused_or_tried_only_changes_no_byte() {
    let scratch = Scratch::in_memory();
    let Some(images) = copy_of_kernel_image_or_skip("single", &scratch) else { return };
    let before = kernel_image("single");
    for dry in [
        "chunk-alloc --type data --dry-run",
        "chunk-alloc --type system --size 1M --count 3 --dry-run",
        "chunk-alloc --type metadata --size 1M --threads 4 --count 9 --dry-run",
        "chunk-alloc --type data --force no --dry-run --json",
    ] {
        assert_eq!(run_rbtrfs(dry, &images).code, 0, "{dry}");
        assert_identical(&images, &before, dry);
    }
    let is_used = |chunk: &&ChunkMapping| chunk.flags.contains(block_group::METADATA);
    let all = chunks(&images, 0);
    let used = all.iter().find(is_used).unwrap().logical;
    assert_refused(&format!("chunk-remove --chunk {}", used.0), &images, "is in use");
    assert_refused("chunk-remove --chunk 4096", &images, "there is no chunk at 4096");
    assert_refused(&format!("chunk-remove --chunk {}", used.0 + 4096), &images, "there is no chunk");
    // Devices enough for no such profile.
    assert_refused("chunk-alloc --type data --profile raid1", &images, "RAID1 need 2 devices");
    assert_refused("chunk-alloc --type data --size 1k", &images, "too small");
    // An empty one is removed with the rest, and the rest is refused: neither is done.
    let new = addresses(&document("chunk-alloc --type data --size 1M", &images));
    let both = format!("chunk-remove --chunk {} --chunk {}", new[0], used.0);
    assert_refused(&both, &images, "is in use");
    let twice = format!("chunk-remove --chunk {0} --chunk {0}", new[0]);
    assert_refused(&twice, &images, "there is no chunk");
    let dry = format!("chunk-remove --chunk {} --dry-run", new[0]);
    let copy = copies(&images, &scratch.new_directory());
    assert_eq!(addresses(&document(&dry, &images)), new);
    assert_identical(&images, &copy, &dry);
    // What no parser takes.
    for nonsense in ["chunk-alloc --type data --profile raid7", "chunk-alloc --type log", "chunk-remove --chunk x"] {
        assert_eq!(run_rbtrfs(nonsense, &images).code, 2, "{nonsense}");
        assert_identical(&images, &copy, nonsense);
    }
}

#[test]
fn the_last_chunk_of_a_type_stays() {
    let scratch = Scratch::in_memory();
    let Some(images) = copy_of_kernel_image_or_skip("empty", &scratch) else { return };
    let data = chunks(&images, block_group::DATA);
    for chunk in &data[1..] {
        document(&format!("chunk-remove --chunk {}", chunk.logical.0), &images);
    }
    assert_refused(&format!("chunk-remove --chunk {}", data[0].logical.0), &images, "is the last of its type");
    let left = copies(&images, &scratch.new_directory());
    assert_eq!(addresses(&document("chunk-remove --unused", &images)), Vec::<u64>::new());
    assert_identical(&images, &left, "nothing is unused");
    // Of two that are empty one stays.
    document("chunk-alloc --type data --size 1M", &images);
    assert_eq!(addresses(&document("chunk-remove --unused", &images)).len(), 1);
    let types: Vec<BlockGroupFlags> = chunks(&images, 0).iter().map(|chunk| chunk.flags).collect();
    for bits in [block_group::DATA, block_group::METADATA, block_group::SYSTEM] {
        assert!(types.iter().any(|flags| flags.contains(bits)));
    }
    assert_sound(&images, "one of each");
}

#[test]
fn a_full_device_has_no_room_and_stays_as_it_is() {
    let scratch = Scratch::in_memory();
    for name in ["dup", "nodesize-4k", "raid5"] {
        let Some(images) = kernel_image_or_skip(name) else { return };
        let images = copies(&images, &scratch.new_directory());
        let mut count = 0;
        while run_rbtrfs("chunk-alloc --type data --quiet", &images).code == 0 {
            count += 1;
        }
        assert!(count > 0, "{name}");
        assert_sound(&images, name);
        assert_refused("chunk-alloc --type data", &images, "space");
        assert_refused("chunk-alloc --type data --count 100 --threads 4", &images, "space");
        assert_refused("chunk-alloc --type metadata", &images, "space");
        assert_refused("chunk-alloc --type system", &images, "space");
        // What is asked for beyond the last one takes all of it back.
        document("chunk-remove --unused --type data", &images);
        assert_refused("chunk-alloc --type data --count 1000 --threads 4", &images, "space");
        assert_sound(&images, name);
    }
}

#[test]
fn a_full_system_chunk_array_is_seen_before_anything_is_changed() {
    let scratch = Scratch::in_memory();
    for (name, stripes) in [("single", 1), ("dup", 2), ("raid1c4", 4), ("mixed", 1)] {
        let Some(images) = kernel_image_or_skip(name) else { return };
        let images = copies(&images, &scratch.new_directory());
        let array = |images: &[PathBuf]| open(images).superblock().sys_chunk_array_size.get() as usize;
        let entry = 65 + 32 * stripes;
        while array(&images) + entry <= 2048 {
            let size = array(&images);
            document("chunk-alloc --type system --size 256k", &images);
            assert_eq!(array(&images), size + entry, "{name}");
        }
        assert_sound(&images, name);
        assert_refused("chunk-alloc --type system --size 256k", &images, "system chunk array");
        assert_refused("chunk-alloc --type system --count 3 --threads 3", &images, "system chunk array");
        // Other chunks need none.
        document("chunk-alloc --type data --size 1M", &images);
        assert_sound(&images, name);
        let removed = document("chunk-remove --unused --type system", &images);
        assert!(addresses(&removed).len() > 5, "{name}: {removed}");
        assert_sound(&images, name);
        document("chunk-alloc --type system --size 256k", &images);
        assert_sound(&images, name);
    }
}

#[test]
fn what_would_be_harmed_is_refused_in_one_line() {
    let scratch = Scratch::in_memory();
    let commands = ["chunk-alloc --type data", "chunk-alloc --type system --dry-run", "chunk-remove --unused"];
    for (name, telling) in [("log-tree", "log"), ("degraded", "missing"), ("degraded-raid6", "missing")] {
        let Some(images) = copy_of_kernel_image_or_skip(name, &scratch) else { return };
        commands.iter().for_each(|command| assert_refused(command, &images, telling));
    }
    let Some(images) = kernel_image_or_skip("raid1") else { return };
    let images = copies(&images, &scratch.new_directory());
    commands.iter().for_each(|command| assert_refused(command, &images[1..], "missing"));
    for options in ["rw", "ro"] {
        let Some(mounted) = or_skip(Mounted::new(&images, options, &scratch)) else { return };
        for command in commands {
            let run = run_rbtrfs(command, &images);
            assert!(run.code == 2 && run.says(&["mounted"]) && run.stderr.lines().count() == 1, "{run:?}");
        }
        drop(mounted);
    }
    let Some(device) = or_skip(attach(&images[1])) else { return };
    let runs = commands.map(|command| run_rbtrfs(command, &images));
    detach(&device);
    for run in runs {
        assert!(run.code == 2 && run.says(&["loop"]) && run.stderr.lines().count() == 1, "{run:?}");
    }
    let nothing = [scratch.zeros("zeros", 1 << 20)];
    commands.iter().for_each(|command| assert_refused(command, &nothing, "zeros"));
    let absent = [Path::new("/nonexistent").to_owned()];
    let run = run_rbtrfs(commands[0], &absent);
    assert!(run.code == 2 && run.stderr.lines().count() == 1, "{run:?}");
}

/// The item of a block group may be wrong: what lies in it would go with it.
#[test]
fn a_chunk_that_only_seems_empty_stays() {
    let scratch = Scratch::in_memory();
    let Some(images) = copy_of_kernel_image_or_skip("single", &scratch) else { return };
    document("chunk-alloc --type data --size 16m", &images);
    let used = chunks(&images, block_group::DATA).remove(0);
    let injector = Injector::new(&images);
    let key = Key::new(used.logical.0, KeyType::BLOCK_GROUP_ITEM, used.length);
    injector.item_as(objectid::EXTENT_TREE, key, |item: &mut BlockGroupItem| {
        assert_ne!(item.used.get(), 0);
        item.used = 0.into();
    });
    let command = format!("chunk-remove --chunk {}", used.logical);
    assert_refused(&command, injector.images(), "has extents");
    assert_refused("chunk-remove --unused --type data", injector.images(), "has extents");
}

#[test]
fn a_v1_cache_does_not_outlive_its_chunk() {
    let scratch = Scratch::in_memory();
    let images = [scratch.zeros("v1.img", 2 << 30)];
    let Some(()) = or_skip(mkfs_btrfs(["-R", "^free-space-tree"], &images)) else { return };
    let Some(mounted) = or_skip(Mounted::new(&images, "rw,space_cache=v1,nodiscard", &scratch)) else { return };
    let script = "echo kept >kept && fallocate -l 700M large && sync -f . && rm large && sync -f .";
    let status = Command::new("sh").args(["-ec", script]).current_dir(mounted.path()).status().unwrap();
    assert!(status.success());
    let contents = mounted.contents();
    drop(mounted);
    // One that leads to what is no cache must not take it along.
    let injector = Injector::new(&images);
    for (key, _) in
        injector.items(objectid::ROOT_TREE).into_iter().filter(|(key, _)| key.objectid == objectid::FREE_SPACE)
    {
        let fs_tree = Key::new(objectid::FS_TREE, KeyType::INODE_ITEM, 0).into();
        injector.item_as(objectid::ROOT_TREE, key, |header: &mut FreeSpaceHeader| header.location = fs_tree);
    }
    assert_refused("chunk-remove --unused", injector.images(), "leads to what is no hidden file");

    let caches = || output_of("dump-tree -t root", &images).matches("(FREE_SPACE UNTYPED").count();
    let before = caches();
    let removed = addresses(&document("chunk-remove --unused", &images)).len();
    assert!(removed > 2 && before > removed);
    assert_eq!(caches(), 0);
    assert_sound(&images, "after the removal");
    or_skip(btrfs_check(&images));
    assert_usable("v1", &images, &contents, &scratch);
}

/// A run whose output goes to a disk that is full, or to a reader that has gone.
fn runs_untold(command: &str, images: &[PathBuf]) -> [Run; 2] {
    let run = |stdout: Stdio| {
        let output = Command::new(PROGRAM).args(command.split_whitespace()).args(images).stdout(stdout).output();
        Run::of(output.unwrap())
    };
    let (_, closed) = std::io::pipe().unwrap();
    [run(File::create("/dev/full").unwrap().into()), run(closed.into())]
}

#[test]
fn a_change_that_cannot_be_told_was_made_all_the_same() {
    let scratch = Scratch::in_memory();
    let Some(images) = copy_of_kernel_image_or_skip("empty", &scratch) else { return };
    let count = || chunks(&images, block_group::DATA).len();
    for options in ["", "--json"] {
        let before = count();
        let runs = runs_untold(&format!("chunk-alloc --type data --size 1M {options}"), &images);
        assert_eq!(count(), before + 2, "both were made");
        for (run, telling) in runs.iter().zip(["No space left", "Broken pipe"]) {
            assert_eq!((run.code, run.stderr.lines().count()), (3, 1), "{run:?}");
            assert!(run.says(&["the change is on the disk", telling]), "{run:?}");
        }
        // The second finds nothing to do: then nothing but the output fails, and a closed pipe is no failure.
        let [removed, nothing] = runs_untold(&format!("chunk-remove --unused --type data {options}"), &images);
        assert!(removed.code == 3 && removed.says(&["the change is on the disk"]), "{removed:?}");
        assert_eq!((nothing.code, nothing.stderr.as_str()), (0, ""));
        assert_eq!(count(), 1);
        let left = copies(&images, &scratch.new_directory());
        let [full, closed] = runs_untold(&format!("chunk-alloc --type data --dry-run {options}"), &images);
        assert!(full.code == 2 && !full.says(&["on the disk"]), "{full:?}");
        assert_eq!(closed.code, 0, "{closed:?}");
        assert_identical(&images, &left, "a dry run");
    }
    for run in runs_untold("chunk-alloc --type data --size 1M --quiet", &images) {
        assert_eq!((run.code, run.stderr.as_str()), (0, ""), "there was nothing to print");
    }
    assert_sound(&images, "after all of them");

    let new = [scratch.path("new.img")];
    for options in ["", "--json"] {
        for run in runs_untold(&format!("mkfs -f {options}"), &new) {
            assert_eq!((run.code, run.stderr.lines().count()), (3, 1), "{run:?}");
            assert!(run.says(&["the change is on the disk"]), "{run:?}");
        }
        assert_sound_with_data(&new, "made");
        std::fs::remove_file(&new[0]).unwrap();
    }
}

/// The kernel does not mount such a filesystem; a change makes it whole.
#[test]
fn a_change_mends_a_damaged_primary_superblock() {
    let scratch = Scratch::in_memory();
    for (name, damaged) in [("single", &[0][..]), ("raid1", &[0]), ("raid1", &[1]), ("raid1", &[0, 1])] {
        let Some(images) = kernel_image_or_skip(name) else { return };
        for command in ["chunk-alloc --type data --size 1M", "chunk-remove --unused"] {
            let images = copies(&images, &scratch.new_directory());
            output_of("chunk-alloc --type data --size 2M", &images);
            // Torn, unreadable as a superblock, and one of nothing.
            let damages: [fn(&mut [u8]); 3] =
                [|bytes| bytes[512..].fill(1), |bytes| bytes[..512].fill(0), |bytes| bytes.fill(0)];
            for damage in damages {
                let before = chunks(&images, 0).len();
                damaged.iter().for_each(|image| drop(change(&images[*image], 65536, 4096, damage)));
                let document = document(command, &images);
                assert_ne!(chunks(&images, 0).len(), before, "{name}: {document}");
                assert_sound(&images, &format!("{name}: {command}"));
                output_of("chunk-alloc --type data --size 2M", &images);
            }
        }
    }
}

/// The kernel writes the caches of block groups that it changes, and from the mount after that one on takes all others for up to date.
#[test]
fn no_space_cache_stays_that_a_later_mount_would_use_although_it_is_stale() {
    let scratch = Scratch::in_memory();
    let Some(images) = copy_of_kernel_image_or_skip("v1-cache", &scratch) else { return };
    let is_cache = |key: &Key| (key.objectid, key.key_type) == (objectid::FREE_SPACE, KeyType::FREE_SPACE_HEADER);
    let caches = |images: &[PathBuf]| {
        let items = Injector::new(images).items(objectid::ROOT_TREE);
        items.iter().filter(|(key, _)| is_cache(key)).count()
    };
    assert!(caches(&images) > 1);
    document("chunk-alloc --type data", &images);
    assert_eq!(caches(&images), 0);
    for round in 0..2 {
        assert_sound(&images, &format!("after {round} mounts"));
        let Some(mounted) = or_skip(Mounted::new(&images, "rw", &scratch)) else { return };
        std::fs::write(mounted.path().join(format!("round-{round}")), "written").unwrap();
    }
    assert_sound(&images, "after two mounts");
}
