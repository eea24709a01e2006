//! The command lines with which others call `mkfs.btrfs`.

use std::fs::File;

use rbtrfs::disk::flags::compat_ro;
use rbtrfs::disk::{CsumType, Profile};

use super::{called, make};
use crate::support::Scratch;

const UUID: &str = "0f1e2d3c-4b5a-4968-8776-655443322110";

#[test]
fn image_builders_are_served() {
    // `F` is a file, which is missing, empty or of 256 MiB; `G` another one of 256 MiB.
    for (line, has_file) in [
        ("-L label -U UUID --nodiscard -q --sectorsize=4096 F", true),
        ("-f -L EMPTY --byte-count 100m --nodesize 16384 --sectorsize 4096 --features ^extref F", false),
        ("-f -L EMPTY --byte-count 100m --nodesize 16384 --sectorsize 4096 F", true),
        ("-b 163636428 -L label -U UUID --quiet --mixed -K F", false),
        ("-L label F", true),
        ("F -L label -U UUID -K -f", true),
        ("-L label -U UUID --byte-count 200M F", true),
        ("-U UUID -L label -m single F", true),
        ("-U UUID -m dup F", true),
        (
            "--byte-count 134217728 --data single --leafsize 16384 --label label --metadata raid1 --sectorsize 4096 F G",
            true,
        ),
        ("--label label --data raid0 --metadata raid1 F G", true),
        ("--nodesize 16384 --leafsize 16384 -L other -L label -O ^bgt -O quota F", true),
        ("--csum xxhash -A 0 -R free-space-tree F", true),
        ("--checksum=sha256 --runtime-features=quota -v F", true),
    ] {
        let scratch = Scratch::new();
        let file = scratch.path("F");
        if has_file {
            scratch.zeros("F", 256 << 20);
        }
        let other = scratch.zeros("G", 256 << 20);
        let word = |word: &str| match word {
            "F" => file.to_str().unwrap().to_owned(),
            "G" => other.to_str().unwrap().to_owned(),
            "EMPTY" => String::new(),
            word => word.replace("UUID", UUID),
        };
        let words: Vec<String> = line.split(' ').map(word).collect();
        let run = called("mkfs.btrfs", &words.iter().map(String::as_str).collect::<Vec<_>>(), &scratch);
        assert_eq!((run.code, run.stderr.as_str()), (0, ""), "{line}");
        let is_quiet = line.contains("-q");
        assert_eq!(run.stdout.is_empty(), is_quiet, "{line}: {}", run.stdout);
        let images = if line.ends_with('G') { vec![file, other] } else { vec![file] };
        let volume = crate::support::open(&images);
        assert_eq!(crate::support::check(&volume, 1), [], "{line}");
        let superblock = volume.superblock();
        if line.contains("-O quota") {
            let features = superblock.compat_ro_flags.get();
            assert_eq!(features & compat_ro::BLOCK_GROUP_TREE, 0, "an earlier -O was lost");
        }
        assert_eq!(superblock.label(), if line.contains("label ") { &b"label"[..] } else { b"" }, "{line}");
        if line.contains("UUID") {
            assert_eq!(superblock.fsid.to_string(), UUID, "{line}");
        }
    }
}

#[test]
fn a_file_is_as_large_as_it_was_asked_to_be() {
    let scratch = Scratch::new();
    let size = |options: &str, size: &str| std::fs::metadata(&make(options, 1, size, &scratch)[0]).unwrap().len();
    assert_eq!((size("", "100m"), size("", "163636428")), (100 << 20, 163636428 / 4096 * 4096));
    let missing = scratch.path("missing.img");
    assert_eq!(crate::support::run_rbtrfs("mkfs -q", std::slice::from_ref(&missing)).code, 0);
    assert_eq!(std::fs::metadata(&missing).unwrap().len(), 1 << 30);
    let empty = scratch.path("empty.img");
    File::create(&empty).unwrap();
    assert_eq!(crate::support::run_rbtrfs("mkfs -q --size 2g", std::slice::from_ref(&empty)).code, 0);
    assert_eq!(std::fs::metadata(&empty).unwrap().len(), 2 << 30);
    let grown = scratch.zeros("grown.img", 64 << 20);
    assert_eq!(crate::support::run_rbtrfs("mkfs -q -b 300M", std::slice::from_ref(&grown)).code, 0);
    assert_eq!(std::fs::metadata(&grown).unwrap().len(), 300 << 20);
}

#[test]
fn features_are_listed_one_a_line() {
    let scratch = Scratch::new();
    for option in ["-O", "-R"] {
        let run = called("mkfs.btrfs", &[option, "list-all"], &scratch);
        assert_eq!(run.code, 0);
        let names: Vec<&str> = run.stdout.lines().skip(1).map(|line| line.split(' ').next().unwrap()).collect();
        for name in ["mixed-bg", "extref", "no-holes", "free-space-tree", "block-group-tree", "quota", "squota"] {
            assert_eq!(names.iter().filter(|listed| **listed == name).count(), 1, "{name}: {}", run.stdout);
        }
    }
    for option in ["--version", "-V", "--help"] {
        assert_eq!(called("mkfs.rbtrfs", &[option], &scratch).code, 0, "{option}");
    }
}

