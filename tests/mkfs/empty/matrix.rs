//! Combinations of everything: those of `scripts/mkfs-matrix`, which asks the kernel about all of them.

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::process::Command;

use crate::empty::make;
use crate::support::{Scratch, mounted};

/// Number of devices, size of each and options.
fn rows() -> Vec<(usize, String, String)> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/mkfs-matrix");
    let output = Command::new(script).arg("list").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let row = |line: &str| {
        let (shape, options) = line.split_once('|').unwrap();
        let (count, size) = shape.split_once('x').unwrap();
        (count.parse().unwrap(), size.to_owned(), options.to_owned())
    };
    text.lines().map(row).collect()
}

#[test]
fn no_combination_makes_an_unsound_filesystem() {
    let rows = rows();
    assert!(rows.len() >= 150, "only {} combinations", rows.len());
    for (count, size, options) in rows {
        let scratch = Scratch::new();
        let images = make(&options, count, &size, &scratch);
        let problems = crate::support::check_data(&crate::support::open(&images), 2);
        assert_eq!(problems, [], "{count}x{size} {options}");
    }
}

#[test]
fn the_kernel_writes_to_what_was_made() {
    for (count, size, options) in [
        (1, "1G", ""),
        (1, "16M", "-M"),
        (1, "16M", "-d single -m single"),
        (2, "64M", ""),
        (3, "300M", "-d raid5 -m raid5 -n 4k --csum xxhash"),
        (4, "300M", "-d raid6 -m raid1c4 --csum blake2 -O quota"),
        (4, "300M", "-d raid10 -m raid10 -O ^bgt"),
        (1, "10T", "-n 64k --csum sha256"),
        (1, "256M", "-O ^extref,^skinny-metadata,^no-holes,^free-space-tree,^bgt"),
    ] {
        let scratch = Scratch::new();
        let images = make(options, count, size, &scratch);
        let Some(()) = crate::support::or_skip(mounted::btrfs_check(&images)) else { return };
        // The kernel resizes no smaller device.
        let is_scrubbed = !["16M", "64M"].contains(&size);
        for image in images.iter().filter(|_| is_scrubbed) {
            let file = File::options().write(true).open(image).unwrap();
            file.set_len(file.metadata().unwrap().len() + (1 << 30)).unwrap();
        }
        let Some(mounted) = crate::support::or_skip(mounted::Mounted::new(&images, "rw", &scratch)) else { return };
        std::fs::write(mounted.path().join("a"), vec![7; 1 << 20]).unwrap();
        for number in 0..20 {
            std::fs::create_dir(mounted.path().join(format!("directory {number}"))).unwrap();
        }
        if is_scrubbed {
            mounted.scrub();
        }
        drop(mounted);
        crate::support::or_skip(mounted::btrfs_check(&images));
        assert_eq!(crate::support::check_data(&crate::support::open(&images), 2), [], "{count}x{size} {options}");
    }
}

/// Bytes that the kernel gives one file of a filesystem, all that there are.
fn room_for_data(images: &[PathBuf], scratch: &Scratch) -> Option<u64> {
    let mounted = crate::support::or_skip(mounted::Mounted::new(images, "rw", scratch))?;
    let file = File::create(mounted.path().join("file")).unwrap();
    let (mut size, mut step) = (0, 64 << 20);
    while step >= 1 << 16 {
        match rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), size, step) {
            Ok(()) => size += step,
            Err(error) => {
                assert_eq!(error, rustix::io::Errno::NOSPC);
                step /= 4;
            }
        }
    }
    Some(size)
}

#[test]
fn data_has_no_less_room_than_mkfs_btrfs_leaves_it() {
    for (count, size, options) in [
        (1, "128M", ""),
        (1, "300M", ""),
        (1, "512M", ""),
        (1, "1G", ""),
        (1, "2G", ""),
        (1, "10G", ""),
        (1, "1G", "-m single"),
        (1, "1G", "-d dup"),
        (1, "128M", "-n 65536"),
        (1, "160M", "-n 65536"),
        (1, "190M", "-n 65536"),
        (1, "256M", "-n 65536"),
        (4, "128M", "-n 65536 -d raid10 -m raid10"),
        (1, "1G", "-M"),
        (2, "512M", ""),
        (2, "2G", "-d raid0 -m raid0"),
        (2, "1G", "-d raid1 -m raid1"),
        (3, "700M", "-d raid5 -m raid1c3"),
        (3, "1G", "-d raid5 -m raid5"),
        (4, "1G", "-d raid10 -m raid10"),
        (4, "512M", "-d raid6 -m raid6"),
    ] {
        let scratch = Scratch::new();
        let ours = make(options, count, size, &scratch);
        let theirs: Vec<PathBuf> = ours
            .iter()
            .enumerate()
            .map(|(number, image)| scratch.zeros(&format!("{number}.theirs"), image.metadata().unwrap().len()))
            .collect();
        let words: Vec<&str> = options.split_whitespace().collect();
        let Some(()) = crate::support::or_skip(crate::support::mkfs_btrfs(words, &theirs)) else { return };
        let Some(theirs) = room_for_data(&theirs, &scratch) else { return };
        let Some(ours) = room_for_data(&ours, &scratch) else { return };
        assert!(ours >= theirs, "{count}x{size} {options}: {ours} bytes, with mkfs.btrfs {theirs}");
    }
}

#[test]
fn the_least_size_that_is_named_is_enough_for_a_mebibyte() {
    for (count, options) in [
        (1, ""),
        (1, "-m single"),
        (1, "-n 4096"),
        (1, "-n 4096 -m single"),
        (1, "-n 65536 -m single"),
        (1, "-d dup"),
        (1, "-M"),
        (1, "-M -d dup -m dup"),
        (2, ""),
        (2, "-d raid0 -m raid0"),
        (2, "-d raid0 -m raid0 -n 4096"),
        (2, "-M -d raid0 -m raid0"),
        (2, "-d raid1 -m raid1 -n 4096"),
        (3, "-d raid5 -m raid5"),
        (3, "-d raid5 -m raid5 -n 4096"),
        (4, "-d raid6 -m raid6"),
        (4, "-d raid10 -m raid10"),
        (4, "-d raid10 -m raid10 -n 4096"),
    ] {
        let scratch = Scratch::new();
        let directory = scratch.new_directory();
        let images: Vec<PathBuf> = (0..count).map(|number| directory.join(format!("{number}.img"))).collect();
        let with_size = |size: u64| crate::support::run_rbtrfs(&format!("mkfs -q -b {size} {options}"), &images);
        let refused = with_size(1 << 20);
        let least = refused.stderr.split("at least ").nth(1).and_then(|rest| rest.split(' ').next());
        let least: u64 = least.and_then(|least| least.parse().ok()).unwrap_or_else(|| panic!("{refused:?}"));
        for (size, code) in [(least - 4096, 2), (least, 0)] {
            let run = with_size(size);
            assert_eq!(run.code, code, "{count}x{size} {options}: {}", run.stderr);
        }
        assert_eq!(crate::support::check_data(&crate::support::open(&images), 2), [], "{count}x{least} {options}");
        let Some(mounted) = crate::support::or_skip(mounted::Mounted::new(&images, "rw", &scratch)) else { return };
        let written = File::create(mounted.path().join("file")).and_then(|mut file| {
            file.write_all(&vec![7; 1 << 20])?;
            file.sync_all()
        });
        written.unwrap_or_else(|error| panic!("{count}x{least} {options}: {error}"));
    }
}
