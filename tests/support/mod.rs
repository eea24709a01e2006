//! What the integration tests share: images, runs of the program, and what a machine must have for a test.

#![allow(dead_code, reason = "each test file uses a part of this")]

pub mod change;
pub mod contents;
pub mod corpus;
pub mod crash;
pub mod damage;
pub mod damages;
pub mod extents;
pub mod failing_disk;
pub mod file_disk;
pub mod inject;
pub mod limits;
pub mod meeting;
pub mod mounted;
pub mod profiles;
pub mod random;
pub mod recording_disk;
pub mod reference;
pub mod repaired;
pub mod small_disk;
#[path = "../fixtures/small_image.rs"]
pub mod small_image;
pub mod soundness;
pub mod staged;
pub mod store;

use std::ffi::{OsStr, OsString};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};

use rbtrfs::check::Options;
use rbtrfs::disk::Physical;
use rbtrfs::image::Image;
use rbtrfs::problem::Problem;
use rbtrfs::progress::Progress;
use rbtrfs::survey::{Survey, gather};
use rbtrfs::volume::Volume;

pub const PROGRAM: &str = env!("CARGO_BIN_EXE_rbtrfs");

/// Whether a test may go on that needs what need not be there, such as root or btrfs-progs. In CI, where CI=true, a test
/// that cannot run is one that fails. Elsewhere it is said to be skipped.
pub fn require(test: &str, present: bool, reason: &str) -> bool {
    if present {
        return true;
    }
    assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "{test} cannot run: {reason}");
    say_skipped(test, reason);
    false
}

/// To libtest a test that is skipped is one that passed. So a line `skipped: TEST: REASON` is written to stderr, past the
/// place where libtest keeps what tests print, and `TEST: REASON` to the file `skipped-tests` in the target directory.
fn say_skipped(test: &str, reason: &str) {
    let line = format!("{}::{test}: {}\n", env!("CARGO_CRATE_NAME"), reason.trim().replace('\n', "; "));
    std::io::stderr().write_all(format!("skipped: {line}").as_bytes()).unwrap();
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("skipped-tests");
    let mut file = OpenOptions::new().append(true).create(true).open(path).unwrap();
    file.write_all(line.as_bytes()).unwrap();
}

/// What the test that calls this needs, or nothing where the machine does not have it: then the test is to return.
#[track_caller]
pub fn or_skip<T>(needed: Result<T, String>) -> Option<T> {
    let caller = std::panic::Location::caller().to_string();
    let thread = std::thread::current();
    // Threads of the test itself have no name, and a test that runs alone has that of the program.
    let test = thread.name().filter(|name| *name != "main").unwrap_or(&caller);
    let skip = |reason: String| require(test, false, &reason);
    needed.map_err(skip).ok()
}

/// `tests/fixtures/kernel-images`, which exits with 2 where the machine lacks something.
fn kernel_images(arguments: &[&OsStr]) -> Result<String, String> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/kernel-images");
    let output = Command::new(script).args(arguments).output().unwrap();
    let message = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    match output.status.code() {
        Some(0) => Ok(String::from_utf8(output.stdout).unwrap()),
        Some(2) => Err(message),
        _ => panic!("{message}"),
    }
}

/// The names of the images that can be made here; none where `test` is to be skipped. Of those that this kernel or this
/// btrfs-progs cannot make the test is said to be skipped; no machine makes all of them.
pub fn kernel_image_names(test: &str) -> Vec<String> {
    let listed = kernel_images(&["list".as_ref(), "--all".as_ref()]);
    require(test, listed.is_ok(), listed.as_ref().err().map_or("", String::as_str));
    let listed = listed.unwrap_or_default();
    let (lacking, names): (Vec<&str>, Vec<&str>) = listed.lines().partition(|line| line.contains(':'));
    if !lacking.is_empty() {
        say_skipped(test, &lacking.join("; "));
    }
    names.into_iter().map(str::to_owned).collect()
}

/// The images, in the order of device ids, of a filesystem that `tests/fixtures/kernel-images` makes. They are kept from
/// run to run: a test that changes one takes a copy.
pub fn kernel_image(name: &str) -> Vec<PathBuf> {
    try_kernel_image(name).unwrap()
}

fn try_kernel_image(name: &str) -> Result<Vec<PathBuf>, String> {
    let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join("kernel-images");
    let directory = kept.join(name);
    if !directory.is_dir() {
        kernel_images(&["make".as_ref(), kept.as_ref(), name.as_ref()])?;
    }
    let images = (0..).map(|number| directory.join(format!("{number}.img")));
    Ok(images.take_while(|image| image.exists()).collect())
}

