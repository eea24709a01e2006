//! What a repair comes to: the verdict of others, the files that are as they were, and what `btrfs check --repair` makes of the
//! same damage.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use rbtrfs::files::{FileKind, Files, Start};
use rbtrfs::finding::Finding;
use rbtrfs::image::Image;
use rbtrfs::repair::Repaired;
use rbtrfs::volume::Volume;

use crate::support::Scratch;
use crate::support::inject::Injector;
use crate::support::mounted::{Mounted, btrfs_check_output};

/// No file of the filesystems that are tried is longer.
const LONGEST: u64 = 1 << 30;

/// A sum of what each file holds, by its path.
pub type Contents = BTreeMap<Vec<u8>, u64>;

/// What can be read of the files of a filesystem.
pub fn contents(images: &[PathBuf]) -> Contents {
    let mut found = BTreeMap::new();
    let opened = images.iter().map(|image| Image::open_unmapped(image).unwrap()).collect();
    let Ok(volume) = Volume::open(opened) else { return found };
    let Ok(files) = Files::open(&volume, Start::TopLevel) else { return found };
    for entry in files.walk(files.root()).flatten() {
        let mut hash = xxhash_rust::xxh64::Xxh64::new(0);
        if entry.entry.kind == FileKind::File {
            let Ok(file) = files.file(entry.entry.inode) else { continue };
            // What remains of a size may be as large as a number can be.
            let mut file = file.take(LONGEST);
            let mut bytes = vec![0; 1 << 16];
            let is_read = loop {
                match file.read(&mut bytes) {
                    Ok(0) => break true,
                    Ok(read) => hash.update(&bytes[..read]),
                    Err(_) => break false,
                }
            };
            if !is_read {
                continue;
            }
        }
        found.insert(entry.path.clone(), hash.digest());
    }
    found
}

/// How many files are as they were, of how many.
pub fn share(before: &Contents, after: &Contents) -> (usize, usize) {
    let is_saved = |(path, hash): &(&Vec<u8>, &u64)| after.get(*path) == Some(*hash);
    (before.iter().filter(is_saved).count(), before.len())
}

/// In a word what a repair of `images` came to. That it calls clean what others do not is a failure.
pub fn judge(images: &[PathBuf], outcome: &rbtrfs::Result<Repaired>) -> &'static str {
    match outcome {
        Err(_) => "refused",
        Ok(repaired) if repaired.is_clean() => {
            let judged = btrfs_check_output(images).unwrap();
            assert!(judged.status.success(), "{}", String::from_utf8_lossy(&judged.stderr));
            let scratch = Scratch::in_memory();
            let mounted = Mounted::new(images, "ro", &scratch).unwrap();
            mounted.contents();
            "clean"
        }
        Ok(repaired) if repaired.is_better() => "better",
        Ok(_) => "left",
    }
}

/// The repair ended clean, made this fix and gave up nothing.
pub fn assert_mended_by(code: &str, images: &[PathBuf], outcome: rbtrfs::Result<Repaired>, what: &str) {
    let told = outcome.as_ref().map(|repaired| (&repaired.fixes, &repaired.stopped));
    assert_eq!(judge(images, &outcome), "clean", "{what}: {told:?}");
    let repaired = outcome.unwrap();
    assert!(repaired.fixes.iter().any(|fix| fix.code() == code), "{what}: {:?}", repaired.fixes);
    assert_eq!(repaired.given_up().count(), 0, "{what}: {:?}", repaired.fixes);
}

/// A number that a run is told by a variable of the environment.
pub fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |text| text.parse().expect("a number"))
}

/// Whether a run is to try `btrfs check --repair`, too.
pub fn is_beside() -> bool {
    std::env::var_os("RBTRFS_REPAIR_BESIDE").is_some()
}

/// Has `btrfs check --repair` try what it can, and returns whether `btrfs check` finds nothing then, and the files.
pub fn beside(images: &[PathBuf]) -> (&'static str, Contents) {
    let other = Injector::new(images);
    let run = |options: &[&str]| {
        let arguments = ["60", "btrfs", "check", "--force"];
        Command::new("timeout")
            .args(arguments)
            .args(options)
            .arg(&other.images()[0])
            .stdin(Stdio::null())
            .output()
            .unwrap()
    };
    let repaired = run(&["--repair"]);
    if !repaired.status.success() && String::from_utf8_lossy(&repaired.stderr).contains("init-extent-tree") {
        run(&["--repair", "--init-extent-tree"]);
    }
    let verdict = if run(&["--readonly"]).status.success() { "clean" } else { "left" };
    (verdict, contents(other.images()))
}
