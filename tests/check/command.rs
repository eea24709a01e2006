//! `rbtrfs check` as scripts call it.

use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::support::mounted::Mounted;
use crate::support::{Scratch, copy_of_kernel_image_or_skip, kernel_image_or_skip, or_skip, rbtrfs, require, tool};
use rbtrfs::Error;
use rbtrfs::check::Options;
use rbtrfs::progress::Progress;
use serde_json::Value;

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
    let sound = ["019-", "020-", "023-", "030-", "054-", "065-"];
    let mut filesystems: Vec<Vec<PathBuf>> =
        crate::support::corpus::unpacked(|name| sound.iter().any(|start| name.starts_with(start)))
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
        ("034-", "inode-flags-kind"),
        ("036-", "device-size-short"),
        ("040-", "csum-missing-compressed"),
        ("047-", "device-bytes-used"),
        ("050-", "block-group-used"),
        ("053-", "extent-item-level"),
        ("055-", "super-num-devices"),
        ("058-", "free-space-orphan"),
        ("061-", "inline-ref-order"),
        ("067-", "name-twice"),
        ("068-", "device-extent-orphan"),
        ("069-", "item-type-unknown"),
        ("070-", "name-backref-missing"),
    ];
    let is_damaged = |name: &str| expected.iter().any(|(start, _)| name.starts_with(start));
    let images = crate::support::corpus::unpacked(is_damaged);
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
    let scratch = Scratch::in_memory();
    let Some(images) = copy_of_kernel_image_or_skip("single", &scratch) else { return };
    let Some(mounted) = or_skip(Mounted::new(&images, "rw", &scratch)) else { return };
    let refused = rbtrfs("check", &[], &images);
    let forced = rbtrfs("check", &["--force"], &images);
    drop(mounted);
    assert_eq!(refused.status.code(), Some(2));
    let message = String::from_utf8_lossy(&refused.stderr);
    assert!(message.contains("is mounted read-write") && message.lines().count() == 1, "{message}");
    assert!(refused.stdout.is_empty());
    assert!(String::from_utf8_lossy(&forced.stderr).contains("transient"));
    assert_eq!(rbtrfs("check", &[], &images).status.code(), Some(0));
}

/// Copies of the kernel's `images` in which the first block of the chunk tree is damaged on its first mirror.
fn damaged_copy(name: &str, scratch: &Scratch) -> Option<Vec<PathBuf>> {
    let images = copy_of_kernel_image_or_skip(name, scratch)?;
    let volume = crate::support::open(&images);
    let (_, physical) = volume.place(volume.superblock().chunk_root(), 1).unwrap();
    crate::support::change(&images[0], physical.0 + 200, 1, |byte| byte[0] ^= 1);
    Some(images)
}

/// Runs a program by a link of this name.
fn run_as(name: &str, arguments: &[&str], images: &[PathBuf], scratch: &Scratch) -> Output {
    let link = scratch.path(name);
    if !link.exists() {
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_rbtrfs-fsck"), &link).unwrap();
    }
    Command::new(link).args(arguments).args(images).output().unwrap()
}

#[test]
fn fsck_tells_by_the_bits_that_fsck_knows() {
    let scratch = Scratch::in_memory();
    let Some(sound) = kernel_image_or_skip("single") else { return };
    let Some(damaged) = damaged_copy("dup", &scratch) else { return };
    let missing = vec![scratch.path("missing")];
    let fsck = |arguments: &[&str], images: &[PathBuf]| run_as("fsck.rbtrfs", arguments, images, &scratch);
    assert_eq!(fsck(&["-n"], &sound).status.code(), Some(0));
    assert_eq!(fsck(&["-n"], &damaged).status.code(), Some(4));
    assert_eq!(fsck(&["-n"], &missing).status.code(), Some(8));
    assert_eq!(fsck(&["-n", "--no-such"], &sound).status.code(), Some(16));
    // Without an option it verifies. What can be mended without giving anything up is mended by the first that may.
    let all: [(&[&str], i32); 4] = [(&[], 4), (&["-a"], 1), (&["-p"], 0), (&["-y"], 0)];
    for (arguments, code) in all {
        assert_eq!(fsck(arguments, &damaged).status.code(), Some(code), "{arguments:?}");
    }
}

#[test]
fn the_fsck_that_boots_call_never_stops_a_boot() {
    let scratch = Scratch::in_memory();
    let Some(damaged) = damaged_copy("dup", &scratch) else { return };
    for arguments in [&["-a"][..], &["-p"], &["-A"], &["-y"]] {
        let output = run_as("fsck.btrfs", arguments, &damaged, &scratch);
        assert_eq!((output.status.code(), output.stdout.len()), (Some(0), 0), "{arguments:?}");
    }
    assert_eq!(run_as("fsck.btrfs", &[], &damaged, &scratch).status.code(), Some(0));
    assert_eq!(run_as("fsck.btrfs", &["-a"], &[scratch.path("missing")], &scratch).status.code(), Some(8));
}

