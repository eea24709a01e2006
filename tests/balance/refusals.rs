//! What cannot be done is said in one line, and nothing changes.

use std::path::PathBuf;
use std::time::SystemTime;

use crate::support::{Scratch, output_of, run_rbtrfs};

fn state(images: &[PathBuf]) -> Vec<(Vec<u8>, SystemTime)> {
    let state = |path: &PathBuf| (std::fs::read(path).unwrap(), path.metadata().unwrap().modified().unwrap());
    images.iter().map(state).collect()
}

fn made(options: &str, devices: usize, scratch: &Scratch) -> Vec<PathBuf> {
    let images: Vec<PathBuf> = (0..devices).map(|device| scratch.path(&format!("{device}.img"))).collect();
    output_of(&format!("mkfs --quiet --byte-count 256M {options}"), &images);
    images
}

#[test]
fn what_cannot_be_balanced_is_refused_for_its_reason() {
    let scratch = Scratch::new();
    let images = made("--data single --metadata raid1", 2, &scratch);
    let before = state(&images);
    for (options, telling) in [
        ("", "--full"),
        ("--resume", "no balance is paused"),
        ("--cancel", "no balance is paused"),
        ("-dconvert=raid1c3", "RAID1C3 need 3 devices, there are 2"),
        ("-dconvert=raid6", "RAID6 need 3 devices, there are 2"),
        ("-mconvert=single", "metadata would have less redundancy as single than as RAID1: --force"),
        ("-mconvert=dup", "metadata would have less redundancy as DUP than as RAID1: --force"),
        ("-d -sconvert=raid0", "system would have less redundancy as RAID0 than as RAID1: --force"),
    ] {
        let run = run_rbtrfs(&format!("balance {options}"), &images);
        assert_eq!(
            (run.code, run.stdout.as_str(), run.stderr.lines().count()),
            (2, "", 1),
            "{options}: {}",
            run.stderr
        );
        assert!(run.stderr.contains(telling), "{options}: {}", run.stderr);
    }
    for (options, telling) in [
        ("-dusage=101", "usage=101 is more than 100 percent"),
        ("-dlimit=x", "limit=x is no number and no range"),
        ("--data=drange=1..2", "drange needs devid"),
        ("-mprofiles=raid7", "profiles=raid7 is no profile"),
        ("-sunknown=1", "unknown=1 is no filter"),
        ("--full -d", "cannot be used with"),
        ("--resume -dusage=5", "cannot be used with"),
        ("--cancel --resume", "cannot be used with"),
        ("-d --svg /dev/null/picture", "--dry-run"),
    ] {
        let run = run_rbtrfs(&format!("balance {options}"), &images);
        assert!(run.code == 2 && run.stdout.is_empty() && run.stderr.contains(telling), "{options}: {}", run.stderr);
    }
    assert!(state(&images) == before);
}

#[test]
fn mixed_block_groups_are_balanced_as_one_type() {
    let scratch = Scratch::new();
    let images = made("--mixed", 1, &scratch);
    for options in ["-dusage=5", "-musage=5", "-dusage=5 -musage=6"] {
        let run = run_rbtrfs(&format!("balance --dry-run {options}"), &images);
        assert!(run.code == 2 && run.says(&["data and metadata are in the same block groups"]), "{options}: {run:?}");
    }
    let text = output_of("balance --dry-run -dusage=90 -musage=90 -susage=0", &images);
    assert!(text.contains("would empty data+metadata"), "{text}");
}

#[test]
fn a_dry_run_changes_neither_bytes_nor_times() {
    let scratch = Scratch::new();
    let images = made("--data single --metadata dup --rootdir src", 1, &scratch);
    let before = state(&images);
    for options in ["--full", "-dconvert=dup", "-mconvert=single --force", "-dusage=50 --json", "-dlimit=0"] {
        output_of(&format!("balance --dry-run {options}"), &images);
    }
    output_of("chunk-remove --relocate --dry-run --chunk 1048576", &images);
    assert!(state(&images) == before);
}

#[test]
fn filters_are_taken_with_and_without_an_equals_sign() {
    let scratch = Scratch::new();
    let images = made("--data single --metadata dup", 1, &scratch);
    output_of("chunk-alloc --type data --size 16M", &images);
    let texts: Vec<String> = ["-dusage=0", "-d=usage=0", "--data=usage=0", "-q -dusage=0"]
        .map(|options| output_of(&format!("balance --dry-run {options}"), &images))
        .into();
    assert!(
        texts[0].starts_with("would empty data single") && texts[0] == texts[1] && texts[0] == texts[2],
        "{texts:?}"
    );
    assert_eq!(texts[3], "");
    // An image whose name comes right behind the option is no filter.
    assert!(output_of("balance --dry-run -d", &images).starts_with("would empty data single"));
}
