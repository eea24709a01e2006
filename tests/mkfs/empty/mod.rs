//! What `rbtrfs mkfs` makes, judged by the check, by btrfs-progs and by the kernel.

mod callers;
mod content;
mod discard;
mod failures;
mod matrix;
mod rebuild;
mod refusals;
mod registered;
mod same_bytes;

use std::path::PathBuf;
use std::process::Command;

use crate::support::{PROGRAM, Run, Scratch};

/// Makes a filesystem with the words of `options` on files that are missing, as large as `size` says.
fn make(options: &str, count: usize, size: &str, scratch: &Scratch) -> Vec<PathBuf> {
    let directory = scratch.new_directory();
    let images: Vec<PathBuf> = (0..count).map(|number| directory.join(format!("{number}.img"))).collect();
    let run = crate::support::run_rbtrfs(&format!("mkfs --quiet --byte-count {size} {options}"), &images);
    assert_eq!((run.code, run.stdout.as_str(), run.stderr.as_str()), (0, "", ""), "{options}");
    images
}

/// Runs the program under another name, with all of these arguments.
fn called(name: &str, arguments: &[&str], scratch: &Scratch) -> Run {
    let link = scratch.path(name);
    if !link.exists() {
        std::os::unix::fs::symlink(PROGRAM, &link).unwrap();
    }
    Run::of(Command::new(link).args(arguments).output().unwrap())
}
