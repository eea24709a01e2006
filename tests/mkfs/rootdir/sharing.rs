//! Images whose data is that of the files in the directory, on the disk too.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::compare::{assert_same, facts};
use super::{is_root, mkfs, tree};
use crate::support::mounted::{Mounted, attach, detach, unmount};
use crate::support::{PROGRAM, Run, Scratch, mkfs_btrfs, or_skip, output_of, tool};

/// A mounted filesystem that holds the directory and the images.
struct Host {
    device: String,
    mount: PathBuf,
}

impl Host {
    fn new(kind: &str, options: &str, scratch: &Scratch) -> Result<Self, String> {
        let image = scratch.zeros(&format!("{kind}.img"), 4 << 30);
        match kind {
            "btrfs" => mkfs_btrfs([""; 0], std::slice::from_ref(&image))?,
            _ => drop(tool(&format!("mkfs.{kind}"), ["-q".as_ref(), image.as_os_str()])?),
        }
        let host = Self { device: attach(&image)?, mount: scratch.new_directory() };
        tool("mount", ["-o".as_ref(), options.as_ref(), host.device.as_ref(), host.mount.as_os_str()])?;
        Ok(host)
    }

    /// A new one of btrfs; nothing where the test is to be skipped.
    fn btrfs(options: &str, scratch: &Scratch) -> Option<Self> {
        if is_root() { or_skip(Self::new("btrfs", options, scratch)) } else { None }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.mount.join(name)
    }

    fn directory(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir(&path).unwrap();
        path
    }

    fn images(&self, name: &str, count: usize) -> Vec<PathBuf> {
        (0..count).map(|number| self.path(&format!("{name}-{number}.img"))).collect()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        unmount(&self.mount);
        detach(&self.device);
    }
}

/// Makes what every run makes the same.
fn make(root: &Path, images: &[PathBuf], options: &str) {
    const UUID: &str = "01234567-89ab-cdef-0123-456789abcdef";
    let mut words: Vec<&OsStr> = options.split_whitespace().chain(["-U", UUID, "-r"]).map(OsStr::new).collect();
    words.push(root.as_os_str());
    words.extend(images.iter().map(|image| image.as_os_str()));
    // Later than all files: their times stay as they are.
    let run = mkfs(&words, &[("SOURCE_DATE_EPOCH", "5000000000")]);
    assert_eq!((run.code, run.stderr.as_str()), (0, ""), "{options}");
}

/// Bytes of the disk that a file shares with none, and all its bytes there.
fn usage(path: &Path) -> (u64, u64) {
    tool("sync", ["-f".as_ref(), path.as_os_str()]).unwrap();
    let text = tool("btrfs", ["filesystem", "du", "-s", "--raw", path.to_str().unwrap()]).unwrap();
    let mut numbers = text.lines().last().unwrap().split_whitespace().map(|word| word.parse().unwrap_or_default());
    let (total, exclusive) = (numbers.next().unwrap(), numbers.next().unwrap());
    (exclusive, total)
}

fn assert_equal(shared: &[PathBuf], copied: &[PathBuf]) {
    for pair in shared.iter().zip(copied) {
        tool("cmp", [pair.0, pair.1]).unwrap();
    }
}

#[test]
fn shared_data_is_not_other_data() {
    let scratch = Scratch::new();
    let Some(host) = Host::btrfs("noatime", &scratch) else { return };
    let root = host.path("root");
    tree::make(&root);
    let source = facts(&root);
    for (count, options) in [
        (1, ""),
        (1, "-d dup --shrink --subvol names"),
        (1, "--csum sha256 --inode-flags nodatasum:noise-3333333 --compress no"),
        (1, "--mixed -s 16384 -n 16384"),
        (2, "-d raid1"),
        (3, "-d raid0 --inode-flags nodatacow:mixed"),
        (3, "-d raid5"),
        (4, "-d raid10 --csum blake2 --threads 7"),
    ] {
        let (copied, shared) = (host.images("copied", count), host.images("shared", count));
        make(&root, &copied, options);
        make(&root, &shared, &format!("{options} --reflink"));
        assert_equal(&shared, &copied);
        output_of("check --check-data-csum", &shared);
        // The kernel knows no sectors larger than its pages.
        if !options.contains("-s 16384") {
            let Some(mounted) = or_skip(Mounted::new(&shared, "ro,noatime", &scratch)) else { return };
            assert_same(mounted.path(), &source);
        }
        shared.iter().chain(&copied).for_each(|image| fs::remove_file(image).unwrap());
    }
}

