//! The small image of the tests is what those who do not depend on this project call a filesystem.

use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::mounted::Mounted;
use crate::support::small_image::{Options, write_small_image};
use crate::support::{Scratch, or_skip, reference, require};
use rbtrfs::disk::{CsumType, Profile};

/// The image in a file of its own. Not kept in memory: the file is sparse.
fn image(name: &str, options: &Options) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let file = File::create(&path).expect("the image is created");
    write_small_image(options, &file).expect("the image is written");
    path
}

/// Each option with each of its values, the others as they are by default.
fn variants() -> Vec<Options> {
    let mut variants: Vec<Options> = CsumType::ALL.map(|csum_type| Options { csum_type, ..Options::default() }).into();
    variants.extend([4096, 32768, 65536].map(|nodesize| Options { nodesize, ..Options::default() }));
    variants.push(Options { metadata: Profile::Single, ..Options::default() });
    variants.push(Options { no_holes: true, block_group_tree: true, ..Options::default() });
    // Room for the first mirror of the superblock.
    variants.push(Options { size: 256 << 20, ..Options::default() });
    variants
}

#[test]
fn btrfs_check_finds_nothing_wrong() {
    if !require("btrfs_check_finds_nothing_wrong", reference::is_installed(), "btrfs-progs is not installed") {
        return;
    }
    for options in variants() {
        let image = image("checked.img", &options);
        let check = Command::new("btrfs").args(["check", "--readonly", "--check-data-csum"]).arg(&image).output();
        let check = check.expect("btrfs check runs");
        let said = [check.stdout, check.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        assert!(check.status.success() && said.contains("no error found"), "{options:?}: {said}");
        assert!(!said.to_ascii_lowercase().contains("warning"), "{options:?}: {said}");
    }
}

#[test]
fn both_dump_the_same_trees() {
    if !require("both_dump_the_same_trees", reference::is_installed(), "btrfs-progs is not installed") {
        return;
    }
    for options in variants() {
        reference::assert_same_lines(&image("dumped.img", &options));
    }
}

/// One test for all mounts: the images have the same fsid, and the kernel mounts but one at a time.
#[test]
fn the_kernel_mounts_it_and_reads_its_files() {
    for options in variants() {
        let has_room = options.size > 16 << 20;
        let scratch = Scratch::new();
        let images = [image("mounted.img", &options)];
        let mounted = Mounted::new(&images, if has_room { "rw" } else { "ro" }, &scratch);
        let Some(mounted) = or_skip(mounted) else { return };
        let read = |name: &[u8]| std::fs::read(mounted.path().join(std::ffi::OsStr::from_bytes(name)));
        let read = |name: &[u8]| read(name).unwrap_or_else(|error| panic!("{options:?}: {name:?}: {error}"));
        assert_eq!(read(b"inline"), b"small enough to stand in the leaf\n");
        assert_eq!(read(b"regular").len(), 8192);
        assert_eq!(read(b"symlink"), read(b"regular"));
        assert_eq!(read(b"directory/a second name of \"regular\""), read(b"regular"));
        assert!(read(b"sparse")[..65536].iter().all(|byte| *byte == 0));
        assert_eq!(read(b"sparse").len(), 65536 + 4096);
        assert_eq!(read(b"preallocated"), [0; 16384]);
        assert_eq!(read(b"caf\xe9"), b"");
        assert_eq!(read(b"subvolume/inside"), b"within\n");
        if has_room {
            std::fs::write(mounted.path().join("new"), vec![b'n'; 100_000]).expect("the kernel writes a file");
            drop(mounted);
            let mounted = Mounted::new(&images, "ro", &scratch).unwrap();
            assert_eq!(std::fs::read(mounted.path().join("new")).expect("the file is there").len(), 100_000);
        }
    }
}
