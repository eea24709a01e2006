//! What cannot be made into a filesystem is named, and nothing is left behind.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use rbtrfs::Error;
use rbtrfs::internals::Link;

use super::{inventory, is_root, mkfs, tree};
use crate::support::failing_disk::FailingDisk;
use crate::support::small_disk::SmallDisk;
use crate::support::{PROGRAM, Run, Scratch, assert_identical, or_skip, tool};

fn refused(root: &Path, image: &Path, options: &[&str]) -> Run {
    let mut words = options.to_vec();
    words.extend(["-r", root.to_str().unwrap(), image.to_str().unwrap()]);
    let run = mkfs(&words, &[]);
    assert_eq!(run.code, 2, "{run:?}");
    assert!(!image.exists(), "a file was left behind");
    run
}

#[test]
fn what_asks_for_the_impossible_is_refused() {
    let scratch = Scratch::new();
    let root = scratch.new_directory();
    fs::create_dir(root.join("a")).unwrap();
    fs::write(root.join("file"), "x").unwrap();
    let image = scratch.path("image");
    assert!(refused(&root.join("nothing"), &image, &[]).says(&["nothing", "No such file"]));
    assert!(refused(&root.join("file"), &image, &[]).says(&["file", "ot a directory"]));
    assert!(refused(&root, &image, &["--subvol", "nothing"]).says(&["nothing", "No such file"]));
    assert!(refused(&root, &image, &["--subvol", "file"]).says(&["file", "not a directory"]));
    assert!(refused(&root, &image, &["--subvol", "a", "--subvol", "ro:/a"]).says(&["a:", "more than once"]));
    assert!(refused(&root, &image, &["--subvol", ".."]).says(&["is not in"]));
    assert!(refused(&root, &image, &["--subvol", ".", "--subvol", "ro:/"]).says(&["/:", "more than once"]));
    assert!(refused(&root, &image, &["--subvol", "a/.."]).says(&["a/.."]));
    assert!(refused(&root, &image, &["--subvol", "rw:"]).says(&["top-level"]));
    assert!(refused(&root, &image, &["--inode-flags", "nodatacow:nothing"]).says(&["nothing", "No such file"]));
    fs::write(root.join("large"), tree::noise(60 << 20, 4)).unwrap();
    assert!(refused(&root, &image, &["-b", "40m", "-m", "single"]).says(&["space"]));
}

#[test]
fn an_image_is_not_put_into_itself() {
    let scratch = Scratch::new();
    let root = scratch.new_directory();
    let image = root.join("image");
    fs::File::create(&image).unwrap().set_len(200 << 20).unwrap();
    let run = mkfs(&["-r".as_ref(), root.as_os_str(), image.as_os_str()], &[]);
    assert!(run.code == 2 && run.says(&["image", "cannot hold itself"]), "{run:?}");
}

#[test]
fn a_symlink_that_no_leaf_holds_is_named() {
    let scratch = Scratch::new();
    let root = scratch.new_directory();
    std::os::unix::fs::symlink("x".repeat(4000), root.join("long one")).unwrap();
    assert!(refused(&root, &scratch.path("image"), &["-n", "4096"]).says(&["long one", "symlink"]));
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let scratch = Scratch::new();
    let zeros = scratch.zeros("zeros", 100_000);
    let Some(disk) = or_skip(FailingDisk::new(&zeros, vec![50_000..60_000, 90_000..99_999], &scratch)) else { return };
    let root = scratch.new_directory();
    fs::write(root.join("bad file"), "").unwrap();
    let Some(_) =
        or_skip(tool("mount", ["--bind".as_ref(), disk.image().as_os_str(), root.join("bad file").as_os_str()]))
    else {
        return;
    };
    let image = scratch.path("image");
    let run = mkfs(&["-r".as_ref(), root.as_os_str(), image.as_os_str()], &[]);
    // Before anything can fail that would leave it mounted.
    tool("umount", [root.join("bad file")]).unwrap();
    assert!(run.code == 2 && run.says(&["bad file", "Input/output error"]), "{run:?}");
    assert!(!image.exists(), "a file was left behind");
}

#[test]
fn a_file_that_changes_or_vanishes_is_named() {
    let scratch = Scratch::new();
    let root = scratch.new_directory();
    let path = root.join("restless");
    let remove = || fs::remove_file(&path).unwrap();
    let [shorten, lengthen] = [10, 5_000_000].map(|size| {
        let path = path.clone();
        move || fs::write(&path, tree::noise(size, 1)).unwrap()
    });
    let changes: [(&str, &dyn Fn()); 3] = [("cannot be read", &remove), ("changed", &shorten), ("changed", &lengthen)];
    for size in [3000, 3_000_000] {
        for (says, change) in changes {
            fs::write(&path, tree::noise(size, 8)).unwrap();
            let (source, inventory) = inventory(&root, 1 << 20);
            change();
            let error = super::fill(&scratch, &source, &inventory).unwrap_err();
            assert!(
                matches!(&error, Error::Source { path: named, .. } | Error::Changed { path: named } if *named == path),
                "{error}"
            );
            assert!(error.to_string().contains(says), "{error}");
        }
    }
}