#[test]
fn data_that_the_disk_has_in_other_forms_is_not_taken_as_it_is() {
    let scratch = Scratch::new();
    let Some(host) = Host::btrfs("compress-force=zstd,max_inline=4095", &scratch) else { return };
    let root = host.directory("root");
    tree::make_files(&root);
    // Space without data, and data that is not on the disk yet.
    tool("fallocate", ["-l".as_ref(), "2000000".as_ref(), root.join("allocated").as_os_str()]).unwrap();
    tool("sync", ["-f".as_ref(), root.as_os_str()]).unwrap();
    fs::write(root.join("new"), tree::noise(5_000_001, 6)).unwrap();
    let (copied, shared) = (host.images("copied", 1), host.images("shared", 1));
    make(&root, &copied, "");
    make(&root, &shared, "--reflink");
    assert_equal(&shared, &copied);
    output_of("check --check-data-csum", &shared);
}

#[test]
fn shared_data_takes_no_more_of_the_disk() {
    let scratch = Scratch::new();
    let Some(host) = Host::btrfs("noatime", &scratch) else { return };
    let root = host.directory("root");
    (0..100).for_each(|number| fs::write(root.join(format!("{number}")), tree::noise(50_000, number)).unwrap());
    fs::write(root.join("large"), tree::noise(20_000_001, 5)).unwrap();
    for (count, options) in [(1, ""), (1, "-d dup"), (2, "-d raid1"), (2, "-d raid0"), (3, "-d raid6")] {
        let images = host.images("image", count);
        make(&root, &images, &format!("{options} --reflink"));
        for image in &images {
            let (exclusive, total) = usage(image);
            assert!(total > 10_000_000, "{options}: {total}");
            let is_shared = exclusive < 4_000_000;
            assert_eq!(is_shared, !options.contains("raid6"), "{options}: {exclusive} bytes of {total}");
            fs::remove_file(image).unwrap();
        }
    }
}

/// An image that was refused as `parts` say, and of which nothing is there.
#[track_caller]
fn refused(root: &Path, image: &Path, options: &[&str], parts: &[&str]) {
    let mut words: Vec<&OsStr> = options.iter().map(OsStr::new).collect();
    words.extend(["--reflink".as_ref(), "-r".as_ref(), root.as_os_str(), image.as_os_str()]);
    let run = mkfs(&words, &[]);
    assert!(run.code == 2 && run.says(parts) && run.stderr.lines().count() == 1, "{run:?}");
    assert!(!image.is_file(), "a file was left behind");
}

#[test]
fn options_that_contradict_each_other_are_refused() {
    let scratch = Scratch::new();
    let (root, image) = (scratch.new_directory(), scratch.path("image"));
    refused(&root, &image, &["--compress", "zstd"], &["--reflink", "--compress"]);
    let run = mkfs(&["--reflink".as_ref(), image.as_os_str()], &[]);
    assert!(run.code == 2 && run.says(&["--rootdir"]) && !image.exists(), "{run:?}");
}

