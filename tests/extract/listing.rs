//! `ls` and `cat` beside the mount.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::process::Command;

use serde_json::Value;

use super::run;
use super::support::mounted::Mounted;
use super::support::*;

#[test]
fn a_long_listing_is_that_of_ls() {
    let scratch = Scratch::in_memory();
    let Some(images) = copy_of_kernel_image_or_skip("single", &scratch) else { return };
    let Some(mounted) = or_skip(Mounted::new(&images, "ro,noatime,subvolid=5", &scratch)) else { return };
    let squeeze = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    for directory in [".", "files", "names", "inodes", "volume", "links", "inodes/acl"] {
        let own = run(&["ls", "-lai", "--subvol", "5"], &images, &[directory]);
        assert_eq!((own.code, own.stderr.as_str()), (0, ""), "{directory}");
        let arguments = ["-lain", "--time-style=+%Y-%m-%d %H:%M:%S", directory];
        let ls = Command::new("ls").args(arguments).current_dir(mounted.path()).env("LC_ALL", "C").output().unwrap();
        let (own, ls) = (own.stdout, String::from_utf8_lossy(&ls.stdout).into_owned());
        let without_subvolume = |line: &str| match line.split_once(" [subvolume ") {
            Some((line, _)) => squeeze(line),
            None => squeeze(line),
        };
        let own: Vec<String> = own.lines().map(without_subvolume).collect();
        let ls: Vec<String> = ls.lines().filter(|line| !line.starts_with("total ")).map(squeeze).collect();
        // The kernel gives the root of the mount to its parent; time and owner of the directory above are not of this filesystem.
        let is_above = |line: &&String| line.ends_with(" ..");
        let (own, ls) = (own.iter().filter(|line| !is_above(line)), ls.iter().filter(|line| !is_above(line)));
        assert_eq!(own.collect::<Vec<_>>(), ls.collect::<Vec<_>>(), "{directory}");
    }
    let short = run(&["ls", "--subvol", "5"], &images, &["names"]);
    let ls = Command::new("ls").arg("names").current_dir(mounted.path()).env("LC_ALL", "C").output().unwrap();
    assert_eq!(short.stdout, String::from_utf8_lossy(&ls.stdout));
}

#[test]
fn objects_have_what_the_mount_says_of_each_inode() {
    let scratch = Scratch::in_memory();
    let Some(images) = copy_of_kernel_image_or_skip("single", &scratch) else { return };
    let own = run(&["ls", "-aR", "--json-lines", "--subvol", "5"], &images, &[]);
    assert_eq!((own.code, own.stderr.as_str()), (0, ""));
    let Some(mounted) = or_skip(Mounted::new(&images, "ro,noatime,subvolid=5", &scratch)) else { return };
    let (mut compared, mut extents) = (0, 0);
    for line in own.stdout.lines() {
        let object: Value = serde_json::from_str(line).unwrap();
        let path = object["path"].as_str().unwrap();
        if object["path_bytes"].is_string() || path.ends_with("/..") || object["inode"] == 2 {
            continue;
        }
        let metadata = mounted.path().join(path).symlink_metadata().unwrap();
        let have = ["inode", "mode", "nlink", "uid", "gid", "size"].map(|name| object[name].as_u64().unwrap());
        let [mode, nlink, uid, gid] =
            [metadata.mode(), metadata.nlink() as u32, metadata.uid(), metadata.gid()].map(u64::from);
        let size = if metadata.is_dir() { have[5] } else { metadata.size() };
        assert_eq!(have, [metadata.ino(), mode, nlink, uid, gid, size], "{path}");
        let time = |name: &str| (object[name]["sec"].as_i64().unwrap(), object[name]["nsec"].as_i64().unwrap());
        assert_eq!(time("mtime"), (metadata.mtime(), metadata.mtime_nsec()), "{path}");
        assert_eq!(time("ctime"), (metadata.ctime(), metadata.ctime_nsec()), "{path}");
        if let Some(list) = object["extents"].as_array() {
            let mut end = 0;
            for extent in list {
                assert_eq!(extent["offset"], end, "{path}");
                end += extent["length"].as_u64().unwrap();
            }
            assert_eq!(end, metadata.size(), "{path}");
            extents += list.len();
        }
        compared += 1;
    }
    assert!(compared > 200 && extents > 100, "{compared} {extents}");
    let document =
        run(&["ls", "-d", "--json", "--subvol", "5"], &images, &["files/prealloc", "zstd/text-400000", "inodes/block"]);
    let document: Value = serde_json::from_str(&document.stdout).unwrap();
    let kinds = |entry: &Value| {
        let kinds =
            entry["extents"].as_array().unwrap().iter().map(|extent| extent["kind"].as_str().unwrap().to_owned());
        kinds.collect::<Vec<_>>()
    };
    assert_eq!(kinds(&document["entries"][0]), ["prealloc"]);
    assert_eq!(document["entries"][1]["extents"][0]["compression"], "zstd");
    assert_eq!(document["entries"][2]["device"], serde_json::json!([4095, 1_048_575]));
}

