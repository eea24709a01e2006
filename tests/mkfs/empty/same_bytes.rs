//! The same options make the same bytes.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::{PROGRAM, Scratch};

fn made(options: &str, count: usize, dirty: bool, scratch: &Scratch) -> Vec<Vec<u8>> {
    let directory = scratch.new_directory();
    let images: Vec<PathBuf> = (0..count).map(|number| directory.join(format!("{number}.img"))).collect();
    if dirty {
        images.iter().for_each(|image| std::fs::write(image, vec![0xa5; 64 << 20]).unwrap());
    }
    let status = Command::new(PROGRAM)
        .args(["mkfs", "-q", "-b", "64M", "-U", "0f1e2d3c-4b5a-4968-8776-655443322110"])
        .args(options.split_whitespace())
        .args(&images)
        .env("SOURCE_DATE_EPOCH", "1700000000")
        .status();
    assert!(status.unwrap().success());
    let read = |image: &PathBuf| std::fs::read(Path::new(image)).unwrap();
    images.iter().map(read).collect()
}

#[test]
fn two_runs_make_the_same_bytes() {
    for (options, count) in [("", 1), ("-m raid6 -d raid5 -O quota", 3), ("-M --csum blake2", 2)] {
        let scratch = Scratch::new();
        let first = made(options, count, false, &scratch);
        assert!(first == made(options, count, false, &scratch), "{options}");
        // What stood on a file does not show through.
        assert!(first == made(options, count, true, &scratch), "{options}: on a file that was in use");
        let other = made(&format!("{options} -L other"), count, false, &scratch);
        assert!(first != other, "{options}: the label makes no difference");
    }
}

#[test]
fn a_time_that_is_none_is_refused() {
    let scratch = Scratch::new();
    let image = scratch.path("a.img");
    let output = Command::new(PROGRAM).args(["mkfs"]).arg(&image).env("SOURCE_DATE_EPOCH", "today").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(!image.exists());
}