#[test]
fn what_cannot_be_shared_is_found_out_before_anything_is_lost() {
    let scratch = Scratch::new();
    let Some(host) = Host::btrfs("noatime", &scratch) else { return };
    let (root, elsewhere) = (host.directory("root"), scratch.path("elsewhere.img"));
    refused(&root, &elsewhere, &[], &["root", "elsewhere.img", "different filesystems", "without --reflink"]);
    fs::write(&elsewhere, tree::noise(200 << 20, 1)).unwrap();
    let run = mkfs(&["-f", "--reflink", "-r", root.to_str().unwrap(), elsewhere.to_str().unwrap()], &[]);
    assert!(run.code == 2 && run.says(&["different filesystems"]), "{run:?}");
    assert!(fs::read(&elsewhere).unwrap() == tree::noise(200 << 20, 1), "what stood there is lost");
    let Some(device) = or_skip(attach(&scratch.zeros("device.img", 200 << 20))) else { return };
    let run = mkfs(&["--reflink", "-r", root.to_str().unwrap(), &device], &[]);
    detach(&device);
    assert!(run.code == 2 && run.says(&[&device, "block device", "without --reflink"]), "{run:?}");
}

#[test]
fn a_filesystem_without_shared_blocks_is_named() {
    let scratch = Scratch::new();
    if !is_root() {
        return;
    }
    let Some(host) = or_skip(Host::new("ext4", "noatime", &scratch)) else { return };
    let root = host.directory("root");
    fs::write(root.join("file"), tree::noise(9000, 1)).unwrap();
    refused(&root, &host.path("image"), &[], &["root", "image", "no shared blocks", "without --reflink"]);
}

#[test]
fn a_file_that_cannot_be_shared_is_named() {
    let scratch = Scratch::new();
    let Some(host) = Host::btrfs("noatime", &scratch) else { return };
    let root = host.directory("root");
    let (below, other) = (host.directory("root/below"), scratch.new_directory());
    fs::write(other.join("far away"), tree::noise(9000, 1)).unwrap();
    tool("mount", ["--bind".as_ref(), other.as_os_str(), below.as_os_str()]).unwrap();
    let image = host.path("image");
    let outcome = std::panic::catch_unwind(|| {
        refused(&root, &image, &[], &["far away", "different filesystems", "without --reflink"]);
    });
    tool("umount", [&below]).unwrap();
    outcome.unwrap();
    // btrfs shares nothing between files of which one has checksums.
    let unsummed = File::create(root.join("unsummed")).unwrap();
    tool("chattr", ["+C".as_ref(), root.join("unsummed").as_os_str()]).unwrap();
    unsummed.write_all_at(&tree::noise(9000, 1), 0).unwrap();
    refused(&root, &image, &[], &["unsummed", "Invalid argument", "without --reflink"]);
}

#[test]
fn a_file_that_changes_is_not_shared_as_it_was_not_summed() {
    let scratch = Scratch::new();
    let Some(host) = Host::btrfs("noatime", &scratch) else { return };
    let root = host.directory("root");
    let (path, image) = (root.join("restless"), host.path("image"));
    // One piece, for a change would be seen by the next that is read; and sums that take their time.
    fs::write(&path, tree::noise(1 << 20, 3)).unwrap();
    let run = |change: &dyn Fn()| {
        let mut command = Command::new(PROGRAM);
        command
            .args(["mkfs", "--csum", "blake2", "--reflink", "-r"])
            .args([&root, &image])
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let child = command.spawn().unwrap();
        change();
        Run::of(child.wait_with_output().unwrap())
    };
    let begun = Instant::now();
    assert_eq!(run(&|| ()).code, 0);
    let time = begun.elapsed();
    let file = File::options().write(true).open(&path).unwrap();
    for number in 0..50 {
        let _ = fs::remove_file(&image);
        let made = run(&|| {
            std::thread::sleep(time * number / 50);
            file.write_all_at(&tree::noise(4096, u64::from(number) + 100), 500_000).unwrap();
        });
        if made.code == 0 {
            output_of("check --check-data-csum", std::slice::from_ref(&image));
        } else {
            assert!(made.says(&["restless", "changed"]), "{made:?}");
            assert!(!image.exists(), "a file was left behind");
        }
        // What is changed within one tick of the clock looks the same.
        std::thread::sleep(Duration::from_millis(20));
    }
}
