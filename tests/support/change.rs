//! Filesystems that are opened to be changed, and what a check says of them afterwards.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::time::Duration;

use rbtrfs::chunk::{Force, Wish, alloc, begin, finish};
use rbtrfs::disk::{Logical, Profile};
use rbtrfs::finding::{Finding, Severity};
use rbtrfs::trans::Filesystem;
use rbtrfs::volume::MissingDevices;
use rbtrfs::{Error, Result};

use super::{Scratch, check, open, or_skip, tool};

pub fn open_for_change(images: &[PathBuf]) -> Filesystem {
    for _ in 0..500 {
        match Filesystem::open(images, MissingDevices::Refuse) {
            // By a program that another test is just starting: until it runs it has all files that are open here.
            Err(Error::InUse { .. }) => std::thread::sleep(Duration::from_millis(10)),
            opened => return opened.unwrap(),
        }
    }
    panic!("{images:?} stay in use");
}

/// Items of trees other than the chunk tree that a change of a chunk touches.
pub fn items(fs: &Filesystem) -> u64 {
    3 + fs.chunks().devices.len() as u64
}

pub fn wish(type_bits: u64, profile: Option<Profile>, size: u64) -> Wish {
    Wish { type_bits, profile, size: Some(size), force: Force::Force }
}

/// Allocates one chunk from beginning to end; nothing if another thread was faster.
pub fn allocate(fs: &Filesystem, wish: &Wish) -> Result<Option<Logical>> {
    let mut handle = begin(fs, items(fs))?;
    let allocated = alloc(&mut handle, wish);
    finish(handle)?;
    allocated
}

/// Sparse devices of `size` bytes with an empty filesystem.
pub fn make_filesystem(options: &[&str], devices: usize, size: u64, scratch: &Scratch) -> Option<Vec<PathBuf>> {
    let images: Vec<PathBuf> = (0..devices).map(|device| scratch.zeros(&format!("{device}.img"), size)).collect();
    let words = ["-q", "-K"].iter().chain(options).map(OsStr::new);
    or_skip(tool("mkfs.btrfs", words.chain(images.iter().map(|image| image.as_os_str()))))?;
    Some(images)
}

/// What a check says beyond notes.
pub fn problems(images: &[PathBuf]) -> Vec<String> {
    let problems = check(&open(images), 2).into_iter().filter(|problem| problem.severity() > Severity::Note);
    problems.map(|problem| format!("{}: {problem}", problem.code())).collect()
}

#[track_caller]
pub fn assert_sound(images: &[PathBuf], what: &str) {
    assert_eq!(problems(images), Vec::<String>::new(), "{what}");
}

/// The same numbers each time (xorshift64).
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound.max(1) as u64) as usize
    }
}
