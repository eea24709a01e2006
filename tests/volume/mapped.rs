//! Images are mapped, and a page that cannot be read is a read error: no signal, and no wrong verdict.

use std::fs::OpenOptions;
use std::ops::Range;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::support::contents::{first_leaf, place};
use crate::support::failing_disk::FailingDisk;
use crate::support::file_disk::{FileDisk, Hooks};
use crate::support::random::Random;
use crate::support::{
    PROGRAM, Run, Scratch, copy_of_kernel_image_or_skip, kernel_image_or_skip, open_mapped, or_skip, run_rbtrfs,
};
use fuser::Errno;
use rbtrfs::disk::objectid;
use rbtrfs::image::Image;
use rbtrfs::tree::{Levels, TreeRoot, Walk};

/// The ranges of an image that are mapped by this process.
fn maps_of(path: &Path) -> usize {
    let path = path.canonicalize().unwrap();
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    maps.lines().filter(|line| line.ends_with(path.to_str().unwrap())).count()
}

fn cut(image: &Path, size: u64) {
    OpenOptions::new().write(true).open(image).unwrap().set_len(size).unwrap();
}

#[test]
fn a_block_is_viewed_where_it_lies() {
    let scratch = Scratch::new();
    let Some(images) = copy_of_kernel_image_or_skip("single", &scratch) else { return };
    let volume = open_mapped(&images);
    let root = TreeRoot::root_tree(&volume).expected();
    let mut buffer = Vec::new();
    volume.read_block(&root, &mut buffer).ok().unwrap();
    assert!(buffer.is_empty(), "the block was copied");
    assert_eq!(maps_of(&images[0]), 1);
}

/// What another process may write is read by `pread`: its bytes would change under a view.
#[test]
fn what_others_may_write_is_not_mapped() {
    let scratch = Scratch::new();
    let Some(images) = copy_of_kernel_image_or_skip("single", &scratch) else { return };
    let is_mapped = || {
        let image = Image::open(&images[0]).unwrap();
        image.view(rbtrfs::disk::Physical(0), 4096).is_some()
    };
    assert!(is_mapped());
    let writer = OpenOptions::new().write(true).open(&images[0]).unwrap();
    assert!(!is_mapped(), "the image is open for writing");
    drop(writer);
    let locked = std::fs::File::open(&images[0]).unwrap();
    locked.lock().unwrap();
    assert!(!is_mapped(), "the image is locked");
    drop(locked);
    assert!(is_mapped());
    let own = Image::open_for_writing(&images[0]).unwrap();
    assert!(own.view(rbtrfs::disk::Physical(0), 4096).is_none(), "the image is written by this process");
    drop(own);
    assert!(Image::open_unmapped(&images[0]).unwrap().view(rbtrfs::disk::Physical(0), 4096).is_none());
}

/// A writer and a reader keep each other out, also across processes.
#[test]
fn an_image_is_not_changed_while_it_is_mapped() {
    let scratch = Scratch::new();
    let Some(images) = copy_of_kernel_image_or_skip("single", &scratch) else { return };
    let volume = open_mapped(&images);
    assert_eq!(maps_of(&images[0]), 1);
    let run = run_rbtrfs("chunk-alloc --type data", &images);
    assert!(run.code == 2 && run.says(&["in use", "locked"]), "{}", run.stderr);
    drop(volume);
    let run = run_rbtrfs("chunk-alloc --type data", &images);
    assert_eq!(run.code, 0, "{}", run.stderr);
}

/// Both ways of reading say the same of a disk with unreadable places, in all commands that read.
#[test]
fn an_unreadable_page_is_what_an_unreadable_range_is() {
    let Some(images) = kernel_image_or_skip("dup") else { return };
    let volume = open_mapped(&images);
    let logical = first_leaf(&volume, objectid::FS_TREE).logical;
    let places = [1, 2].map(|mirror| place(&volume, logical, mirror).1);
    let page = |place: u64| place + 4096..place + 8192;
    for unreadable in [vec![page(places[0])], vec![page(places[1])], places.map(page).to_vec()] {
        for command in ["check", "check --json", "check --check-data-csum", "dump-tree", "list-chunks"] {
            let scratch = Scratch::new();
            let Some(disk) = or_skip(FailingDisk::new(&images[0], unreadable.clone(), &scratch)) else { return };
            // Each from a page cache of its own.
            let mapped = run_rbtrfs(command, &[disk.image()]);
            drop(disk);
            let disk = FailingDisk::new(&images[0], unreadable.clone(), &scratch).unwrap();
            let read = run_rbtrfs(&format!("{command} --no-map"), &[disk.image()]);
            let same_place = |run: Run| {
                // The time that it took is another one each time.
                let lines = run.stdout.lines().filter(|line| !line.starts_with("checked "));
                let stdout: String = lines.map(|line| format!("{line}\n")).collect();
                (run.code, stdout, run.stderr.replace(disk.image().to_str().unwrap(), "disk"))
            };
            let (mapped, read) = (same_place(mapped), same_place(read));
            assert_eq!(mapped.0, read.0, "{command}: {} {}", mapped.1, mapped.2);
            assert_eq!(mapped.2.lines().count(), read.2.lines().count(), "{command}: {}{}", mapped.2, read.2);
            assert_eq!(mapped.1.len(), read.1.len(), "{command}");
            if command.starts_with("check") {
                assert_eq!(mapped.0, 1);
                assert!(mapped.1.contains("nput/output error"), "{command}: {}", mapped.1);
            }
        }
    }
}

