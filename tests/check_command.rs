//! `rbtrfs check` as scripts call it.

#[path = "support/corpus.rs"]
mod corpus;
mod support;

use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;
use support::{Scratch, copy_of_kernel_image_or_skip, kernel_image_or_skip, or_skip, rbtrfs, require, tool};

/// Exit code, and the document that was printed.
fn check(images: &[PathBuf]) -> (Option<i32>, Value) {
    let output = rbtrfs("check", &["--json"], images);
    let document = serde_json::from_slice(&output.stdout).unwrap_or_default();
    (output.status.code(), document)
}

fn codes(document: &Value) -> Vec<&str> {
    document["problems"].as_array().unwrap().iter().map(|problem| problem["code"].as_str().unwrap()).collect()
}

#[test]
fn a_sound_filesystem_exits_with_0_and_says_so() {
    let Some(images) = kernel_image_or_skip("raid1") else { return };
    let (code, document) = check(&images);
    assert_eq!((code, &document["clean"], &document["schema"]), (Some(0), &true.into(), &"rbtrfs.check/1".into()));
    let text = rbtrfs("check", &[], &images);
    assert!(String::from_utf8_lossy(&text.stdout).ends_with("no problems found\n"));
    assert!(rbtrfs("check", &["-q"], &images).stdout.is_empty());
}

#[test]
fn what_a_busy_kernel_leaves_is_sound_to_btrfs_progs_and_to_us() {
    for name in ["load", "load-dup"] {
        let Some(images) = kernel_image_or_skip(name) else { return };
        let Some(theirs) = or_skip(tool("btrfs", ["check".as_ref(), images[0].as_os_str()])) else { return };
        assert!(theirs.contains("no error found"), "{theirs}");
        let (code, document) = check(&images);
        assert_eq!(code, Some(0), "{name}: {:?}", codes(&document));
    }
}

#[test]
fn what_is_merely_old_or_degraded_exits_with_0() {
    let sound = ["019-", "020-", "023-", "030-", "065-"];
    let mut filesystems: Vec<Vec<PathBuf>> = corpus::unpacked(|name| sound.iter().any(|start| name.starts_with(start)))
        .into_iter()
        .map(|path| vec![path])
        .collect();
    let test = "what_is_merely_old_or_degraded_exits_with_0";
    if !require(test, !filesystems.is_empty(), "no images in RBTRFS_CORPUS") {
        return;
    }
    filesystems.extend(["degraded", "degraded-raid6", "seed-sprout"].into_iter().filter_map(kernel_image_or_skip));
    for images in filesystems {
        let (code, document) = check(&images);
        assert_eq!(code, Some(0), "{}: {:?}", images[0].display(), codes(&document));
    }
}

#[test]
fn damaged_images_of_others_exit_with_1() {
    let expected = [
        ("001-", "extent-item-missing"),
        ("004-", "name-index-missing"),
        ("014-", "extent-item-missing"),
        ("016-", "inode-nbytes"),
        ("018-", "extent-type"),
        ("028-", "super-total-bytes-short"),
        ("036-", "device-size-short"),
        ("040-", "csum-missing-compressed"),
        ("047-", "device-bytes-used"),
        ("050-", "block-group-used"),
        ("053-", "extent-item-level"),
        ("055-", "super-num-devices"),
        ("058-", "free-space-orphan"),
        ("061-", "inline-ref-order"),
        ("068-", "device-extent-orphan"),
        ("070-", "name-backref-missing"),
    ];
    let is_damaged = |name: &str| expected.iter().any(|(start, _)| name.starts_with(start));
    let images = corpus::unpacked(is_damaged);
    if !require("damaged_images_of_others_exit_with_1", !images.is_empty(), "no images in RBTRFS_CORPUS") {
        return;
    }
    for image in images {
        let name = image.file_name().unwrap().to_string_lossy().into_owned();
        let (code, document) = check(&[image]);
        assert_eq!(code, Some(1), "{name}");
        let (_, wanted) = expected.iter().find(|(start, _)| name.starts_with(start)).unwrap();
        assert!(codes(&document).contains(wanted), "{name}: {:?}", codes(&document));
    }
}

#[test]
fn a_filesystem_in_use_is_not_called_damaged() {
    let scratch = Scratch::new();
    let Some(images) = copy_of_kernel_image_or_skip("single", &scratch) else { return };
    let mount = scratch.path("mount");
    std::fs::create_dir(&mount).unwrap();
    let mounted = Command::new("mount").args(["-o", "loop"]).arg(&images[0]).arg(&mount).status().unwrap();
    if !require("a_filesystem_in_use_is_not_called_damaged", mounted.success(), "loop mounts do not work") {
        return;
    }
    let refused = rbtrfs("check", &[], &images);
    let forced = rbtrfs("check", &["--force"], &images);
    assert!(Command::new("umount").arg(&mount).status().unwrap().success());
    assert_eq!(refused.status.code(), Some(2));
    let message = String::from_utf8_lossy(&refused.stderr);
    assert!(message.contains("is mounted read-write") && message.lines().count() == 1, "{message}");
    assert!(refused.stdout.is_empty());
    assert!(String::from_utf8_lossy(&forced.stderr).contains("transient"));
    assert_eq!(rbtrfs("check", &[], &images).status.code(), Some(0));
}
