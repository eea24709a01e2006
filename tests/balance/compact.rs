//! A filesystem without unallocated space is compacted where the kernel gives up.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::change::make_filesystem;
use crate::support::mounted::{Mounted, btrfs_check};
use crate::support::soundness::assert_sound_with_data;
use crate::support::{Scratch, copies, or_skip, output_of, run_rbtrfs};
use crate::{MIB, document};

/// Writes files until there is no space left; returns how many.
fn fill(directory: &Path, name: &str, size: u64) -> usize {
    let mut contents = vec![0_u8; size as usize];
    for number in 0.. {
        contents.iter_mut().for_each(|byte| *byte = byte.wrapping_add(number as u8 | 1));
        let path = directory.join(format!("{name}-{number}"));
        let written = std::fs::write(&path, &contents).and_then(|()| match size > MIB / 2 {
            true => std::fs::File::open(&path)?.sync_all(),
            false => Ok(()),
        });
        if written.is_err() {
            let _ = std::fs::remove_file(&path);
            return number;
        }
    }
    unreachable!()
}

/// A device without an unallocated byte, 30 per cent of its data in use, and as little metadata left as the kernel lets there be.
fn full(scratch: &Scratch) -> Option<Vec<PathBuf>> {
    let images = make_filesystem(&["-d", "single", "-m", "single"], 1, 320 * MIB, scratch)?;
    output_of("chunk-alloc --type metadata --size 8M", &images);
    while run_rbtrfs("chunk-alloc --quiet --type data --size 16M", &images).code == 0 {}
    while run_rbtrfs("chunk-alloc --quiet --type data --size 64k", &images).code == 0 {}
    let mounted = or_skip(Mounted::new(&images, "rw", scratch))?;
    for number in 0..fill(mounted.path(), "file", MIB) {
        if number % 10 < 7 {
            std::fs::remove_file(mounted.path().join(format!("file-{number}"))).unwrap();
        }
    }
    std::fs::File::open(mounted.path()).unwrap().sync_all().unwrap();
    fill(mounted.path(), "inline", 1900);
    Some(images)
}

fn unallocated(images: &[PathBuf]) -> u64 {
    let list = document("list-chunks", images);
    let ranges = list["devices"][0]["ranges"].as_array().unwrap().clone();
    let free = ranges.iter().filter(|range| range["state"] == "free");
    free.map(|range| range["length"].as_u64().unwrap()).sum()
}

#[test]
fn what_the_kernel_cannot_balance_for_want_of_space_is_compacted() {
    let scratch = Scratch::in_memory();
    let Some(images) = full(&scratch) else { return };
    assert_eq!(unallocated(&images), 0);
    let of_the_kernel = copies(&images, &scratch.new_directory());
    let mounted = Mounted::new(&of_the_kernel, "rw", &scratch).unwrap();
    let balance = Command::new("btrfs").args(["balance", "start", "-dusage=90"]).arg(mounted.path()).output().unwrap();
    let text = String::from_utf8_lossy(&balance.stderr).into_owned();
    assert!(!balance.status.success() && text.contains("No space left on device"), "{text}");
    let contents = mounted.contents();
    drop(mounted);

    let planned = document("balance --dry-run -dusage=90", &images);
    assert_eq!(planned["without_room"], 0);
    output_of("balance -dusage=90", &images);
    let free = unallocated(&images);
    assert!(free > 150 * MIB, "{free}");
    assert_sound_with_data(&images, "compacted");
    or_skip(btrfs_check(&images));
    assert_eq!(Mounted::new(&images, "ro", &scratch).unwrap().contents(), contents);
}
