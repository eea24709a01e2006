//! Filesystems that are opened to be changed, and what a check says of them afterwards.

use std::path::PathBuf;
use std::time::Duration;

use rbtrfs::chunk::{AllocRequest, Force, alloc, begin, finish};
use rbtrfs::disk::{Logical, Profile};
use rbtrfs::trans::Filesystem;
use rbtrfs::volume::MissingDevices;
use rbtrfs::{Error, Result};

use super::{Scratch, mkfs_btrfs, or_skip};

pub fn open_for_change(images: &[PathBuf]) -> Filesystem {
    open_with(images, MissingDevices::Refuse).unwrap()
}

/// Opens images for a change. Programs that other tests are just starting have them open, too, until they run.
pub fn open_with(images: &[PathBuf], missing: MissingDevices) -> Result<Filesystem> {
    for _ in 0..500 {
        match Filesystem::open(images, missing) {
            Err(Error::InUse { .. }) => std::thread::sleep(Duration::from_millis(10)),
            opened => return opened,
        }
    }
    panic!("{images:?} stay in use");
}

/// Items of trees other than the chunk tree that a change of a chunk touches.
pub fn items(fs: &Filesystem) -> u64 {
    3 + fs.chunks().devices.len() as u64
}

pub fn wish(type_bits: u64, profile: Option<Profile>, size: u64) -> AllocRequest {
    AllocRequest { type_bits, profile, size: Some(size), force: Force::Force }
}

/// Allocates one chunk from beginning to end; nothing if another thread was faster.
pub fn allocate(fs: &Filesystem, wish: &AllocRequest) -> Result<Option<Logical>> {
    let mut handle = begin(fs, items(fs))?;
    let allocated = alloc(&mut handle, wish);
    finish(handle)?;
    allocated
}

/// Sparse devices of `size` bytes with an empty filesystem.
pub fn make_filesystem(options: &[&str], devices: usize, size: u64, scratch: &Scratch) -> Option<Vec<PathBuf>> {
    let images: Vec<PathBuf> = (0..devices).map(|device| scratch.zeros(&format!("{device}.img"), size)).collect();
    or_skip(mkfs_btrfs(["-K"].iter().chain(options), &images))?;
    Some(images)
}
