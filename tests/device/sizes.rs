//! Devices grow and shrink, as far as they can.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::support::change::make_filesystem;
use super::support::mounted::{Mounted, btrfs_check};
use super::support::random::Random;
use super::support::soundness::{assert_sound, assert_sound_with_data};
use super::support::{Scratch, copies, copy_of_kernel_image_or_skip, or_skip, output_of, run_rbtrfs, tool};
use super::{MIB, assert_whole_and_writable, contents, document};

fn shell(directory: &Path, script: &str) {
    let output = Command::new("sh").args(["-ec", script]).current_dir(directory).output().unwrap();
    assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
}

fn length(image: &Path) -> u64 {
    image.metadata().unwrap().len()
}

/// So many steps: a few, or as many as are asked for.
fn steps() -> usize {
    std::env::var("RBTRFS_RESIZE_STEPS").map_or(5, |steps| steps.parse().expect("a number of steps"))
}

/// The kernel writes between, and removes.
#[test]
fn a_filesystem_that_grows_and_shrinks_keeps_its_files() {
    for (data, metadata, devices) in [("single", "dup", 1), ("raid1", "raid1", 3)] {
        let scratch = Scratch::in_memory();
        let Some(images) = make_filesystem(&["-d", data, "-m", metadata], devices, 600 * MIB, &scratch) else { return };
        let mut random = Random(devices as u64 + 77);
        for step in 0..steps() {
            let what = format!("{data} {metadata}, step {step}");
            let Some(mounted) = or_skip(Mounted::new(&images, "rw", &scratch)) else { return };
            let (name, size) = (format!("step-{step}"), 2 + random.below(20));
            shell(mounted.path(), &format!("head -c {size}M /dev/urandom >{name}; sync -f .; rm -f step-{}", step / 2));
            let contents = mounted.contents();
            drop(mounted);
            let devid = 1 + random.below(devices);
            let size = (260 + random.below(500)) as u64 * MIB + random.below(10_000) as u64;
            let run = run_rbtrfs(&format!("resize --devid {devid} {size}"), &images);
            assert_eq!(run.code, 0, "{what}: to {size}: {}", run.stderr);
            assert_eq!(length(&images[devid - 1]), size / 4096 * 4096, "{what}");
            assert_sound_with_data(&images, &what);
            or_skip(btrfs_check(&images));
            assert_eq!(super::contents(&images, "ro", &scratch).unwrap(), contents, "{what}");
        }
        assert_sound(&images, "in the end");
    }
}

/// To the byte, without writing anything; and what it comes to can be written.
#[test]
fn the_least_size_is_the_one_that_was_told() {
    for name in ["single", "dup", "snapshots", "nodesize-64k", "mixed", "quota", "v1-cache", "load", "raid1"] {
        let scratch = Scratch::in_memory();
        let Some(images) = copy_of_kernel_image_or_skip(name, &scratch) else { return };
        let Some(expected) = contents(&images, "ro", &scratch) else { return };
        let before = copies(&images, &scratch.new_directory());
        let told = document("min-size --devid 1", &images)["min_bytes"].as_u64().unwrap();
        super::support::assert_identical(&images, &before, name);
        let planned = document("resize --devid 1 min --dry-run", &images);
        assert_eq!(planned["devices"][0]["total_bytes"], told, "{name}");
        super::support::assert_identical(&images, &before, name);
        output_of("resize --devid 1 min --threads 3", &images);
        assert_eq!(length(&images[0]), told, "{name}");
        assert!(told < length(&before[0]), "{name}: {told}");
        assert_eq!(document("min-size --devid 1", &images)["min_bytes"], told, "{name}: no less the second time");
        assert_whole_and_writable_if_room(&images, &expected, name);
    }
}

/// The kernel writes a MiB, and many small files.
#[track_caller]
fn assert_whole_and_writable_if_room(images: &[PathBuf], expected: &str, what: &str) {
    super::assert_whole(images, expected, what);
    let scratch = Scratch::in_memory();
    let copies = copies(images, &scratch.new_directory());
    let mounted = Mounted::new(&copies, "rw", &scratch).unwrap();
    shell(
        mounted.path(),
        "head -c 900000 /dev/urandom >new; for n in $(seq 50); do echo $n >new-$n; done; sync -f .; rm new*; sync -f .",
    );
    assert_eq!(mounted.contents(), expected, "{what}");
    drop(mounted);
    assert_sound_with_data(&copies, &format!("{what}, and written to"));
}

