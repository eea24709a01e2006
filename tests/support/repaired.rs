//! Repairs of damaged images, and what others say of them afterwards.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;

use rbtrfs::finding::Finding;
use rbtrfs::image::Image;
use rbtrfs::progress::Progress;
use rbtrfs::repair::{Force, Options, Repaired, publish, remedy, repair};
use rbtrfs::volume::{MissingDevices, RootChoice};

use super::mounted::btrfs_check_output;
use super::soundness::{beyond_notes, describe};
use super::staged::held;

/// What a repair is asked for that has no wishes.
pub fn options(progress: &Progress) -> Options<'_> {
    Options {
        threads: 2,
        memory: 64 << 20,
        progress,
        check_data_csum: false,
        missing: MissingDevices::Refuse,
        choice: RootChoice::default(),
        force: Force::default(),
        copies_only: false,
    }
}

/// Repairs images, and publishes the repair if it made them better.
pub fn repaired(images: &[PathBuf]) -> rbtrfs::Result<Repaired> {
    repaired_with(images, &options(&Progress::default()))
}

/// The same, and data is verified and mended, too.
pub fn repaired_with_data(images: &[PathBuf]) -> rbtrfs::Result<Repaired> {
    let progress = Progress::default();
    repaired_with(images, &Options { check_data_csum: true, ..options(&progress) })
}

pub fn repaired_with(images: &[PathBuf], options: &Options<'_>) -> rbtrfs::Result<Repaired> {
    let staged: Vec<Image> = images.iter().map(|path| held(path).staged()).collect();
    let repaired = repair(&staged, options)?;
    if repaired.is_better() {
        publish(staged, None, options.progress)?.wholly()?;
    }
    Ok(repaired)
}

/// Nothing if images were repaired, and all say so; else what is wrong.
pub fn fault_of_repair(images: &[PathBuf]) -> Option<String> {
    let repaired = match repaired(images) {
        Ok(repaired) => repaired,
        Err(error) => return Some(format!("error: {error}")),
    };
    let stopped = repaired.stopped.as_ref().map(|error| format!(" (stopped: {error})")).unwrap_or_default();
    let fixes: BTreeSet<_> = repaired.fixes.iter().map(Finding::code).collect();
    let left = beyond_notes(repaired.after.problems.clone());
    if !left.is_empty() {
        return Some(format!("left{stopped} after {fixes:?}:{}", describe(&left)));
    }
    let found = beyond_notes(super::check(&super::open(images), 2));
    if !found.is_empty() {
        return Some(format!("after publishing:{}", describe(&found)));
    }
    let judged = btrfs_check_output(images).expect("btrfs check runs");
    if !judged.status.success() {
        return Some(format!("btrfs check after {fixes:?}: {}", String::from_utf8_lossy(&judged.stderr)));
    }
    objection(images).map(|objection| format!("referee after {fixes:?}: {objection}"))
}

/// What the program in `RBTRFS_REFEREE` says against the images. It may take seconds for each, so that not every run of the tests
/// names one.
fn objection(images: &[PathBuf]) -> Option<String> {
    let referee = std::env::var_os("RBTRFS_REFEREE")?;
    let output = Command::new(referee).args(images).output().expect("the referee runs");
    (!output.status.success()).then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Kinds of damage, as cases make them, that a repair leaves, although it mends others of some of these kinds.
const LEFT: &[&str] = &[
    "block-unreadable",
    "chunk-not-mixed",
    "chunk-tree-block-outside",
    "chunk-type-missing",
    "chunk-unavailable",
    "device-stale",
    "device-truncated",
    "link-empty",
    "link-not-inline",
    "link-nul",
    "log-block-outside",
    "log-block-used",
    "log-csum-missing",
    "log-extent-outside",
    "log-extent-used",
    "log-generation",
    "log-tree",
    "stripe-overlap",
    "stripe-unaligned",
    "super-compat-ro",
    "super-conversion",
    "super-flags",
    "super-not-understood",
    "sys-array-missing",
    "zoned-extent-over-superblock",
    "zoned-extent-unaligned",
    "zoned-mixed",
    "zoned-zone-size",
];

/// The line of a case in the table of repairs, and whether it is a failure: damage that is mended elsewhere was left here.
pub fn judge_repair(code: &str, image: &str, images: &[PathBuf]) -> (String, bool) {
    match fault_of_repair(images) {
        None => (format!("{code} on {image}: mended ({})", remedy(code)), false),
        Some(fault) if LEFT.contains(&code) => (format!("{code} on {image}: left ({})\n{fault}", remedy(code)), false),
        Some(fault) => (format!("{code} on {image}: not mended: {fault}"), true),
    }
}
