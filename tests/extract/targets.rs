//! Directories and streams that files are brought to.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use rbtrfs::Error;
use rbtrfs::extract::{Options, Target, extract as extract_files};
use rbtrfs::files::{ExtentKind, Files, Start};
use rbtrfs::progress::Progress;
use serde_json::Value;

use super::manifest::{assert_same, manifest};
use super::support::change::make_filesystem;
use super::support::mounted::Mounted;
use super::support::*;
use super::{extract, paths_of, run};

#[test]
fn a_run_that_was_stopped_goes_on_where_it_ended() {
    let scratch = Scratch::in_memory();
    let Some(images) = kernel_image_or_skip("single") else { return };
    let sound = scratch.path("sound");
    assert_eq!(extract(&images, &sound, &["--snapshots"], &[]).0.code, 0);
    let sound = manifest(&sound);
    let volume = open(&images);
    let files = Files::open(&volume, Start::TopLevel).unwrap();
    for stop_at in [1, 20, 60] {
        let target = scratch.path(&format!("target-{stop_at}"));
        let (stop, count) = (Arc::new(AtomicBool::new(false)), AtomicU32::new(0));
        let flag = Arc::clone(&stop);
        let progress = Progress::new(stop).observed(move |_| {
            if count.fetch_add(1, Ordering::Relaxed) + 1 == stop_at {
                flag.store(true, Ordering::Relaxed);
            }
        });
        let mut options = Options::new(&progress);
        options.snapshots = true;
        let stopped = extract_files(&files, Target::Directory(&target), &options);
        assert!(matches!(stopped, Err(Error::Interrupted)), "{stop_at}: {stopped:?}");
        let progress = Progress::default();
        let mut options = Options::new(&progress);
        (options.snapshots, options.resume) = (true, true);
        let summary = extract_files(&files, Target::Directory(&target), &options).unwrap();
        assert_eq!((summary.problems, summary.passed_over > 0), (0, true), "{stop_at}");
        assert_same(&manifest(&target), &sound, &format!("stopped at {stop_at}"));
    }
    // Files that were cut, changed or removed are written again, others are not.
    let target = scratch.path("target-60");
    fs::write(target.join("files/random"), "changed").unwrap();
    fs::remove_file(target.join("files/holes")).unwrap();
    fs::remove_file(target.join("inodes/fifo")).unwrap();
    let progress = Progress::default();
    let mut options = Options::new(&progress);
    (options.snapshots, options.resume) = (true, true);
    let summary = extract_files(&files, Target::Directory(&target), &options).unwrap();
    let regular = sound.values().filter(|facts| facts.mode & 0o170_000 == 0o100_000);
    let first_names = sound.iter().filter(|(path, facts)| **path == facts.first_name).count();
    assert!(first_names > 100 && summary.passed_over as usize <= regular.count() - 2);
    assert_same(&manifest(&target), &sound, "changed");
}

