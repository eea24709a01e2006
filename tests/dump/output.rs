//! Where a dump goes: a reader that has seen enough, a disk that is full.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

fn image(name: &str) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    let file = File::create(&path).unwrap();
    crate::support::small_image::write_small_image(&crate::support::small_image::Options::default(), &file).unwrap();
    path
}

fn command(command: &str, options: &[&str], image: &Path) -> Command {
    let mut rbtrfs = Command::new(env!("CARGO_BIN_EXE_rbtrfs"));
    rbtrfs.arg(command).args(options).arg(image).stderr(Stdio::piped());
    rbtrfs
}

const DUMPS: [(&str, &[&str]); 7] = [
    ("dump-tree", &[]),
    ("dump-tree", &["--json"]),
    ("dump-tree", &["--json-lines"]),
    ("dump-super", &["-fa"]),
    ("dump-super", &["--json"]),
    ("list-chunks", &[]),
    ("list-chunks", &["--json"]),
];

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let image = image("closed-pipe.img");
    for (name, options) in DUMPS {
        let mut child = command(name, options, &image).stdout(Stdio::piped()).spawn().unwrap();
        let mut pipe = child.stdout.take().unwrap();
        let _ = pipe.read(&mut [0; 1]).unwrap();
        drop(pipe);
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{name} {options:?}");
        assert!(output.stderr.is_empty(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn checksums_are_printed_as_they_are_stored() {
    let image = image("checksum.img");
    let volume = crate::support::open(std::slice::from_ref(&image));
    let root = volume.superblock().root();
    let (_, physical) = volume.place(root, 1).unwrap();
    let mut stored = String::new();
    crate::support::change(&image, physical.0, 4, |csum| {
        csum[0] ^= 1;
        stored = csum.iter().fold("0x".to_owned(), |text, byte| format!("{text}{byte:02x}"));
    });
    let output = command("dump-tree", &["-t", "root"], &image).output().unwrap();
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(message.contains(&format!("checksum mismatch, have {stored} expect 0x")), "{message}");
}

#[test]
fn a_copy_that_is_not_there_does_not_hide_the_others() {
    let image = image("copies.img");
    let size = image.metadata().unwrap().len();
    File::options().write(true).open(&image).unwrap().set_len(size.max(65 << 20)).unwrap();
    let run = |options: &[&str]| {
        let mut dump = command("dump-super", options, &image);
        crate::support::Run::of(dump.arg("/no-such-image").arg(&image).output().unwrap())
    };
    // The first image and the last have one copy, and the one between them none.
    let all = run(&["-a"]);
    assert_eq!((all.code, all.stdout.matches("superblock: bytenr=65536").count()), (2, 2), "{}", all.stderr);
    assert_eq!(all.stderr.lines().count(), 3, "{}", all.stderr);
    // No copy of a device that is too short for it.
    let short = command("dump-super", &["-s", "2"], &image).output().unwrap();
    assert_eq!((short.status.code(), short.stdout.len(), short.stderr.len()), (Some(0), 0, 0));
}

#[test]
fn anything_is_printed_by_force() {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("anything.img");
    let mut random = crate::support::random::Random(7);
    for _ in 0..20 {
        let bytes: Vec<u8> = std::iter::repeat_with(|| random.next().to_le_bytes()).take(9000).flatten().collect();
        std::fs::write(&path, bytes).unwrap();
        for options in [&["-F"][..], &["-fF"], &["-faF"], &["-F", "--json"], &["-fF", "--bytenr", "1"]] {
            let output = command("dump-super", options, &path).output().unwrap();
            let message = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(0), "{options:?}: {message}");
            assert!(output.stdout.len() > 1000, "{options:?}: {message}");
        }
        let output = command("dump-super", &[], &path).output().unwrap();
        assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0));
    }
}

#[test]
fn a_full_disk_is_an_error() {
    let image = image("full-disk.img");
    for (name, options) in DUMPS {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let output = command(name, options, &image).stdout(full).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{name} {options:?}");
        let message = String::from_utf8_lossy(&output.stderr);
        assert!(message.contains("No space left on device") && message.lines().count() == 1, "{name}: {message}");
    }
}
