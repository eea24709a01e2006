//! Damaged filesystems from the field.

use crate::support::corpus::unpacked;
use crate::support::repaired::fault_of_repair;
use crate::support::{Scratch, require};

/// Those that are mended wholly.
const MENDED: &[&str] = &[
    "001-bad-file-extent-bytenr",
    "004-no-dir-index",
    "014-no-extent-info",
    "016-wrong-inode-nbytes",
    "028-unaligned-super-dev-sizes",
    "040-compressed-nodatasum",
    "047-dev-bytes-used",
    "050-invalid-block-group-used",
    "053-bad-metadata-level",
    "055-super-num-devs-mismatch",
    "058-bad-free-space-tree-entry",
    "061-out-of-order-inline-backref",
    "067-dupe-filename",
    "068-orphan-dev-extent",
    "069-unknown-fs-tree-key",
    "070-missing-inode-ref",
];

#[test]
fn damage_from_the_field_is_mended_so_that_btrfs_check_finds_nothing() {
    let images = unpacked(|name| MENDED.iter().any(|mended| name.starts_with(mended)));
    let test = "damage_from_the_field_is_mended_so_that_btrfs_check_finds_nothing";
    if !require(test, images.len() >= MENDED.len(), "no corpus") {
        return;
    }
    let scratch = Scratch::in_memory();
    let mut failures = String::new();
    for image in images {
        let copy = scratch.copy(&image);
        if let Some(fault) = fault_of_repair(std::slice::from_ref(&copy)) {
            failures += &format!("{image:?}: {fault}\n");
        }
        std::fs::remove_file(copy).unwrap();
    }
    assert!(failures.is_empty(), "{failures}");
}