#[test]
fn ranges_that_files_share_are_shared_again() {
    let Some(images) = kernel_image_or_skip("single") else { return };
    let scratch = Scratch::in_memory();
    let Some(target_images) = make_filesystem(&[], 1, 512 << 20, &scratch) else { return };
    for (reflink, is_shared) in [("auto", true), ("never", false)] {
        let Some(mounted) = or_skip(Mounted::new(&target_images, "noatime", &scratch)) else { return };
        let target = mounted.path().join(reflink);
        let (run, problems) = extract(&images, &target, &["--snapshots", "--reflink", reflink], &[]);
        assert_eq!((run.code, problems.len()), (0, 0), "{}", run.stderr);
        let other = scratch.path(reflink);
        assert_eq!(extract(&images, &other, &["--snapshots"], &[]).0.code, 0);
        // Where data ends and holes begin is another matter where blocks are shared.
        let without_data = |path: &std::path::Path| {
            let mut all = manifest(path);
            all.values_mut().for_each(|facts| facts.data.clear());
            all
        };
        assert_same(&without_data(&target), &without_data(&other), reflink);
        tool("sync", ["-f", mounted.path().to_str().unwrap()]).unwrap();
        drop(mounted);
        let volume = open(&target_images);
        let files = Files::open(&volume, Start::TopLevel).unwrap();
        let logical = |path: &str| {
            let id = files.lookup(format!("{reflink}/{path}")).unwrap();
            match files.file(id).unwrap().extent_at(0).unwrap().kind {
                ExtentKind::Disk(disk) => disk.logical,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(logical("files/random") == logical("volume/reflink"), is_shared, "{reflink}");
        assert_ne!(logical("volume/changed"), logical("snapshot-ro/changed"), "{reflink}");
        assert_eq!(logical("snapshot-ro/reflink") == logical("volume/reflink"), is_shared, "{reflink}");
    }
}

#[test]
fn paths_and_patterns_choose_what_comes_out() {
    let Some(images) = kernel_image_or_skip("single") else { return };
    let scratch = Scratch::in_memory();
    let names = |options: &[&str], paths: &[&str]| {
        let target = scratch.new_directory();
        let (run, problems) = extract(&images, &target, options, paths);
        let paths = manifest(&target).into_keys().map(|path| String::from_utf8_lossy(&path).into_owned());
        (run, problems, paths.filter(|path| !path.is_empty()).collect::<Vec<_>>())
    };
    let (run, _, have) = names(&[], &["volume/nested/file", "/zstd/", "volume/./directory"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    let zstd = ["zstd", "zstd/random", "zstd/reflink", "zstd/text-2000", "zstd/text-400000", "zstd/text-6000"];
    let volume = [
        "volume",
        "volume/directory",
        "volume/directory/deeper",
        "volume/directory/deeper/nested",
        "volume/nested",
        "volume/nested/file",
    ];
    assert_eq!(have, volume.into_iter().chain(zstd).collect::<Vec<_>>());
    let (run, problems, have) =
        names(&["--exclude", "text-*", "--exclude", "/volume/nested"], &["zstd", "volume", "nowhere"]);
    assert_eq!((run.code, paths_of(&problems, "missing")), (1, vec!["nowhere".to_owned()]), "{}", run.stderr);
    assert!(have.iter().all(|path| !path.contains("text-") && !path.contains("volume/nested")), "{have:?}");
    assert!(have.contains(&"volume/changed".to_owned()), "{have:?}");
    // What is left out is not taken for lost.
    let (run, problems, have) = names(&["--exclude", "zstd", "--exclude", "volume"], &[]);
    assert_eq!((run.code, problems.len()), (0, 0), "{} {problems:?}", run.stderr);
    assert!(have.contains(&"snapshot-ro".to_owned()) && !have.contains(&"snapshot-ro/changed".to_owned()), "{have:?}");
    assert!(run.says(&["snapshot-ro", "--snapshots"]), "{}", run.stderr);
    let (run, _, have) = names(&[], &["snapshot-ro/changed"]);
    assert_eq!((run.code, have), (0, vec!["snapshot-ro".to_owned(), "snapshot-ro/changed".to_owned()]));
}

#[test]
fn neither_an_image_nor_what_is_in_a_directory_is_overwritten() {
    let scratch = Scratch::in_memory();
    let image = scratch.path("image");
    let images = std::slice::from_ref(&image);
    assert_eq!(run_rbtrfs("mkfs --quiet --byte-count 64M", images).code, 0);
    let before = fs::read(&image).unwrap();
    for option in ["--tar", "--report"] {
        let target = scratch.new_directory();
        let (path, target) = (image.to_str().unwrap(), target.to_str().unwrap());
        let mut options = vec!["extract", option, path];
        if option == "--report" {
            options.extend(["-C", target]);
        }
        let refused = run(&options, images, &[]);
        assert!(refused.code == 2 && refused.says(&["is one of the images"]), "{}", refused.stderr);
        assert!(fs::read(&image).unwrap() == before, "{option}");
    }
    let target = scratch.new_directory();
    fs::write(target.join("file"), "mine").unwrap();
    let refused = run(&["extract", "-C", target.to_str().unwrap()], images, &[]);
    assert!(refused.code == 2 && refused.says(&["is not empty"]), "{}", refused.stderr);
    assert_eq!(fs::read(target.join("file")).unwrap(), b"mine");
    let full = run(&["extract", "--tar", "/dev/full"], images, &[]);
    assert!(full.code == 2 && full.says(&["No space left"]), "{}", full.stderr);
}

#[test]
fn without_rights_owners_are_left_out_and_that_is_told_once() {
    let Some(images) = kernel_image_or_skip("single") else { return };
    if !require("without_rights_owners_are_left_out", rustix::process::geteuid().is_root(), "not root") {
        return;
    }
    let scratch = Scratch::in_memory();
    let target = scratch.new_directory();
    std::os::unix::fs::chown(&target, Some(1234), Some(1234)).unwrap();
    let program = scratch.path("rbtrfs");
    fs::copy(PROGRAM, &program).unwrap();
    let image = scratch.copy(&images[0]);
    std::os::unix::fs::chown(&image, Some(1234), Some(1234)).unwrap();
    let report = target.join("report");
    let out = target.join("out");
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid", "1234", "--regid", "1234", "--clear-groups"])
        .arg(&program)
        .args(["extract", "--subvol", "5", "-C"]);
    let output = command.arg(&out).arg("--report").arg(&report).arg(&image).output();
    let Some(output) = or_skip(output.map_err(|error| error.to_string())) else { return };
    let run = Run::of(output);
    let document: Value = serde_json::from_slice(&fs::read(&report).unwrap()).unwrap();
    let problems = document["problems"].as_array().unwrap();
    // Devices cannot be made, all else can.
    let missing = paths_of(problems, "missing");
    assert_eq!((run.code, missing.len(), problems.len()), (1, 2, 2), "{}", run.stderr);
    assert_eq!(run.stderr.matches("are not kept").count(), 1, "{}", run.stderr);
    let metadata = out.join("inodes/mode-7777").metadata().unwrap();
    assert_eq!((metadata.uid(), metadata.mode() & 0o7777), (1234, 0o1777));
}
