//! Filesystems made from a directory hold what the directory holds.

mod compare;
mod content;
mod refusals;
mod sharing;
mod sizes;
mod sources;
mod subvolumes;
mod tree;

use std::ffi::OsStr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use rbtrfs::image::Image;
use rbtrfs::internals::{Estimate, Inventory, InventoryOptions, Maker, MemoryBudget, NewDevice, Request};
use rbtrfs::mkfs::content::Transfer;
use rbtrfs::mkfs::{Builder, LocalDirectory};
use rbtrfs::progress::Progress;

use crate::support::mounted::{Mounted, btrfs_check};
use crate::support::*;

/// Runs our program as `mkfs.btrfs`.
fn mkfs(options: &[impl AsRef<OsStr>], environment: &[(&str, &str)]) -> Run {
    let mut command = Command::new(PROGRAM);
    command.arg0("mkfs.btrfs").args(options).envs(environment.iter().copied());
    Run::of(command.output().unwrap())
}

/// Makes an image from a directory, and has it checked, data too.
fn make(root: &Path, image: &Path, options: &str) -> Run {
    let mut words: Vec<&OsStr> = options.split_whitespace().map(OsStr::new).collect();
    words.extend([OsStr::new("-r"), root.as_os_str(), image.as_os_str()]);
    let run = mkfs(&words, &[]);
    assert_eq!((run.code, run.stderr.as_str()), (0, ""), "{options}");
    assert_sound(image);
    run
}

fn assert_sound(image: &Path) {
    output_of("check --check-data-csum", &[image.to_owned()]);
    let _ = or_skip(btrfs_check(&[image.to_owned()]));
}

/// Mounts an image as it is; nothing where the test is to be skipped.
fn mounted(image: &Path, options: &str, scratch: &Scratch) -> Option<Mounted> {
    or_skip(Mounted::new(&[image.to_owned()], &format!("ro,noatime{options}"), scratch))
}

fn is_root() -> bool {
    require(
        std::thread::current().name().unwrap_or("a test"),
        tool("id", ["-u"]).unwrap().trim() == "0",
        "only root makes all kinds of files",
    )
}

/// A directory with all kinds of files.
fn full_tree(scratch: &Scratch) -> (PathBuf, tree::Removed) {
    let root = scratch.path("root");
    tree::make(&root);
    (root.clone(), tree::Removed(root))
}

/// Fills a filesystem that nobody will see.
fn fill(scratch: &Scratch, source: &LocalDirectory, inventory: &Inventory) -> rbtrfs::Result<()> {
    let size = 256 << 20;
    let image = Image::open_for_writing(&scratch.zeros("unseen", size))?;
    let options = Builder::new().options(1).unwrap();
    let budget = MemoryBudget::new(1 << 20);
    let maker = Maker::new(options, vec![NewDevice { image, size, grows: false }], &Estimate::default(), &budget)?;
    rbtrfs::internals::fill(&maker, source, inventory, Transfer::Copied, 2, &Progress::default())
}

/// A directory and its inventory.
fn inventory(root: &Path, budget: u64) -> (LocalDirectory, Inventory) {
    let (budget, progress) = (MemoryBudget::new(budget), Progress::default());
    let options = InventoryOptions { threads: 2, budget: &budget, progress: &progress, sectorsize: 4096 };
    let source = LocalDirectory::new(root);
    let inventory = Inventory::take(&source, &Request::default(), options).unwrap();
    (source, inventory)
}
