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