/// As [`kernel_image`]; nothing where the test that calls this is to be skipped.
pub fn kernel_image_or_skip(name: &str) -> Option<Vec<PathBuf>> {
    or_skip(try_kernel_image(name))
}

/// Copies that a test may change, named as the kernel names them.
pub fn copy_of_kernel_image_or_skip(name: &str, scratch: &Scratch) -> Option<Vec<PathBuf>> {
    Some(kernel_image_or_skip(name)?.iter().map(|image| scratch.copy(image)).collect())
}

/// A directory of one test, removed at its end.
pub struct Scratch(PathBuf);

impl Scratch {
    pub fn new() -> Self {
        Self::within(&std::env::temp_dir())
    }

    /// Where the system has one, in a file system in memory: a barrier takes no time there.
    pub fn in_memory() -> Self {
        let memory = Path::new("/dev/shm");
        if memory.is_dir() { Self::within(memory) } else { Self::new() }
    }

    fn within(directory: &Path) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = directory.join(format!("rbtrfs-test-{}-{number}", std::process::id()));
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub fn directory(&self) -> &Path {
        &self.0
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// A copy under the same name; holes stay holes.
    pub fn copy(&self, file: &Path) -> PathBuf {
        copies(std::slice::from_ref(&file.to_owned()), &self.0).remove(0)
    }

    pub fn new_directory(&self) -> PathBuf {
        let number = std::fs::read_dir(&self.0).unwrap().count();
        let path = self.path(&format!("directory-{number}"));
        std::fs::create_dir(&path).unwrap();
        path
    }

    /// A new file of zeros.
    pub fn zeros(&self, name: &str, size: u64) -> PathBuf {
        let path = self.path(name);
        File::create(&path).unwrap().set_len(size).unwrap();
        path
    }
}

/// Copies under the same names in another directory; holes stay holes.
pub fn copies(files: &[PathBuf], directory: &Path) -> Vec<PathBuf> {
    let options = ["--sparse=always", "--reflink=auto"].map(OsStr::new);
    let files_and_directory = files.iter().map(PathBuf::as_path).chain([directory]).map(Path::as_os_str);
    tool("cp", options.into_iter().chain(files_and_directory)).unwrap();
    files.iter().map(|file| directory.join(file.file_name().unwrap())).collect()
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// What another program printed; that it is not there is for [`or_skip`]. That it fails is a failure.
pub fn tool(name: &str, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Result<String, String> {
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
    let output =
        Command::new(name).args(arguments).env("PATH", path).output().map_err(|error| format!("{name}: {error}"))?;
    assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Has `mkfs.btrfs` make a filesystem on images or devices, with the features that its version 6.2 has by itself, whichever
/// version it is: `options` come after them.
pub fn mkfs_btrfs(
    options: impl IntoIterator<Item = impl AsRef<OsStr>>,
    images: &[impl AsRef<OsStr>],
) -> Result<(), String> {
    let mut words: Vec<OsString> =
        ["-q", "-O", "extref,skinny-metadata,no-holes", "-R", "free-space-tree"].map(OsString::from).into();
    // Since 6.19 it has it by itself; 6.2 does not take the word.
    if mkfs_features()?.contains("\nblock-group-tree ") {
        words.extend(["-O", "^block-group-tree"].map(OsString::from));
    }
    words.extend(options.into_iter().map(|word| word.as_ref().to_owned()));
    words.extend(images.iter().map(|image| image.as_ref().to_owned()));
    tool("mkfs.btrfs", words).map(drop)
}

/// The features that `mkfs.btrfs` lists.
fn mkfs_features() -> Result<String, String> {
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
    let output = Command::new("mkfs.btrfs").args(["-O", "list-all"]).env("PATH", path).output();
    let output = output.map_err(|error| format!("mkfs.btrfs: {error}"))?;
    Ok([output.stdout, output.stderr].iter().map(|text| String::from_utf8_lossy(text)).collect())
}

/// How a run of the program ended. It ended by itself: death by a signal or a panic is a failure wherever it occurs.
#[derive(Debug, PartialEq, Eq)]
pub struct Run {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Run {
    pub fn of(output: Output) -> Self {
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        let code = output.status.code().unwrap_or_else(|| panic!("died: {}: {stderr}", output.status));
        assert!(!stderr.contains("panicked"), "{stderr}");
        Self { code, stdout: String::from_utf8_lossy(&output.stdout).into_owned(), stderr }
    }

    /// Whether one line of the messages contains all of `parts`.
    pub fn says(&self, parts: &[&str]) -> bool {
        self.stderr.lines().any(|line| parts.iter().all(|part| line.contains(part)))
    }
}

/// Runs a command of `rbtrfs`, however it ends.
pub fn rbtrfs(command: &str, options: &[&str], images: &[impl AsRef<OsStr>]) -> Output {
    Command::new(PROGRAM).arg(command).args(options).args(images).output().unwrap()
}

/// Runs `rbtrfs` with the words of `command`, and then images.
pub fn run_rbtrfs(command: &str, images: &[PathBuf]) -> Run {
    let words: Vec<&str> = command.split_whitespace().collect();
    Run::of(rbtrfs(words[0], &words[1..], images))
}

/// What a command prints of sound images: there is nothing to say but that.
pub fn output_of(command: &str, images: &[PathBuf]) -> String {
    let run = run_rbtrfs(command, images);
    assert_eq!((run.code, run.stderr.as_str()), (0, ""), "{command} {images:?}");
    run.stdout
}

/// Opens for a look beside changes: a map would keep them out while the volume is there.
pub fn open(images: &[PathBuf]) -> Volume {
    Volume::open(images.iter().map(|image| Image::open_unmapped(image).unwrap()).collect()).unwrap()
}

pub fn open_mapped(images: &[PathBuf]) -> Volume {
    Volume::open(images.iter().map(|image| Image::open(image).unwrap()).collect()).unwrap()
}

/// The problems of a filesystem, its data not read.
pub fn check(volume: &Volume, threads: usize) -> Vec<Problem> {
    check_with(volume, threads, false)
}

/// The problems of a filesystem, its data read.
pub fn check_data(volume: &Volume, threads: usize) -> Vec<Problem> {
    check_with(volume, threads, true)
}

fn check_with(volume: &Volume, threads: usize, check_data_csum: bool) -> Vec<Problem> {
    let progress = Progress::default();
    let options = Options { threads, memory: 1 << 30, progress: &progress, count_qgroups: false, check_data_csum };
    rbtrfs::check::check(volume, &options).unwrap().problems
}

/// The facts of a filesystem.
pub fn survey(volume: &Volume) -> Survey {
    survey_with(volume, 2, 1 << 30, false)
}

/// The same, with a record of each block if `keep_blocks`.
pub fn survey_with(volume: &Volume, threads: usize, memory: u64, keep_blocks: bool) -> Survey {
    let progress = Progress::default();
    let options = rbtrfs::survey::Options { threads, memory, progress: &progress, count_qgroups: false, keep_blocks };
    gather(volume, &options).unwrap()
}

/// The same bytes in both, image by image.
#[track_caller]
pub fn assert_identical(images: &[PathBuf], others: &[PathBuf], what: &str) {
    assert_eq!(images.len(), others.len(), "{what}");
    for (image, other) in images.iter().zip(others) {
        let differing = first_difference(image, other);
        assert!(differing.is_none(), "{what}: {image:?} and {other:?} differ at {differing:?}");
    }
}

/// The first byte that differs. What is a hole in both is not read.
fn first_difference(image: &Path, other: &Path) -> Option<u64> {
    const LONGEST: u64 = 1 << 20;
    let both = [image, other].map(|path| Image::open_unmapped(path).unwrap());
    let size = both[0].size();
    if size != both[1].size() {
        return Some(size.min(both[1].size()));
    }
    let mut buffers = [Vec::new(), Vec::new()];
    let mut position = 0;
    loop {
        let next = both.iter().filter_map(|image| image.next_data(Physical(position))).min_by_key(|range| range.start);
        position = next?.start;
        let length = LONGEST.min(size - position) as usize;
        for (image, buffer) in both.iter().zip(&mut buffers) {
            buffer.resize(length, 0);
            image.read(Physical(position), buffer).unwrap();
        }
        let [one, other] = &buffers;
        if one != other {
            return Some(position + one.iter().zip(other).take_while(|(one, other)| one == other).count() as u64);
        }
        position += length as u64;
    }
}

/// Puts `change`d bytes in the place of those that are there; returns what was there.
pub fn change(image: &Path, offset: u64, length: usize, change: impl FnOnce(&mut [u8])) -> Vec<u8> {
    let file = OpenOptions::new().read(true).write(true).open(image).unwrap();
    let mut bytes = vec![0; length];
    file.read_exact_at(&mut bytes, offset).unwrap();
    let before = bytes.clone();
    change(&mut bytes);
    file.write_all_at(&bytes, offset).unwrap();
    before
}
