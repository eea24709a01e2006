//! The text of dumps is an interface: it is compared with that of btrfs-progs, of version 6.19 as stored texts and of
//! the installed version (6.2 and later) on images that the kernel filled.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::{kernel_image, rbtrfs, reference, require};

/// Images with the texts that btrfs-progs 6.19 prints for them.
fn samples() -> PathBuf {
    let default = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/samples");
    std::env::var_os("RBTRFS_SAMPLES").map_or_else(default, PathBuf::from)
}

fn btrfs(command: &str, options: &[&str], images: &[impl AsRef<OsStr>]) -> Vec<u8> {
    let mut btrfs = Command::new("btrfs");
    btrfs.args(["inspect-internal", command]).args(options).args(images);
    btrfs.output().expect("btrfs runs").stdout
}

/// A tree as the installed `btrfs` dumps it, in the form of version 6.2.
fn btrfs_dump_tree(options: &[&str], images: &[impl AsRef<OsStr>]) -> Vec<u8> {
    let text = btrfs("dump-tree", options, images);
    let text = if reference::escapes_names() { as_in_6_2(&text) } else { after_first_line(&text).to_vec() };
    let lines = text.split(|byte| *byte == b'\n').filter_map(reference::without_encryption);
    lines.collect::<Vec<_>>().join(&b'\n')
}

fn after_first_line(text: &[u8]) -> &[u8] {
    let end = text.iter().position(|byte| *byte == b'\n').map_or(text.len(), |end| end + 1);
    &text[end..]
}

/// What `btrfs` of version 6.2 prints where we print as 6.19 does: inline references without their type and sequence,
/// names and values as they are, up to the first zero byte.
fn as_in_6_2(text: &[u8]) -> Vec<u8> {
    let lines = after_first_line(text).split(|byte| *byte == b'\n').map(|line| {
        let reference = line.strip_prefix(b"\t\t(").and_then(|rest| {
            let end = rest.iter().position(|byte| *byte == b')')?;
            Some([b"\t\t", rest.get(end + 2..)?].concat())
        });
        let name_at = [&b"\t\tname: "[..], b"\t\tdata ", b" name: "].iter().find_map(|label| {
            let position = line.windows(label.len()).position(|window| window == *label)?;
            line.starts_with(b"\t\t").then_some(position + label.len())
        });
        match (reference, name_at) {
            (Some(line), _) => line,
            (None, Some(start)) => [&line[..start], &unescaped_c_string(&line[start..])].concat(),
            (None, None) => line.to_vec(),
        }
    });
    lines.collect::<Vec<_>>().join(&b'\n')
}

fn unescaped_c_string(text: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    let mut rest = text;
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        if byte != b'\\' {
            plain.push(byte);
            continue;
        }
        let (value, length) = match rest[0] {
            b'a' => (0x07, 1),
            b'b' => (0x08, 1),
            b'e' => (0x1b, 1),
            b'f' => (0x0c, 1),
            b'n' => (b'\n', 1),
            b'r' => (b'\r', 1),
            b't' => (b'\t', 1),
            b'v' => (0x0b, 1),
            b' ' | b'\\' => (rest[0], 1),
            _ => (u8::from_str_radix(std::str::from_utf8(&rest[..3]).unwrap(), 8).unwrap(), 3),
        };
        if value == 0 {
            break;
        }
        plain.push(value);
        rest = &rest[length..];
    }
    plain
}

/// Fails with the first line that differs.
fn assert_same(what: &str, ours: &[u8], theirs: &[u8]) {
    if ours == theirs {
        return;
    }
    let lines = |text: &'_ [u8]| text.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect::<Vec<_>>();
    let (ours, theirs) = (lines(ours), lines(theirs));
    let line = ours.iter().zip(&theirs).position(|(ours, theirs)| ours != theirs);
    let line = line.unwrap_or(ours.len().min(theirs.len()));
    let show = |lines: &[Vec<u8>]| lines.get(line).map(|line| String::from_utf8_lossy(line).into_owned());
    panic!("{what}: line {line} is {:?}, btrfs-progs prints {:?}", show(&ours), show(&theirs));
}

