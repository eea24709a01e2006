//! A balance that the kernel was told to pause is shown, gone on with, or ended.

use std::path::PathBuf;
use std::process::Command;

use crate::support::change::make_filesystem;
use crate::support::mounted::Mounted;
use crate::support::soundness::assert_sound_with_data;
use crate::support::{Scratch, assert_identical, copies, open, or_skip, output_of, run_rbtrfs, tool};
use crate::{MIB, write_files};

/// Two devices on which the kernel has converted a part of the data from single to RAID1. It pauses between two block
/// groups, where the request finds it: before the first or behind the last there is nothing in the middle, and it begins
/// anew.
fn paused(scratch: &Scratch) -> Option<Vec<PathBuf>> {
    for _ in 0..8 {
        let images = make_filesystem(&["-d", "single", "-m", "raid1"], 2, 1 << 30, scratch)?;
        output_of("chunk-alloc --type data --size 16M --count 20", &images);
        let mounted = or_skip(Mounted::new(&images, "rw", scratch))?;
        write_files(mounted.path(), "file", 70, 4 * MIB);
        pause_balance(mounted.path().to_str().unwrap());
        drop(mounted);
        if data_profiles(&images) == ["RAID1", "single"] {
            return Some(images);
        }
    }
    panic!("the kernel never paused in the middle");
}

/// Starts a balance, and pauses it once a block group is balanced.
fn pause_balance(path: &str) {
    let mut balance = Command::new("btrfs")
        .args(["balance", "start", "-dconvert=raid1", path])
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let says = |command: &str| {
        let output = Command::new("btrfs").args(["balance", command, path]).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    while balance.try_wait().unwrap().is_none() {
        let status = says("status");
        if status.contains(" out of about ") && !status.contains("\n0 out of about ") {
            says("pause");
            break;
        }
    }
    balance.wait().unwrap();
}

fn data_profiles(images: &[PathBuf]) -> Vec<&'static str> {
    let volume = open(images);
    let data = volume.chunks().iter().filter(|chunk| chunk.flags.contains(rbtrfs::disk::flags::block_group::DATA));
    let mut profiles: Vec<&str> = data.map(|chunk| chunk.profile.name()).collect();
    profiles.sort_unstable();
    profiles.dedup();
    profiles
}

/// What the kernel says of a balance that it would go on with.
fn status(images: &[PathBuf], scratch: &Scratch) -> String {
    let mounted = Mounted::new(images, "skip_balance", scratch).unwrap();
    tool("sh", ["-c", "btrfs balance status \"$0\" || true", mounted.path().to_str().unwrap()]).unwrap()
}

#[test]
fn a_paused_balance_is_gone_on_with_or_ended() {
    let scratch = Scratch::in_memory();
    let Some(images) = paused(&scratch) else { return };
    let before = copies(&images, &scratch.new_directory());
    for command in ["balance --full", "balance --dry-run -dusage=5", "chunk-remove --relocate --chunk 22020096"] {
        let run = run_rbtrfs(command, &images);
        assert_eq!((run.code, run.stderr.lines().count()), (2, 1), "{command}: {}", run.stderr);
        assert!(run.says(&["a balance is paused", "-dconvert=raid1;", "--resume", "--cancel"]), "{}", run.stderr);
    }
    let plan = output_of("balance --resume --dry-run", &images);
    assert!(plan.contains("data single block group") && !plan.contains("data RAID1 block group"), "{plan}");
    assert_identical(&images, &before, "refusals and dry runs");

    let cancelled = copies(&images, &scratch.new_directory());
    assert_eq!(output_of("balance --cancel --dry-run", &cancelled), "would end the balance -dconvert=raid1\n");
    assert_eq!(output_of("balance --cancel", &cancelled), "ended the balance -dconvert=raid1\n");
    assert_eq!(data_profiles(&cancelled), ["RAID1", "single"]);
    assert_sound_with_data(&cancelled, "cancelled");
    assert!(status(&cancelled, &scratch).contains("No balance found"));
    assert!(status(&images, &scratch).contains("is paused"));

    output_of("balance --resume", &images);
    assert_eq!(data_profiles(&images), ["RAID1"]);
    assert_sound_with_data(&images, "resumed");
    assert!(status(&images, &scratch).contains("No balance found"));
    assert!(run_rbtrfs("balance --resume", &images).says(&["no balance is paused"]));
}
