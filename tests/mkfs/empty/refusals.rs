//! What is refused costs nothing.

use std::io::{BufRead, BufReader};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Command, Stdio};

use rbtrfs::Error;
use rbtrfs::image::Image;
use rbtrfs::volume::identify;

use super::{called, make};
use crate::support::failing_disk::FailingDisk;
use crate::support::{Scratch, mounted};

/// Runs `mkfs` on images that it must refuse for this reason, and leave as they are.
#[track_caller]
fn refused(options: &str, images: &[&Path], reason: &[&str], scratch: &Scratch) {
    let bytes = |images: &[&Path]| images.iter().map(|image| std::fs::read(image).ok()).collect::<Vec<_>>();
    let before = bytes(images);
    let mut arguments: Vec<&str> = options.split_whitespace().collect();
    arguments.extend(images.iter().map(|image| image.to_str().unwrap()));
    let run = called("mkfs.btrfs", &arguments, scratch);
    assert_eq!((run.code, run.stdout.as_str()), (2, ""), "{options}: {}", run.stderr);
    assert!(run.says(reason), "{options}: {}", run.stderr);
    assert!(bytes(images) == before, "{options}: something was written or created");
}

#[test]
fn other_filesystems_and_partition_tables_need_force() {
    let scratch = Scratch::new();
    let marks: [(u64, &[u8], &str); 14] = [
        (0x438, b"\x53\xef", "ext4"),
        (0, b"XFSB", "XFS"),
        (0x1_0040, b"_BHRfS_M", "btrfs"),
        (0x52, b"FAT32   ", "FAT"),
        (0xff6, b"SWAPSPACE2", "swap"),
        (0x218, b"LVM2 001", "LVM2"),
        (0x418, b"LVM2 001", "LVM2"),
        (0x618, b"LVM2 001", "LVM2"),
        (0, b"LUKS\xba\xbe", "LUKS"),
        (0x1000, b"\xfc\x4e\x2b\xa9", "md array"),
        ((8 << 20) - 0x1_0000, b"\xfc\x4e\x2b\xa9", "md array"),
        (0x2_0000 + 77 * 0x400, b"\x0c\xb1\xba\0\0\0\0\0", "ZFS"),
        (0x200, b"EFI PART", "GPT"),
        (0x1fe, b"\x55\xaa", "partition table"),
    ];
    for (offset, magic, name) in marks {
        let image = scratch.zeros("marked.img", 8 << 20);
        std::fs::File::options().write(true).open(&image).unwrap().write_all_at(magic, offset).unwrap();
        refused("", &[&image], &[name, "-f"], &scratch);
        let other = scratch.path("other.img");
        refused("", &[&other, &image], &[name], &scratch);
        assert_eq!(called("mkfs.btrfs", &["-f", "-M", image.to_str().unwrap()], &scratch).code, 0, "{name}");
        let mut left = vec![0; magic.len()];
        std::fs::File::open(&image).unwrap().read_exact_at(&mut left, offset).unwrap();
        assert!(name == "btrfs" || left != magic, "{name} is still there");
    }
}

#[test]
fn other_tools_make_what_is_recognised() {
    let scratch = Scratch::new();
    for (tool, options, name) in [("mkfs.ext4", &["-q", "-F"][..], "ext4"), ("mkswap", &[], "swap")] {
        let image = scratch.zeros(&format!("{tool}.img"), 200 << 20);
        let arguments: Vec<&str> = options.iter().copied().chain([image.to_str().unwrap()]).collect();
        if crate::support::or_skip(crate::support::tool(tool, arguments)).is_some() {
            refused("", &[&image], &[name], &scratch);
        }
    }
    let image = scratch.zeros("btrfs.img", 200 << 20);
    if crate::support::or_skip(crate::support::mkfs_btrfs([""; 0], std::slice::from_ref(&image))).is_some() {
        refused("", &[&image], &["btrfs"], &scratch);
    }
}