/// A file is cut at some moment of a check. It ends with a verdict on what is there, or with an error, never with a signal; and
/// a filesystem of which something is gone is never called sound.
#[test]
fn a_file_cut_amid_a_check_is_no_signal_and_no_false_verdict() {
    let Some(_) = kernel_image_or_skip("deep") else { return };
    let mut random = Random(7);
    let (mut sound, mut damaged) = (0, 0);
    for round in 0..24 {
        let scratch = Scratch::new();
        let Some(images) = copy_of_kernel_image_or_skip("deep", &scratch) else { return };
        let mut child = Command::new(PROGRAM)
            .args(["check", "--threads", if round % 2 == 0 { "1" } else { "3" }])
            .args(&images)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_micros(random.below(60_000) as u64));
        let is_over = child.try_wait().unwrap().is_some();
        cut(&images[0], 1 << 20);
        let run = child.wait_with_output().unwrap();
        let text = String::from_utf8_lossy(&run.stdout).into_owned() + &String::from_utf8_lossy(&run.stderr);
        match run.status.code() {
            // All was read before.
            Some(0) => sound += 1,
            Some(1 | 2) => {
                assert!(!is_over && text.contains("1048576"), "{text}");
                damaged += 1;
            }
            _ => panic!("{}: {text}", run.status),
        }
    }
    assert!(damaged > 0, "{sound} checks were all over too early");
}

/// What is found in the image after it was cut is what a fresh check finds.
#[test]
fn a_check_of_a_file_that_was_cut_after_it_was_opened_finds_what_a_fresh_one_finds() {
    let scratch = Scratch::new();
    let Some(images) = copy_of_kernel_image_or_skip("dup", &scratch) else { return };
    let volume = open_mapped(&images);
    // Half of the blocks are gone.
    let walk = Walk::new(&volume, TreeRoot::root_tree(&volume).expected(), Levels::All);
    let mut places: Vec<u64> = walk.map(|block| place(&volume, block.logical, 1).1).collect();
    places.sort_unstable();
    cut(&images[0], places[places.len() / 2]);
    let told = crate::support::check(&volume, 2);
    assert!(!told.is_empty());
    assert!(told.iter().any(|problem| problem.to_string().contains("cannot read")), "{told:?}");
}

struct Broken(Range<u64>);

impl Hooks for Broken {
    const IS_WRITABLE: bool = true;

    fn read(&mut self, _: usize, range: Range<u64>) -> Result<(), Errno> {
        if self.0.start < range.end && range.start < self.0.end { Err(Errno::EIO) } else { Ok(()) }
    }
}

/// A block that chunk-alloc needs and cannot read is an error with its place, and the image stays as it was.
#[test]
fn a_read_error_amid_chunk_alloc_leaves_the_image_whole() {
    let Some(images) = kernel_image_or_skip("single") else { return };
    let volume = open_mapped(&images);
    let blocks: Vec<u64> = [objectid::EXTENT_TREE, objectid::DEV_TREE]
        .map(|tree| place(&volume, first_leaf(&volume, tree).logical, 1).1)
        .to_vec();
    for offset in blocks {
        let scratch = Scratch::new();
        let copies: Vec<PathBuf> = images.iter().map(|image| scratch.copy(image)).collect();
        let Some(disk) = or_skip(FileDisk::new(&copies, Broken(offset..offset + 16384), &scratch)) else { return };
        let run = run_rbtrfs("chunk-alloc --type data", disk.images());
        assert_eq!(run.code, 2, "{}", run.stderr);
        assert!(run.says(&[&format!("offset {offset}"), "nput/output error"]), "{}", run.stderr);
        drop(disk);
        crate::support::assert_identical(&copies, &images, "chunk-alloc");
    }
}

/// The handler of the maps is for maps: a SIGBUS from elsewhere does what it did before.
#[test]
fn a_signal_that_is_no_fault_of_a_map_ends_the_program() {
    let scratch = Scratch::new();
    let Some(images) = copy_of_kernel_image_or_skip("deep", &scratch) else { return };
    let mut child = Command::new(PROGRAM).arg("dump-tree").args(&images).stdout(Stdio::piped()).spawn().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    std::io::Read::read_exact(&mut stdout, &mut [0; 100_000]).unwrap();
    assert!(Command::new("kill").args(["-BUS", &child.id().to_string()]).status().unwrap().success());
    assert_eq!(child.wait().unwrap().signal(), Some(7));
}

/// Where addresses are few, images are read instead of mapped, and everything else goes on.
#[test]
fn a_limit_of_addresses_costs_nothing() {
    let Some(images) = kernel_image_or_skip("deep") else { return };
    let script = format!("ulimit -v 400000; exec {PROGRAM} check --threads 2 \"$@\"");
    let output = Command::new("bash").args(["-c", &script, "bash"]).args(&images).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
}

/// A sparse file of exabytes has no room among the addresses of a process.
#[test]
fn an_image_larger_than_the_addresses_is_read() {
    let scratch = Scratch::new();
    let Some(images) = copy_of_kernel_image_or_skip("single", &scratch) else { return };
    // What most filesystems can hold in one file is less; then the largest that this one can.
    let size = (40..=62)
        .rev()
        .map(|bits| 1u64 << bits)
        .find(|size| OpenOptions::new().write(true).open(&images[0]).unwrap().set_len(*size).is_ok());
    let run = run_rbtrfs("check", &images);
    assert_eq!(run.code, 0, "{size:?}: {}", run.stderr);
}
