//! Subvolumes, with btrfs-progs as the judge.

use std::fs;

use super::compare::{assert_same, facts};
use super::{make, mounted};
use crate::support::{Scratch, output_of, tool};

fn tree_with_subvolumes(scratch: &Scratch) -> std::path::PathBuf {
    let root = scratch.new_directory();
    for directory in ["a/deep/er", "b", "locked", "home/user"] {
        fs::create_dir_all(root.join(directory)).unwrap();
        fs::write(root.join(directory).join("file"), directory.repeat(3000)).unwrap();
    }
    fs::write(root.join("linked"), "crosses").unwrap();
    fs::hard_link(root.join("linked"), root.join("beside")).unwrap();
    fs::hard_link(root.join("linked"), root.join("a/deep/linked")).unwrap();
    fs::hard_link(root.join("linked"), root.join("a/deep/er/linked")).unwrap();
    root
}

#[test]
fn each_kind_of_subvolume_is_what_btrfs_says() {
    let scratch = Scratch::new();
    let root = tree_with_subvolumes(&scratch);
    let image = scratch.path("image");
    make(&root, &image, "--subvol a/deep --subvol rw:/b --subvol ro:locked --subvol a/deep/er --subvol default:home");
    let Some(mounted) = mounted(&image, ",subvolid=5", &scratch) else { return };
    let btrfs = |words: &[&str], path: &str| {
        tool("btrfs", words.iter().map(|word| word.as_ref()).chain([mounted.path().join(path).as_os_str()])).unwrap()
    };
    let list = btrfs(&["subvolume", "list", "-p", "--sort=rootid"], "");
    let lines: Vec<&str> = list.lines().collect();
    let expected = [
        ("ID 256 ", " parent 5 top level 5 path a/deep"),
        ("ID 257 ", " parent 5 top level 5 path b"),
        ("ID 258 ", " parent 5 top level 5 path locked"),
        ("ID 259 ", " parent 256 top level 256 path a/deep/er"),
        ("ID 260 ", " parent 5 top level 5 path home"),
    ];
    assert_eq!(lines.len(), expected.len(), "{list}");
    for (line, (start, end)) in lines.iter().zip(expected) {
        assert!(line.starts_with(start) && line.ends_with(end), "{list}");
    }
    assert!(btrfs(&["subvolume", "get-default"], "").starts_with("ID 260 "), "default");
    for (path, flags) in [("a/deep", "-"), ("b", "-"), ("locked", "readonly"), ("home", "-")] {
        let show = btrfs(&["subvolume", "show"], path);
        let value = |name: &str| {
            let line = show.lines().find_map(|line| line.trim().strip_prefix(name));
            line.unwrap_or_else(|| panic!("{name}: {show}")).trim().to_owned()
        };
        assert_eq!(value("Flags:"), flags, "{show}");
        assert_eq!((value("Parent UUID:"), value("Received UUID:")), ("-".to_owned(), "-".to_owned()), "{show}");
        assert_eq!(value("UUID:").len(), 36, "{show}");
    }
    let mut source = facts(&root);
    // A link that crosses into a subvolume is a file of its own there.
    for (path, same_as, nlink) in [
        ("linked", "beside", 2),
        ("beside", "beside", 2),
        ("a/deep/linked", "a/deep/linked", 1),
        ("a/deep/er/linked", "a/deep/er/linked", 1),
    ] {
        let facts = source.get_mut(std::path::Path::new(path)).unwrap();
        (facts.same_as, facts.nlink) = (same_as.into(), nlink);
    }
    assert_same(mounted.path(), &source);
}

#[test]
fn a_default_subvolume_is_what_is_mounted_and_may_be_read_only() {
    let scratch = Scratch::new();
    let root = tree_with_subvolumes(&scratch);
    let image = scratch.path("image");
    make(&root, &image, "--subvol default-ro:home");
    let Some(mounted) = mounted(&image, "", &scratch) else { return };
    assert_same(mounted.path(), &facts(&root.join("home")));
    assert!(output_of("dump-super", std::slice::from_ref(&image)).contains("DEFAULT_SUBVOL"));
    let property = tool("btrfs", ["property", "get", mounted.path().to_str().unwrap(), "ro"]).unwrap();
    assert_eq!(property.trim(), "ro=true");
}

#[test]
fn a_slash_is_the_top_level() {
    let scratch = Scratch::new();
    let root = tree_with_subvolumes(&scratch);
    for (options, ro) in [
        ("--subvol / --subvol b", "ro=false"),
        ("--subvol b --subvol default:/", "ro=false"),
        ("--subvol ro:/ --subvol b", "ro=true"),
        ("--subvol default-ro:/. --subvol b", "ro=true"),
    ] {
        let image = scratch.path("image");
        let words = format!("mkfs --json --subvol a/deep --rootdir {} {options}", root.display());
        let made: serde_json::Value = serde_json::from_str(&output_of(&words, std::slice::from_ref(&image))).unwrap();
        let mut ids: Vec<u64> =
            made["subvolumes"].as_array().unwrap().iter().map(|subvolume| subvolume["id"].as_u64().unwrap()).collect();
        ids.sort_unstable();
        assert_eq!(ids, [5, 256, 257], "{options}");
        assert_eq!(crate::support::check(&crate::support::open(std::slice::from_ref(&image)), 1), [], "{options}");
        let Some(mounted) = mounted(&image, "", &scratch) else { return };
        let path = mounted.path().to_str().unwrap();
        assert_eq!(tool("btrfs", ["property", "get", path, "ro"]).unwrap().trim(), ro, "{options}");
        let list = tool("btrfs", ["subvolume", "list", "--sort=rootid", path]).unwrap();
        let paths: Vec<&str> = list.lines().map(|line| line.rsplit(' ').next().unwrap()).collect();
        assert_eq!(paths, ["a/deep", "b"], "{options}");
        assert!(tool("btrfs", ["subvolume", "get-default", path]).unwrap().starts_with("ID 5 "), "{options}");
        drop(mounted);
        std::fs::remove_file(&image).unwrap();
    }
}
