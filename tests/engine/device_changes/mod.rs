//! Devices come, go and change their size, and filesystems grow from seeds.
//!
//! The judges are the check of this project, btrfs-progs, and the kernel, which goes on to use the filesystem.

mod crash;
mod herd;
mod members;
mod refusals;
mod sprouts;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rbtrfs::device::add;
use rbtrfs::disk::superblock::{MAGIC, SUPER_OFFSETS};
use rbtrfs::image::Image;
use rbtrfs::volume::{Volume, read_copies};

use crate::support::change::*;
use crate::support::mounted::{Mounted, btrfs_check};
use crate::support::random::Random;
use crate::support::soundness::*;
use crate::support::*;

const MIB: u64 = 1 << 20;

/// Size and used bytes of each device.
type Devices = BTreeMap<u64, (u64, u64)>;

fn devices(images: &[PathBuf]) -> Devices {
    let volume = open(images);
    let items = volume.devices().iter().map(|device| device.superblock().dev_item);
    items.map(|item| (item.devid.get(), (item.total_bytes.get(), item.bytes_used.get()))).collect()
}

/// What `btrfs filesystem show` says of what is mounted.
fn shown(mounted: &Mounted) -> Devices {
    let text = tool("btrfs", ["filesystem", "show", "--raw", mounted.path().to_str().unwrap()]).unwrap();
    let devices = text.lines().filter_map(|line| line.trim().strip_prefix("devid"));
    let numbers = devices.map(|line| -> Vec<u64> { line.split_whitespace().flat_map(str::parse).collect() });
    numbers.map(|numbers| (numbers[0], (numbers[1], numbers[2]))).collect()
}

/// What the kernel reads of a filesystem.
fn contents(images: &[PathBuf]) -> Option<String> {
    let scratch = Scratch::in_memory();
    or_skip(Mounted::new(images, "ro", &scratch)).map(|mounted| mounted.contents())
}

/// Whole, and the same files in it, for this project, btrfs-progs and the kernel, which writes to a copy.
#[track_caller]
fn assert_whole(images: &[PathBuf], expected: &str, what: &str) {
    assert_sound(images, what);
    or_skip(btrfs_check(images));
    let scratch = Scratch::in_memory();
    let copies = copies(images, &scratch.new_directory());
    let devices = devices(&copies);
    let mounted = Mounted::new(&copies, "rw", &scratch).unwrap();
    assert_eq!(shown(&mounted), devices, "{what}");
    assert_eq!(mounted.contents(), expected, "{what}");
    mounted.write_something();
    drop(mounted);
    assert_sound(&copies, &format!("{what}, and written to"));
}

/// Places at which there is a superblock.
fn superblocks(image: &Path) -> Vec<u64> {
    let copies = read_copies(&Image::open(image).unwrap()).unwrap();
    copies.iter().filter(|copy| copy.superblock.magic.get() == MAGIC).map(|copy| copy.offset.0).collect()
}

fn with(images: &[PathBuf], more: &Path) -> Vec<PathBuf> {
    images.iter().cloned().chain([more.to_owned()]).collect()
}