/// Filled, and half of it removed again here and there.
#[test]
fn a_fragmented_filesystem_shrinks_to_about_what_is_in_it() {
    let scratch = Scratch::in_memory();
    let Some(images) = make_filesystem(&["-d", "single", "-m", "dup"], 1, 2048 * MIB, &scratch) else { return };
    let Some(mounted) = or_skip(Mounted::new(&images, "rw", &scratch)) else { return };
    shell(
        mounted.path(),
        "for n in $(seq 120); do head -c 6M /dev/urandom >f$n; sync -f .; done; \
         btrfs -q subvolume snapshot . snap; for n in $(seq 1 3 120); do rm f$n snap/f$n; done; sync -f .; \
         for n in $(seq 40); do echo $n >>f$((n * 3 - 1)); done",
    );
    let expected = mounted.contents();
    drop(mounted);
    let told = document("min-size", &images)["min_bytes"].as_u64().unwrap();
    let used = 80 * 6 * MIB;
    assert!(used < told && told < used * 11 / 10 + 100 * MIB, "{told} for {used}");
    output_of("resize min", &images);
    assert_eq!(length(&images[0]), told);
    assert_whole_and_writable_if_room(&images, &expected, "fragmented");
    output_of("resize max", &images);
    output_of("resize +300M", &images);
    assert_eq!(length(&images[0]), told + 300 * MIB);
    assert_whole_and_writable(&images, &expected, "grown again");
}

/// No larger than what mkfs.btrfs makes of the same files.
#[test]
fn the_least_size_is_no_larger_than_that_of_mkfs_btrfs() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR"));
    let scratch = Scratch::in_memory();
    let large = scratch.new_directory();
    shell(&large, "head -c 90M /dev/urandom >large; head -c 3M /dev/zero >zeros");
    let small = scratch.new_directory();
    shell(&small, "for n in $(seq 400); do mkdir d$n; head -c $((n * 97)) /dev/urandom >d$n/f; done");
    for (number, tree) in
        [source.join("src"), source.join("tests"), source.join("man"), large, small].iter().enumerate()
    {
        let theirs = scratch.zeros(&format!("{number}-theirs.img"), 0);
        let made = ["-q", "--rootdir", tree.to_str().unwrap(), "--shrink", theirs.to_str().unwrap()];
        let Some(_) = or_skip(tool("mkfs.btrfs", made)) else { return };
        let ours = vec![scratch.zeros(&format!("{number}-ours.img"), 3 << 30)];
        let Some(()) = or_skip(super::support::mkfs_btrfs(["-K"], &ours)) else { return };
        let Some(mounted) = or_skip(Mounted::new(&ours, "rw", &scratch)) else { return };
        shell(mounted.path(), &format!("cp -r {}/. .; sync -f .", tree.display()));
        let expected = mounted.contents();
        drop(mounted);
        output_of("resize min", &ours);
        let (ours_bytes, theirs_bytes) = (length(&ours[0]), length(&theirs));
        println!("{}: {ours_bytes} bytes, mkfs.btrfs {theirs_bytes}", tree.display());
        assert!(ours_bytes <= theirs_bytes, "{}: {ours_bytes}, mkfs.btrfs {theirs_bytes}", tree.display());
        assert_whole_and_writable_if_room(&ours, &expected, &tree.display().to_string());
    }
}

#[test]
fn a_file_is_kept_or_cut_as_it_is_asked_for() {
    let scratch = Scratch::in_memory();
    let images = vec![scratch.path("a.img")];
    output_of("mkfs --quiet --byte-count 300M --data single --metadata dup", &images);
    output_of("resize -50M --keep-file-size", &images);
    assert_eq!(length(&images[0]), 300 * MIB);
    assert_eq!(document("device list", &images)["devices"][0]["total_bytes"], 250 * MIB);
    output_of("resize max", &images);
    assert_eq!(document("device list", &images)["devices"][0]["total_bytes"], 300 * MIB);
    let least = document("min-size", &images)["min_bytes"].as_u64().unwrap();
    output_of("resize min --slack 10M", &images);
    assert_eq!(length(&images[0]), least + 10 * MIB);
    assert_sound(&images, "with slack");
    // A disk without room for the file.
    File::options().write(true).open(&images[0]).unwrap();
    let run = run_rbtrfs("resize 9E", &images);
    assert_eq!((run.code, length(&images[0])), (2, least + 10 * MIB), "{}", run.stderr);
    assert_sound(&images, "not grown");
}