#[test]
fn texts_of_version_6_19_stay_as_they_are() {
    let samples = samples();
    if !require("texts_of_version_6_19_stay_as_they_are", samples.is_dir(), "no sample images in RBTRFS_SAMPLES") {
        return;
    }
    let work = Path::new(env!("CARGO_TARGET_TMPDIR")).join("samples");
    let mut compared = 0;
    for entry in std::fs::read_dir(&samples).unwrap() {
        let file = entry.unwrap().file_name().into_string().unwrap();
        let Some(name) = file.strip_suffix(".img.tar.zst") else { continue };
        let directory = work.join(name);
        std::fs::create_dir_all(&directory).unwrap();
        let unpacked = Command::new("tar").arg("-xSf").arg(samples.join(&file)).arg("-C").arg(&directory).status();
        assert!(unpacked.unwrap().success());
        let mut images: Vec<PathBuf> = std::fs::read_dir(&directory).unwrap().map(|e| e.unwrap().path()).collect();
        images.sort();

        let tree = Command::new("zstd").arg("-dcq").arg(samples.join(format!("{name}.dump-tree.txt.zst"))).output();
        let ours = rbtrfs("dump-tree", &[], &images);
        assert!(ours.status.success(), "{name}");
        assert_same(name, after_first_line(&ours.stdout), after_first_line(&tree.unwrap().stdout));

        // The texts name the image as it was called where they were made: without a directory.
        let superblock = std::fs::read(samples.join(format!("{name}.dump-super.txt"))).unwrap();
        let ours = Command::new(env!("CARGO_BIN_EXE_rbtrfs"))
            .current_dir(&directory)
            .args(["dump-super", "-fa"])
            .arg(images[0].file_name().unwrap())
            .output()
            .unwrap();
        assert_same(name, &ours.stdout, &superblock);
        compared += 1;
    }
    assert!(compared > 0, "{} holds no samples", samples.display());
    std::fs::remove_dir_all(work).unwrap();
}

/// Images that version 6.2 of btrfs-progs cannot read whole, and those of which it prints less; both are compared with
/// version 6.19 above, or by other tests.
const NO_REFERENCE: [(&str, &str); 4] = [
    ("squota", "simple quotas are not known"),
    ("squota-sharing", "simple quotas are not known"),
    ("degraded-raid6", "two missing devices of RAID6 are not rebuilt"),
    ("verity", "the feature is not known"),
];

/// Devices in the order in which `btrfs` takes the filesystem of the first one.
fn main_device_first(name: &str, mut images: Vec<PathBuf>) -> Vec<PathBuf> {
    if name == "seed-sprout" {
        images.reverse();
    }
    images
}

/// Lines that version 6.2 prints in other places or not at all.
fn without_differences_of_6_2(name: &str, text: Vec<u8>) -> Vec<u8> {
    let left_out: &[&[u8]] = match name {
        // Warnings go to the output instead of standard error.
        "degraded" | "degraded-raid5" => &[b"warning, device "],
        // The item is not decoded.
        "dev-replace" => &[b"\t\tsrc devid ", b"\t\tstate ", b"\t\tstart time ", b"\t\tstop time "],
        _ => return text,
    };
    let keep = |line: &&[u8]| !left_out.iter().any(|start| line.starts_with(start));
    text.split(|byte| *byte == b'\n').filter(keep).collect::<Vec<_>>().join(&b'\n')
}

#[test]
fn kernel_filled_images_dump_as_with_btrfs_progs() {
    let test = "kernel_filled_images_dump_as_with_btrfs_progs";
    for name in crate::support::kernel_image_names(test) {
        if NO_REFERENCE.iter().any(|(other, _)| *other == name) {
            continue;
        }
        let images = main_device_first(&name, kernel_image(&name));
        let ours = rbtrfs("dump-tree", &[], &images);
        assert!(ours.status.success(), "{name}: {}", String::from_utf8_lossy(&ours.stderr));
        let ours = without_differences_of_6_2(&name, as_in_6_2(&ours.stdout));
        let theirs = btrfs_dump_tree(&[], &images);
        assert_same(&name, &ours, &without_differences_of_6_2(&name, theirs));
    }
}

#[test]
fn superblocks_dump_as_with_btrfs_progs() {
    // Version 6.2 prints the fsid for an unset metadata_uuid, another name of one checksum, and an empty line for a
    // mirror that the device is too short for.
    let comparable = |text: &[u8]| {
        let differs = |line: &&[u8]| {
            [&b"metadata_uuid"[..], b"csum_type\t\t3 "].iter().any(|start| line.starts_with(start)) || line.is_empty()
        };
        text.split(|byte| *byte == b'\n').filter(|line| !differs(line)).collect::<Vec<_>>().join(&b'\n')
    };
    for name in crate::support::kernel_image_names("superblocks_dump_as_with_btrfs_progs") {
        if name.starts_with("squota") {
            continue;
        }
        for image in kernel_image(&name) {
            let ours = rbtrfs("dump-super", &["-fa"], std::slice::from_ref(&image));
            let theirs = btrfs("dump-super", &["-fa"], std::slice::from_ref(&image));
            assert_same(&name, &comparable(&ours.stdout), &comparable(&theirs));
        }
    }
}