#[test]
fn options_that_contradict_each_other_are_refused() {
    let scratch = Scratch::new();
    let (a, b) = (scratch.zeros("a", 256 << 20), scratch.zeros("b", 256 << 20));
    let long = "x".repeat(256);
    for (options, reason) in [
        ("-d raid1c4", "needs 4 devices"),
        ("-m raid6", "needs 3 devices"),
        ("-M -d single -m raid1", "one profile"),
        ("-M -n 16k", "must be sectorsize"),
        ("-n 4k -s 8k", "smaller than sectorsize"),
        ("-n 128k", "invalid nodesize"),
        ("-n 5000", "invalid nodesize"),
        ("-n 16k --leafsize 4k", "--leafsize 4096"),
        ("-s 2k", "invalid sectorsize"),
        ("-O zoned", "not supported"),
        ("-O raid-stripe-tree", "not supported"),
        ("-O extent-tree-v2", "not supported"),
        ("-O no-such", "unknown feature"),
        ("-O ^no-holes,bgt", "needs no-holes"),
        ("-O block-group-tree -R ^free-space-tree", "needs free-space-tree"),
        ("-O quota,squota", "exclude"),
        ("--device-uuid 0f1e2d3c-4b5a-4968-8776-655443322110", "one device"),
        (&format!("-L {long}"), "at most 255 bytes"),
        ("-U nonsense", "nonsense"),
        ("--csum md5", "md5"),
        ("-d raid7", "raid7"),
        ("-b 1x", "1x"),
        ("-b 3M", "too small"),
        ("-b 8E", "16 EiB or more together"),
    ] {
        refused(options, &[&a, &b], &[reason], &scratch);
    }
    refused("", &[], &["required"], &scratch);
    refused("-O ^extref", &[], &["no image"], &scratch);
    refused("", &[&a, &a], &["in use"], &scratch);
    let directory = scratch.new_directory();
    assert_eq!(called("mkfs.btrfs", &[directory.to_str().unwrap()], &scratch).code, 2);
}

#[test]
fn what_cannot_be_read_may_be_anything() {
    let scratch = Scratch::new();
    let zeros = scratch.zeros("zeros", 200 << 20);
    let Some(disk) =
        crate::support::or_skip(FailingDisk::new(&zeros, vec![0x1_0000..0x1_1000, 0x2_0000..0x2_1000], &scratch))
    else {
        return;
    };
    // Such a disk cannot be opened for writing.
    let error = identify(&Image::open(&disk.image()).unwrap()).unwrap_err();
    assert!(matches!(error, Error::Read { .. }), "{error}");
    for size in [0, 100, 0x1_0042, 0x3_0000] {
        let short = Image::open(&scratch.zeros("short", size)).unwrap();
        assert_eq!(identify(&short).unwrap(), None, "{size} bytes");
    }
}

#[test]
fn a_slip_makes_no_file_among_the_devices() {
    let scratch = Scratch::new();
    let device = "/dev/rbtrfs-no-such-disk";
    let run = called("mkfs.btrfs", &["-f", device], &scratch);
    let exists = Path::new(device).exists();
    let _ = std::fs::remove_file(device);
    assert!(run.code == 2 && run.says(&[device, "no such device"]) && !exists, "{}", run.stderr);
}

#[test]
fn an_image_that_a_virtual_machine_runs_from_is_refused() {
    let scratch = Scratch::new();
    let image = scratch.zeros("image", 200 << 20);
    // QEMU locks some bytes from 100 on for reading.
    let script = "import fcntl, sys; file = open(sys.argv[1]); fcntl.lockf(file, fcntl.LOCK_SH, 1, 100); \
                  print('locked', flush=True); sys.stdin.read()";
    let machine = Command::new("python3")
        .args(["-c", script])
        .arg(&image)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| format!("python3: {error}"));
    let Some(mut machine) = crate::support::or_skip(machine) else { return };
    let mut line = String::new();
    BufReader::new(machine.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let run = called("mkfs.btrfs", &["-f", image.to_str().unwrap()], &scratch);
    drop(machine.stdin.take());
    machine.wait().unwrap();
    assert_eq!(line, "locked\n");
    assert!(run.code == 2 && run.says(&["in use", "locked by"]), "{}", run.stderr);
    assert_eq!(called("mkfs.btrfs", &["-f", image.to_str().unwrap()], &scratch).code, 0);
}

#[test]
fn images_in_use_are_refused_even_with_force() {
    let scratch = Scratch::new();
    let images = make("", 1, "256M", &scratch);
    let Some(mounted) = crate::support::or_skip(mounted::Mounted::new(&images, "rw", &scratch)) else { return };
    refused("-f", &[&images[0]], &["in use"], &scratch);
    assert_eq!(called("mkfs.btrfs", &["-f", &mounted.loops()[0]], &scratch).code, 2);
    drop(mounted);
    assert_eq!(called("mkfs.btrfs", &["-q", "-f", images[0].to_str().unwrap()], &scratch).code, 0);
}