#[test]
fn subvolumes_are_listed_as_btrfs_progs_lists_them() {
    let scratch = Scratch::in_memory();
    let Some(images) = copy_of_kernel_image_or_skip("snapshots", &scratch) else { return };
    let own = run(&["ls", "--subvolumes"], &images, &[]);
    let json = run(&["ls", "--subvolumes", "--json"], &images, &[]);
    assert_eq!((own.code, json.code), (0, 0));
    let Some(mounted) = or_skip(Mounted::new(&images, "ro,noatime,subvolid=5", &scratch)) else { return };
    let listed = tool("btrfs", ["subvolume", "list", "-cpuqR", mounted.path().to_str().unwrap()]).unwrap();
    let names = ["ID", "gen", "cgen", "parent", "top level", "parent_uuid", "received_uuid", "uuid", "path"];
    let fields = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let value = |name: &str| {
            let name: Vec<&str> = name.split(' ').collect();
            let at = words.windows(name.len()).position(|window| window == name).unwrap();
            words[at + name.len()].to_owned()
        };
        names.map(value)
    };
    let by_id = |text: &str| {
        text.lines().map(|line| (line.split(' ').nth(1).unwrap().to_owned(), fields(line))).collect::<BTreeMap<_, _>>()
    };
    let is_living = |line: &&str| !line.contains(" deleted ") && !line.starts_with("ID 5 ");
    let own: String = own.stdout.lines().filter(is_living).map(|line| format!("{line}\n")).collect();
    assert_eq!(by_id(&own), by_id(&listed));
    let document: Value = serde_json::from_str(&json.stdout).unwrap();
    let subvolumes = document["subvolumes"].as_array().unwrap();
    assert_eq!(subvolumes[0]["id"], 5);
    assert_eq!(subvolumes.iter().filter(|subvolume| subvolume["default"] == true).count(), 1);
    for subvolume in subvolumes.iter().filter(|subvolume| subvolume["id"] != 5 && subvolume["deleted"] == false) {
        assert_eq!(by_id(&own)[&subvolume["id"].to_string()][8], subvolume["path"].as_str().unwrap());
    }
}

#[test]
fn contents_and_ranges_are_those_of_the_mount() {
    let scratch = Scratch::in_memory();
    let Some(images) = copy_of_kernel_image_or_skip("single", &scratch) else { return };
    let cat = |options: &[&str], path: &str| {
        let mut command = Command::new(PROGRAM);
        command.arg("cat").args(options).args(["--subvol", "5"]).args(&images).args(["--", path]).output().unwrap()
    };
    let paths =
        ["files/random", "files/holes", "zstd/text-400000", "lzo/text-400000", "volume/nested/file", "files/bookend"];
    let own: Vec<_> = paths.iter().map(|path| cat(&[], path)).collect();
    let ranges =
        [("100", 100, u64::MAX), ("4k+10", 4096, 10), ("300000+1m", 300_000, 1 << 20), ("9m", 9 << 20, u64::MAX)];
    let own_ranges = ranges.map(|(range, ..)| cat(&["--range", range], "zstd/text-400000").stdout);
    let Some(mounted) = or_skip(Mounted::new(&images, "ro,noatime,subvolid=5", &scratch)) else { return };
    for (path, own) in paths.iter().zip(own) {
        assert!(own.status.success() && own.stdout == std::fs::read(mounted.path().join(path)).unwrap(), "{path}");
    }
    let whole = std::fs::read(mounted.path().join("zstd/text-400000")).unwrap();
    for ((range, offset, length), own) in ranges.into_iter().zip(own_ranges) {
        let begin = offset.min(whole.len());
        let end = whole.len().min(begin.saturating_add(usize::try_from(length).unwrap_or(usize::MAX)));
        assert!(own == whole[begin..end], "{range}");
    }
    drop(mounted);
    for path in ["nowhere", "files", "inodes/symlink"] {
        let run = run(&["cat", "--subvol", "5"], &images, &[path]);
        assert!(run.code == 1 && run.stdout.is_empty() && run.says(&[path]), "{path}: {}", run.stderr);
    }
}

#[test]
fn stat_prints_what_stat_and_filefrag_say() {
    let scratch = Scratch::in_memory();
    let Some(images) = copy_of_kernel_image_or_skip("single", &scratch) else { return };
    let paths = ["files/random", "files/bookend", "inodes", "inodes/xattrs", "links"];
    let own = run(&["stat", "--subvol", "5"], &images, &paths);
    assert_eq!((own.code, own.stderr.as_str()), (0, ""));
    let Some(mounted) = or_skip(Mounted::new(&images, "ro,noatime,subvolid=5", &scratch)) else { return };
    let blocks: Vec<&str> = own.stdout.split("  File: ").skip(1).collect();
    assert_eq!(blocks.len(), paths.len(), "{}", own.stdout);
    for (path, block) in paths.iter().zip(blocks) {
        let metadata = mounted.path().join(path).symlink_metadata().unwrap();
        let (mode, links) = (metadata.mode() & 0o7777, metadata.nlink());
        for line in [
            format!("{path}\n"),
            format!("Links: {links}\n"),
            format!(" Inode: {}  Subvolume: 5\n", metadata.ino()),
            format!("  Mode: {mode:04o} "),
            format!("  Uid: {}  Gid: {}\n", metadata.uid(), metadata.gid()),
            format!(".{:09}\n", metadata.mtime_nsec()),
        ] {
            assert!(block.contains(&line), "{path}: {line:?} in {block}");
        }
        if metadata.is_file() {
            assert!(block.contains(&format!("  Size: {}  ", metadata.len())), "{path}: {block}");
            let lengths = block.lines().filter_map(|line| line.strip_prefix("Extent: offset ")?.split(' ').nth(2));
            let sum: u64 = lengths.map(|length| length.parse::<u64>().unwrap()).sum();
            assert!(sum >= metadata.len(), "{path}: {block}");
        }
    }
    let document: Value =
        serde_json::from_str(&run(&["stat", "--json", "--subvol", "5"], &images, &paths).stdout).unwrap();
    assert_eq!((document["schema"].as_str(), document["entries"].as_array().unwrap().len()), (Some("rbtrfs.ls/1"), 5));
    let missing = run(&["stat"], &images, &["nowhere"]);
    assert!(missing.code == 1 && missing.says(&["nowhere"]), "{}", missing.stderr);
}
