//! Devices come, go, are replaced and change their size by commands, and nothing else changes.
//!
//! The judges are the check of this project with all data read, btrfs-progs, and the kernel, which reads what it read before and
//! goes on to write.

mod crash;
mod herd;
mod lists;
mod profiles;
mod refusals;
mod seeds;
mod sizes;
#[path = "../support/mod.rs"]
mod support;

use std::path::{Path, PathBuf};

use serde_json::Value;

use rbtrfs::disk::superblock::{MAGIC, SUPER_OFFSETS};
use rbtrfs::image::Image;
use rbtrfs::volume::read_copies;

use support::mounted::{Mounted, btrfs_check};
use support::soundness::assert_sound_with_data;
use support::{Scratch, or_skip, output_of};

const MIB: u64 = 1 << 20;

/// What a command says in JSON.
fn document(command: &str, images: &[PathBuf]) -> Value {
    serde_json::from_str(&output_of(&format!("{command} --json"), images)).unwrap()
}

/// What the kernel reads of a filesystem.
fn contents(images: &[PathBuf], options: &str, scratch: &Scratch) -> Option<String> {
    Some(or_skip(Mounted::new(images, options, scratch))?.contents())
}

/// Whole, with the same files, for all judges.
#[track_caller]
fn assert_whole(images: &[PathBuf], expected: &str, what: &str) {
    assert_sound_with_data(images, what);
    or_skip(btrfs_check(images));
    let scratch = Scratch::in_memory();
    assert_eq!(contents(images, "ro", &scratch).unwrap(), expected, "{what}");
}

/// The same, and the kernel writes to a copy of it, and verifies every copy of everything.
#[track_caller]
fn assert_whole_and_writable(images: &[PathBuf], expected: &str, what: &str) {
    assert_whole(images, expected, what);
    let scratch = Scratch::in_memory();
    let copies = support::copies(images, &scratch.new_directory());
    let mounted = Mounted::new(&copies, "rw", &scratch).unwrap();
    mounted.write_something();
    mounted.scrub_and_mend();
    drop(mounted);
    assert_sound_with_data(&copies, &format!("{what}, and written to"));
}

/// Places at which there is a superblock.
fn superblocks(image: &Path) -> Vec<u64> {
    let copies = read_copies(&Image::open(image).unwrap()).unwrap();
    copies.iter().filter(|copy| copy.superblock.magic.get() == MAGIC).map(|copy| copy.offset.0).collect()
}

fn is_superblock_at(image: &Path, number: usize) -> bool {
    superblocks(image).contains(&SUPER_OFFSETS[number].0)
}

fn with(images: &[PathBuf], more: &Path) -> Vec<PathBuf> {
    images.iter().cloned().chain([more.to_owned()]).collect()
}

fn without(images: &[PathBuf], index: usize) -> Vec<PathBuf> {
    let others = images.iter().enumerate().filter(|(number, _)| *number != index);
    others.map(|(_, image)| image.clone()).collect()
}
