//! What comes out of filesystems of the kernel, beside their mounts.

use std::path::{Path, PathBuf};

use super::manifest::{Manifest, assert_same, manifest};
use super::support::contents::choices;
use super::support::mounted::Mounted;
use super::support::profiles::{PROFILES, Redundancy, without};
use super::support::*;
use super::{extract, run};

/// What a mount of copies shows, without the directories that stand for subvolumes in snapshots: their times are those of the
/// moment.
fn of_mount(name: &str, images: &[PathBuf], scratch: &Scratch) -> Option<Manifest> {
    let degraded = if name.starts_with("degraded") { ",degraded" } else { "" };
    let options = format!("ro,noatime,subvolid=5,rescue=nologreplay{degraded}");
    let mut devices = images.to_vec();
    // The first is mounted: a seed would be by itself.
    if name == "seed-sprout" {
        devices.reverse();
    }
    let mounted = or_skip(Mounted::new(&devices, &options, scratch))?;
    Some(manifest(mounted.path()))
}

/// Placeholders of subvolumes have no times of their own.
fn is_placeholder(path: &[u8]) -> bool {
    let path = String::from_utf8_lossy(path);
    path.starts_with("snapshot") && (path.ends_with("nested"))
}

fn without_placeholders(mut manifest: Manifest) -> Manifest {
    let fields = |facts: &mut super::manifest::Facts| (facts.mtime, facts.owner) = ((0, 0), (0, 0));
    manifest.iter_mut().filter(|(path, _)| is_placeholder(path)).for_each(|(_, facts)| fields(facts));
    manifest
}

fn unpack(program: &str, options: &[&str], archive: &Path, target: &Path) {
    std::fs::create_dir(target).unwrap();
    let words = options.iter().map(std::ffi::OsStr::new);
    tool(program, words.chain(["-C".as_ref(), target.as_os_str(), "-f".as_ref(), archive.as_os_str()])).unwrap();
}

/// What is in a directory, itself left out.
fn below(directory: &Path) -> Manifest {
    let mut all = manifest(directory);
    all.remove(&b""[..]);
    all
}

/// A stream has no sockets.
fn without_sockets(mut manifest: Manifest) -> Manifest {
    manifest.retain(|_, facts| facts.mode & 0o170_000 != 0o140_000);
    manifest
}

#[test]
fn what_comes_out_of_every_kernel_made_filesystem_is_what_its_mount_shows() {
    let test = "what_comes_out_of_every_kernel_made_filesystem_is_what_its_mount_shows";
    for name in kernel_image_names(test) {
        // That of 30,000 files in one directory has a test of its own.
        let scratch = Scratch::in_memory();
        let Some(images) = copy_of_kernel_image_or_skip(&name, &scratch) else { return };
        let Some(expected) = of_mount(&name, &images, &scratch) else { return };
        let expected = without_placeholders(expected);
        let target = scratch.path("target");
        let (run, problems) = extract(&images, &target, &["--snapshots"], &[]);
        assert_eq!((run.code, problems.len()), (0, 0), "{name}: {} {problems:?}", run.stderr);
        assert_same(&without_placeholders(manifest(&target)), &expected, &name);
    }
}

