//! Combinations of everything: those of `scripts/mkfs-matrix`, which asks the kernel about all of them.

use std::fs::File;
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