#[test]
fn what_is_hung_up_on_cleans_up_unless_it_is_to_go_on() {
    let scratch = Scratch::new();
    let root = scratch.new_directory();
    // So slow to compress that the signal comes before the end.
    fs::write(root.join("large"), tree::text(100 << 20)).unwrap();
    let script = |before: &str| {
        format!("{before} exec \"$0\" mkfs --quiet --threads 1 --compress zstd:15 --rootdir \"$1\" \"$2\"")
    };
    for (before, signal, ends) in [("", "HUP", true), ("", "TERM", true), ("trap '' HUP;", "HUP", false)] {
        let image = scratch.path("image");
        let mut shell = Command::new("sh");
        shell.args(["-c", &script(before), PROGRAM]).arg(&root).arg(&image).stderr(std::process::Stdio::piped());
        let child = shell.spawn().unwrap();
        while !image.exists() {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        tool("kill", [&format!("-{signal}"), &child.id().to_string()]).unwrap();
        let run = Run::of(child.wait_with_output().unwrap());
        let expected = if ends { (2, false) } else { (0, true) };
        assert_eq!((run.code, image.exists()), expected, "{before} {signal}: {}", run.stderr);
        assert_eq!(run.says(&["interrupted"]), ends, "{}", run.stderr);
    }
}

#[test]
fn no_room_for_temporary_files_is_said_and_leaves_nothing() {
    if !is_root() {
        return;
    }
    let scratch = Scratch::new();
    let root = scratch.new_directory();
    fs::write(root.join("file of many names"), "x").unwrap();
    for link in 0..5000 {
        fs::hard_link(root.join("file of many names"), root.join(format!("{link}"))).unwrap();
    }
    let Some(small) = or_skip(SmallDisk::new("64k", &scratch)) else { return };
    let (new, old) = (scratch.path("new"), scratch.zeros("old", 300 << 20));
    assert_eq!(mkfs(&[&old], &[]).code, 0);
    let both = [old.clone(), scratch.path("before")];
    fs::copy(&old, &both[1]).unwrap();
    for (directory, telling) in [(&small.0, "No space left"), (&scratch.path("missing"), "No such file")] {
        for image in [&new, &old] {
            let words = ["-q".as_ref(), "-f".as_ref(), "-r".as_ref(), root.as_os_str(), image.as_os_str()];
            let run = mkfs(&words, &[("TMPDIR", directory.to_str().unwrap())]);
            assert!(run.code == 2 && run.says(&["temporary file", telling]), "{run:?}");
            assert_eq!(run.stderr.lines().count(), 1, "{run:?}");
        }
        assert!(!new.exists(), "a file was left behind");
        assert_identical(&both[..1], &both[1..], "nothing was begun");
    }
}

/// The temporary file of this process that has so many bytes.
fn temporary_file(length: u64) -> PathBuf {
    let files = fs::read_dir("/proc/self/fd").unwrap().map(|entry| entry.unwrap().path());
    let is_it = |path: &PathBuf| {
        let is_gone = fs::read_link(path).is_ok_and(|target| target.to_string_lossy().ends_with(" (deleted)"));
        is_gone && fs::metadata(path).is_ok_and(|metadata| metadata.len() == length)
    };
    let found: Vec<PathBuf> = files.filter(is_it).collect();
    assert_eq!(found.len(), 1, "{found:?}");
    found[0].clone()
}

/// Names that cannot be read look as if there were none.
#[test]
fn links_that_cannot_be_read_again_are_an_error() {
    const LINKS: usize = 3001;
    let scratch = Scratch::new();
    let root = scratch.new_directory();
    fs::write(root.join("a file"), "x").unwrap();
    for link in 0..LINKS {
        fs::hard_link(root.join("a file"), root.join(format!("{link}"))).unwrap();
    }
    for left in [0, LINKS / 2, LINKS - 1] {
        let (source, inventory) = inventory(&root, 0);
        assert_eq!(inventory.trees[0].links.count(), LINKS as u64);
        let file = temporary_file((LINKS * size_of::<Link>()) as u64);
        let file = fs::File::options().write(true).open(file).unwrap();
        file.set_len((left * size_of::<Link>()) as u64).unwrap();
        let error = super::fill(&scratch, &source, &inventory).unwrap_err();
        assert!(matches!(error, Error::Temporary(_)), "{left} are left: {error}");
    }
}
