//! Repairs of damaged images, and what others say of them afterwards.

use std::collections::BTreeSet;
use std::path::PathBuf;

use rbtrfs::finding::Finding;
use rbtrfs::image::Image;
use rbtrfs::progress::Progress;
use rbtrfs::repair::{Force, Options, Repaired, publish, remedy, repair};
use rbtrfs::volume::{MissingDevices, RootChoice};

use super::mounted::btrfs_check_output;
use super::soundness::{beyond_notes, describe};
use super::staged::held;

/// Repairs images, and publishes the repair if it made them better.
pub fn repaired(images: &[PathBuf]) -> rbtrfs::Result<Repaired> {
    let progress = Progress::default();
    let options = Options {
        threads: 2,
        memory: 64 << 20,
        progress: &progress,
        check_data_csum: false,
        missing: MissingDevices::Refuse,
        choice: RootChoice::default(),
        force: Force::default(),
    };
    let staged: Vec<Image> = images.iter().map(|path| held(path).staged()).collect();
    let repaired = repair(&staged, &options)?;
    if repaired.is_better() {
        publish(staged, None, &progress)?.wholly()?;
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
    let text = String::from_utf8_lossy(&judged.stderr).into_owned();
    (!judged.status.success()).then(|| format!("btrfs check after {fixes:?}: {text}"))
}

/// Kinds of damage, as cases make them, that a repair leaves, although it mends others of some of these kinds.
const LEFT: &[&str] = &[
    "block-unreadable",
    "chunk-not-mixed",
    "chunk-tree-block-outside",
    "chunk-type-missing",
    "chunk-unavailable",
    "chunk-uneven",
    "device-devid",
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
    "seed-generation",
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