#[test]
fn a_tar_stream_is_read_by_gnu_tar_by_libarchive_and_by_python() {
    for name in ["single", "mixed-dup", "snapshots", "raid5"] {
        let scratch = Scratch::in_memory();
        let Some(images) = copy_of_kernel_image_or_skip(name, &scratch) else { return };
        let Some(expected) = of_mount(name, &images, &scratch) else { return };
        let expected = without_sockets(without_placeholders(expected));
        let archive = scratch.path("archive.tar");
        let options = ["extract", "--subvol", "5", "--snapshots", "--tar", archive.to_str().unwrap()];
        let made = run(&options, &images, &[]);
        assert_eq!(made.code, 0, "{name}: {}", made.stderr);
        // By way of standard output the bytes are the same.
        let mut piped = std::process::Command::new(PROGRAM);
        let piped = piped.args(&options[..options.len() - 1]).arg("-").args(&images).output().unwrap();
        assert!(piped.stdout == std::fs::read(&archive).unwrap(), "{name}");
        let target = scratch.path("gnu");
        let options = ["-x", "-p", "--numeric-owner", "--xattrs", "--xattrs-include=*", "--acls"];
        unpack("tar", &options, &archive, &target);
        assert_same(&without_placeholders(manifest(&target)), &expected, &format!("{name}, GNU tar"));
        let listed = tool("tar", ["-tf", archive.to_str().unwrap()]).unwrap();
        assert_eq!(listed.lines().count(), expected.len(), "{name}");
        let script = "import sys, tarfile, hashlib\n\
            with tarfile.open(sys.argv[1]) as archive:\n for member in archive:\n  \
            data = archive.extractfile(member).read() if member.isreg() else b''\n  \
            print(member.size if member.isreg() else 0, len(data))";
        let python = tool("python3", ["-c", script, archive.to_str().unwrap()]).unwrap();
        assert_eq!(python.lines().count(), expected.len(), "{name}");
        for line in python.lines() {
            let (size, length) = line.split_once(' ').unwrap();
            assert_eq!(size, length, "{name}");
        }
        if !require("bsdtar", std::process::Command::new("bsdtar").arg("--version").output().is_ok(), "no bsdtar") {
            continue;
        }
        let target = scratch.path("bsd");
        std::fs::create_dir(&target).unwrap();
        let options = ["-x", "-p", "--numeric-owner", "--xattrs", "--acls", "-C"];
        let mut bsdtar = std::process::Command::new("bsdtar");
        let output = bsdtar.args(options).arg(&target).arg("-f").arg(&archive).output().unwrap();
        // It says of properties of btrfs that no other filesystem has them.
        let is_known =
            |line: &&str| line.contains("Cannot restore extended attributes") || line.contains("Error exit delayed");
        let messages = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(messages.lines().find(|line| !is_known(line)), None, "{name}");
        let has_all = |manifest: &Manifest| {
            let mut manifest = manifest.clone();
            // libarchive 3.6 sets no time of the directory that it unpacks into, and reads the fraction of a time before 1970 as one that
            // is to be added.
            manifest.remove(&b""[..]);
            manifest.retain(|_, facts| facts.mtime.0 >= 0);
            // It leaves out attributes of the kernel and of links.
            manifest.values_mut().for_each(|facts| facts.xattrs.retain(|name, _| name.starts_with(b"user.")));
            manifest
        };
        assert_same(
            &has_all(&without_placeholders(manifest(&target))),
            &has_all(&expected),
            &format!("{name}, bsdtar"),
        );
    }
}

#[test]
fn lost_devices_cost_no_file_that_the_profile_tolerates() {
    for Redundancy { name, data, metadata } in PROFILES {
        let Some(images) = kernel_image_or_skip(name) else { return };
        let scratch = Scratch::in_memory();
        let sound = scratch.path("sound");
        let (run, _) = extract(&images, &sound, &[], &["files", "zstd", "volume"]);
        assert_eq!(run.code, 0, "{name}: {}", run.stderr);
        let sound = below(&sound);
        assert!(sound.len() > 15, "{name}");
        for (number, lost) in
            choices(&images, data.min(metadata)).into_iter().enumerate().filter(|(_, lost)| !lost.is_empty())
        {
            // The first choices and each third one after them.
            if number > 3 && number % 3 != 0 {
                continue;
            }
            let target = scratch.path(&format!("degraded-{number}"));
            let (run, problems) = extract(&without(&images, &lost), &target, &[], &["files", "zstd", "volume"]);
            assert_eq!((run.code, problems.len()), (0, 0), "{name} without {lost:?}: {}", run.stderr);
            assert_same(&below(&target), &sound, &format!("{name} without {lost:?}"));
            std::fs::remove_dir_all(&target).unwrap();
        }
    }
}
