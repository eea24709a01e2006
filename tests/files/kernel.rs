//! The filesystems that the kernel makes, file by file against the mount.

use std::path::PathBuf;

use rbtrfs::files::{Files, Start};

use super::Told;
use super::like_mount::assert_like_mount;
use super::support::mounted::Mounted;
use super::support::*;

/// Mounts copies without changing them.
fn mount_copy(name: &str, scratch: &Scratch) -> Option<(Vec<PathBuf>, Mounted)> {
    let images = copy_of_kernel_image_or_skip(name, scratch)?;
    let degraded = if name.starts_with("degraded") { ",degraded" } else { "" };
    let options = format!("ro,noatime,subvolid=5,rescue=nologreplay{degraded}");
    let mut devices = images.clone();
    // The first is mounted: a seed would be by itself.
    if name == "seed-sprout" {
        devices.reverse();
    }
    let mounted = or_skip(Mounted::new(&devices, &options, scratch))?;
    Some((images, mounted))
}

#[test]
fn every_file_of_every_kernel_made_filesystem_is_what_the_mount_says() {
    let (mut files_read, mut bytes, mut xattrs, mut placeholders) = (0, 0, 0, 0);
    for name in kernel_image_names("every_file_of_every_kernel_made_filesystem_is_what_the_mount_says") {
        let scratch = Scratch::new();
        let Some((images, mounted)) = mount_copy(&name, &scratch) else { return };
        let volume = open(&images);
        let told = Told::default();
        let files = told.open(&volume, Start::TopLevel);
        eprintln!("{name}");
        let compared = assert_like_mount(&files, files.root(), mounted.path());
        drop(files);
        assert_eq!(told.take(), [], "{name}");
        (files_read, bytes) = (files_read + compared.files, bytes + compared.bytes);
        placeholders += compared.placeholders;
        assert!(compared.files > 100 || name == "empty", "{name}: {compared:?}");
        xattrs += compared.xattrs;
    }
    let compared = format!("{files_read} files, {bytes} bytes, {xattrs} xattrs, {placeholders} placeholders");
    assert!(files_read > 20_000 && bytes > 100 << 20 && xattrs > 500 && placeholders > 10, "{compared}");
}

/// A field of a line of `btrfs subvolume list`, which stands behind its name.
fn field(line: &str, name: &str) -> String {
    let words: Vec<&str> = line.split_whitespace().collect();
    let name: Vec<&str> = name.split(' ').collect();
    let at = words.windows(name.len()).position(|window| window == name).unwrap();
    words[at + name.len()].to_owned()
}

#[test]
fn subvolumes_are_those_that_btrfs_progs_lists() {
    for name in ["single", "snapshots", "quota-sharing", "half-dropped"] {
        let scratch = Scratch::new();
        let Some((images, mounted)) = mount_copy(name, &scratch) else { return };
        let list = |more: &str| {
            let mount = mounted.path().to_str().unwrap();
            tool("btrfs", ["subvolume", "list", more, mount]).unwrap().lines().map(str::to_owned).collect::<Vec<_>>()
        };
        let readonly: Vec<String> = list("-r").iter().map(|line| field(line, "ID")).collect();
        let (expected, deleted) = (list("-cpuqR"), list("-d"));
        let volume = open(&images);
        let files = Files::open(&volume, Start::TopLevel).unwrap();
        let own = files.subvolumes();
        assert_eq!(own[0].id.0, 5);
        assert_eq!(own[0].path.as_deref(), Some(&b""[..]));
        let living: Vec<_> = own[1..].iter().filter(|subvolume| !subvolume.is_deleted).collect();
        assert_eq!(living.len(), expected.len(), "{name}: {own:#?} {expected:#?}");
        assert_eq!(own.len() - 1 - living.len(), deleted.len(), "{name}: {deleted:?}");
        for subvolume in living {
            let id = subvolume.id.to_string();
            let line = expected.iter().find(|line| field(line, "ID") == id).unwrap();
            let uuid =
                |uuid: Option<_>| uuid.map_or("-".to_owned(), |uuid: rbtrfs::disk::fields::Uuid| uuid.to_string());
            assert_eq!(field(line, "gen"), subvolume.generation.to_string(), "{line}");
            assert_eq!(field(line, "cgen"), subvolume.otransid.to_string(), "{line}");
            assert_eq!(field(line, "parent"), subvolume.place.as_ref().unwrap().0.tree.to_string(), "{line}");
            assert_eq!(field(line, "uuid"), uuid(subvolume.uuid), "{line}");
            assert_eq!(field(line, "parent_uuid"), uuid(subvolume.parent_uuid), "{line}");
            assert_eq!(field(line, "received_uuid"), uuid(subvolume.received_uuid), "{line}");
            let path = subvolume.path.clone().unwrap();
            assert_eq!(field(line, "path").as_bytes(), path, "{line}");
            assert_eq!(readonly.contains(&id), subvolume.is_readonly, "{line}");
            let root = files.subvolume_root(subvolume.id).unwrap();
            assert_eq!(files.lookup(&path).unwrap(), root);
            assert_eq!(Files::open(&volume, Start::Path(&path)).unwrap().root(), root);
            assert_eq!(Files::open(&volume, Start::Subvolume(subvolume.id)).unwrap().root(), root);
        }
    }
}

#[test]
fn several_threads_read_one_volume() {
    let Some(images) = kernel_image_or_skip("raid1") else { return };
    let volume = open(&images);
    let files = Files::open(&volume, Start::TopLevel).unwrap();
    let paths = ["files/random", "zstd/text-400000", "volume/reflink", "files/bookend"];
    let expected: Vec<_> = paths.iter().map(|path| super::read(&files, path)).collect();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for (path, expected) in paths.iter().zip(&expected) {
                    assert!(super::read(&files, path) == *expected, "{path}");
                }
            });
        }
    });
}

#[test]
fn the_default_subvolume_is_where_paths_begin() {
    let scratch = Scratch::new();
    let Some(images) = copy_of_kernel_image_or_skip("single", &scratch) else { return };
    let volume = open(&images);
    assert_eq!(Files::open(&volume, Start::Default).unwrap().root().tree.0, 5);
    drop(volume);
    let Some(mounted) = or_skip(Mounted::new(&images, "rw", &scratch)) else { return };
    let nested = mounted.path().join("volume/nested");
    tool("btrfs", ["subvolume", "set-default", nested.to_str().unwrap()]).unwrap();
    drop(mounted);
    let volume = open(&images);
    let files = Files::open(&volume, Start::Default).unwrap();
    let top = Files::open(&volume, Start::TopLevel).unwrap();
    assert_eq!(files.root(), top.lookup("volume/nested").unwrap());
    assert!(files.lookup("file").is_ok());
}