#[test]
fn what_has_no_room_in_memory_gives_the_same_answer() {
    let scratch = Scratch::in_memory();
    let Some(damaged) = damaged_copy("dup", &scratch) else { return };
    let mut filesystems = vec![damaged];
    filesystems.extend(["single", "raid1", "half-dropped"].into_iter().filter_map(kernel_image_or_skip));
    for images in filesystems {
        let document = |arguments: &[&str]| rbtrfs("check", arguments, &images).stdout;
        let expected = document(&["--json"]);
        assert_eq!(document(&["--json", "--memory", "0"]), expected, "{images:?}");
        assert_eq!(document(&["--json", "--memory", "64k", "--threads", "7"]), expected, "{images:?}");
    }
}

#[test]
fn a_full_temporary_directory_is_an_error_and_no_verdict() {
    let Some(images) = kernel_image_or_skip("load") else { return };
    let output = Command::new(crate::support::PROGRAM)
        .args(["check", "--memory", "0", "--threads", "1"])
        .args(&images)
        .env("TMPDIR", "/proc/self")
        .output()
        .unwrap();
    assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0));
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(message.contains("temporary file") && message.lines().count() == 1, "{message}");
}

#[test]
fn older_roots_can_be_checked_and_damaged_ones_passed_by() {
    let scratch = Scratch::in_memory();
    let Some(images) = copy_of_kernel_image_or_skip("single", &scratch) else { return };
    let superblock = *crate::support::open(&images).superblock();
    let root = superblock.root().0.to_string();
    let chunk_root = superblock.chunk_root().0.to_string();
    for arguments in [&["-s", "0"][..], &["-s", "1"], &["--tree-root", &root], &["--chunk-root", &chunk_root]] {
        let arguments = [&["--json"], arguments].concat();
        let output = rbtrfs("check", &arguments, &images);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    assert_eq!(rbtrfs("check", &["-s", "2"], &images).status.code(), Some(2));
    assert_eq!(rbtrfs("check", &["--tree-root", "12345"], &images).status.code(), Some(2));
    // With its newest root lost, an older one still tells what the filesystem was.
    let volume = crate::support::open(&images);
    for mirror in 1..=volume.mirrors(superblock.root()) {
        let (_, physical) = volume.place(superblock.root(), mirror).unwrap();
        crate::support::change(&images[0], physical.0 + 200, 1, |byte| byte[0] ^= 1);
    }
    let (code, document) = check(&images);
    assert_eq!(code, Some(1));
    assert!(codes(&document).contains(&"block-unreadable"), "{:?}", codes(&document));
    let output = rbtrfs("check", &["--json", "-b"], &images);
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(document["totals"]["blocks"].as_u64().unwrap() > 5, "{document}");
}

#[test]
fn a_lost_chunk_root_is_a_problem_with_what_the_superblock_tells() {
    let scratch = Scratch::in_memory();
    let Some(images) = copy_of_kernel_image_or_skip("single", &scratch) else { return };
    let volume = crate::support::open(&images);
    let superblock = *volume.superblock();
    for mirror in 1..=volume.mirrors(superblock.chunk_root()) {
        let (_, physical) = volume.place(superblock.chunk_root(), mirror).unwrap();
        crate::support::change(&images[0], physical.0 + 200, 1, |byte| byte[0] ^= 1);
    }
    drop(volume);
    let (code, document) = check(&images);
    let problems = document["problems"].as_array().unwrap();
    let lost = problems.iter().find(|problem| problem["code"] == "block-unreadable").unwrap();
    assert_eq!((code, &lost["severity"], &lost["values"]["tree"]), (Some(1), &"fatal".into(), &3.into()));
    assert_eq!(lost["values"]["block"], superblock.chunk_root().0);
    let hint = problems.iter().find(|problem| problem["code"] == "other-roots").unwrap();
    assert!(["-b", "-s 1", "--tree-root"].iter().all(|word| hint["message"].as_str().unwrap().contains(word)));
    let text = rbtrfs("check", &[], &images);
    assert_eq!((text.status.code(), text.stderr.len()), (Some(1), 0));
}

#[test]
fn a_check_that_is_stopped_gives_no_verdict() {
    let Some(images) = kernel_image_or_skip("single") else { return };
    let stop = Arc::new(AtomicBool::new(true));
    let options = Options {
        threads: 3,
        memory: 1 << 20,
        progress: &Progress::new(stop),
        count_qgroups: false,
        check_data_csum: false,
    };
    assert!(matches!(rbtrfs::check::check(&crate::support::open(&images), &options), Err(Error::Interrupted)));
}