#[test]
fn options_select_what_they_select_in_btrfs_progs() {
    let test = "options_select_what_they_select_in_btrfs_progs";
    let names = crate::support::kernel_image_names(test);
    for name in ["log-tree", "quota", "mixed"].iter().filter(|name| names.iter().any(|other| other == *name)) {
        let images = kernel_image(name);
        let (root, chunk_root) = (root_of(&images, "fs tree key (FS_TREE"), root_of(&images, "chunk tree:"));
        for options in [
            "-e",
            "-d",
            "-u",
            "-r",
            "-R",
            "-r -d",
            "-e -d",
            "-t 5",
            "-t root",
            "-t chunk",
            "-t FS_TREE",
            "-r -t 5",
            "--dfs",
            "--bfs",
            "--dfs --bfs",
            "--csum-headers",
            "--csum-items",
            "--hide-names",
            "-t csum --csum-items",
            &format!("-b {root}"),
            &format!("-b {root} --follow"),
            &format!("-b {root} -b {chunk_root} --follow --dfs"),
        ] {
            let options: Vec<&str> = options.split(' ').collect();
            let ours = rbtrfs("dump-tree", &options, &images);
            assert!(ours.status.success(), "{name} {options:?}: {}", String::from_utf8_lossy(&ours.stderr));
            let theirs = btrfs_dump_tree(&options, &images);
            assert_same(&format!("{name} {options:?}"), &as_in_6_2(&ours.stdout), &theirs);
        }
    }
}

#[test]
fn the_block_group_tree_alone_has_neither_key_nor_totals() {
    let scratch = crate::support::Scratch::new();
    let images = [scratch.path("image")];
    assert!(rbtrfs("mkfs", &["-q", "-b", "300M"], &images).status.success());
    if !require("the_block_group_tree_alone_has_neither_key_nor_totals", which("btrfs"), "no btrfs") {
        return;
    }
    for options in ["-t 11", "-r -t 11", "-R -t 11", "-e -t 11", "-t 11 --dfs", "-t 10"] {
        let words: Vec<&str> = options.split(' ').collect();
        let ours = rbtrfs("dump-tree", &words, &images);
        assert!(ours.status.success(), "{options}: {}", String::from_utf8_lossy(&ours.stderr));
        assert_same(options, &as_in_6_2(&ours.stdout), &btrfs_dump_tree(&words, &images));
    }
}

fn which(program: &str) -> bool {
    Command::new(program).arg("--version").output().is_ok()
}

#[test]
fn a_space_in_a_name_does_not_end_it() {
    let scratch = crate::support::Scratch::new();
    let (root, images) = (scratch.new_directory(), [scratch.path("image")]);
    std::fs::create_dir(root.join("a dir")).unwrap();
    for name in [" lead", "trail ", "a b"] {
        std::fs::write(root.join(name), "").unwrap();
    }
    let file = root.join("a b");
    let attribute = ["-n".as_ref(), "user.x y".as_ref(), "-v".as_ref(), "v w".as_ref(), file.as_os_str()];
    let has_attribute = crate::support::or_skip(crate::support::tool("setfattr", attribute)).is_some();
    let options = ["-q", "-L", "my disk", "--subvol", "a dir", "--rootdir", root.to_str().unwrap()];
    assert!(rbtrfs("mkfs", &options, &images).status.success());
    let text = String::from_utf8(rbtrfs("dump-tree", &[], &images).stdout).unwrap();
    let mut lines = vec!["name: a\\ dir", "name: \\ lead", "name: trail\\ ", "name: a\\ b"];
    if has_attribute {
        lines.extend(["name: user.x\\ y", "data v\\ w"]);
    }
    for line in lines {
        assert!(text.lines().any(|other| other.ends_with(line)), "{line}: {text}");
    }
}

/// Where `btrfs` says that the root of the tree is whose line begins so.
fn root_of(images: &[PathBuf], start: &str) -> String {
    let roots = String::from_utf8(btrfs("dump-tree", &["-r"], images)).unwrap();
    let line = roots.lines().find(|line| line.starts_with(start)).unwrap();
    line.split_whitespace().rev().nth(2).unwrap().to_owned()
}