#[test]
fn only_what_can_be_made_is_listed() {
    let scratch = Scratch::new();
    let list = called("mkfs.btrfs", &["-O", "list-all"], &scratch).stdout;
    let names: Vec<&str> = list.lines().skip(1).map(|line| line.split(' ').next().unwrap()).collect();
    assert!(names.len() >= 9, "{list}");
    for name in names {
        let image = scratch.path(name);
        let run = called("mkfs.btrfs", &["-O", name, "-b", "300M", image.to_str().unwrap()], &scratch);
        assert_eq!((run.code, run.stderr.as_str()), (0, ""), "{name}");
    }
}

#[test]
fn scripts_find_the_version_where_they_look_for_it() {
    let scratch = Scratch::new();
    for option in ["-V", "--version"] {
        let run = called("mkfs.btrfs", &[option], &scratch);
        assert!(run.stdout.starts_with("mkfs.btrfs, part of btrfs-progs v6.19"), "{}", run.stdout);
        assert_eq!(run.stdout.split(' ').nth(4), Some("v6.19"), "{}", run.stdout);
    }
}

#[test]
fn a_default_goes_with_what_it_needs_unless_it_was_asked_for() {
    let scratch = Scratch::new();
    for (options, is_warned) in [
        ("-O ^no-holes", true),
        ("-O ^free-space-tree", true),
        ("-R ^fst", true),
        ("-O ^no-holes,^fst", true),
        ("-O bgt,^bgt,^no-holes", false),
        ("-O ^no-holes -q", false),
        ("-O ^no-holes,no-holes", false),
    ] {
        let image = scratch.path("image");
        let mut words: Vec<&str> = options.split(' ').collect();
        words.extend(["-f", "-b", "300M", image.to_str().unwrap()]);
        let run = called("mkfs.btrfs", &words, &scratch);
        assert_eq!(run.code, 0, "{options}: {}", run.stderr);
        let warned = run.says(&["warning: feature block-group-tree is left out: it needs"]);
        assert_eq!((warned, run.stderr.lines().count()), (is_warned, is_warned.into()), "{options}: {}", run.stderr);
        let volume = crate::support::open(&[image]);
        let has_tree = volume.superblock().compat_ro_flags.get() & compat_ro::BLOCK_GROUP_TREE != 0;
        assert_eq!(has_tree, options.ends_with(",no-holes"), "{options}");
        assert_eq!(crate::support::check(&volume, 1), [], "{options}");
    }
}

#[test]
fn what_is_reported_is_what_was_made() {
    let scratch = Scratch::new();
    let images = [scratch.path("a.img"), scratch.path("b.img")];
    let line = "mkfs --json -b 300M -d raid0 -m raid1 --csum sha256 -n 8k -O ^bgt,quota -L name";
    let document: serde_json::Value = serde_json::from_str(&crate::support::output_of(line, &images)).unwrap();
    let volume = crate::support::open(&images);
    let superblock = volume.superblock();
    assert_eq!(document["schema"], "rbtrfs.mkfs/1");
    assert_eq!((document["label"].as_str(), document["nodesize"].as_u64()), (Some("name"), Some(8192)));
    assert_eq!(document["fsid"], superblock.fsid.to_string());
    assert_eq!(document["total_bytes"], superblock.total_bytes.get());
    assert_eq!(document["bytes_used"], superblock.bytes_used.get());
    assert_eq!(volume.format().csum_type, CsumType::Sha256);
    let features = ["quota", "extref", "skinny-metadata", "no-holes", "free-space-tree"];
    let listed: Vec<&str> =
        document["features"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
    assert!(features.iter().all(|name| listed.contains(name)) && listed.len() == features.len(), "{listed:?}");
    for (record, name, profile) in
        [(0, "data", Profile::Raid0), (1, "metadata", Profile::Raid1), (2, "system", Profile::Raid1)]
    {
        let record = &document["block_groups"][record];
        let flags = |chunk: &&rbtrfs::volume::ChunkMapping| chunk.flags.type_bits().trailing_zeros() as usize;
        let of_type = volume.chunks().iter().filter(|chunk| ["data", "system", "metadata"][flags(chunk)] == name);
        assert_eq!((record["type"].as_str(), record["profile"].as_str()), (Some(name), Some(profile.name())));
        assert_eq!(record["bytes"], of_type.map(|chunk| chunk.length).sum::<u64>());
    }
    assert_eq!(document["devices"][1]["path"], images[1].to_str().unwrap());
    assert_eq!(document["devices"][1]["total_bytes"], 300 << 20);
}
