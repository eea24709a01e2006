//! What an image held is discarded, or kept if that is asked for.

use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use crate::support::{Scratch, mounted};

const SIZE: usize = 128 << 20;
/// No filesystem so small and empty writes more.
const WRITTEN: u64 = 8 << 20;

/// Makes a filesystem on `target`, which is `image` or a device that is on it, and compares what is left of what was there.
#[track_caller]
fn assert_discards(image: &Path, target: &Path) {
    for (options, keeps) in [("-f", false), ("-f -K", true), ("-f --nodiscard -b 100M", true), ("-f -b 100M", false)] {
        let file = File::options().write(true).create(true).truncate(false).open(image).unwrap();
        file.write_all_at(&vec![7; SIZE], 0).unwrap();
        let run = crate::support::run_rbtrfs(&format!("mkfs {options}"), &[PathBuf::from(target)]);
        assert_eq!(run.code, 0, "{options}: {}", run.stderr);
        let bytes = std::fs::read(image).unwrap();
        let sevens = bytes.iter().filter(|byte| **byte == 7).count() as u64;
        // Of a device, what lies behind the filesystem is somebody else's.
        let own = if options.contains("-b") { 100 << 20 } else { SIZE as u64 };
        let behind = bytes.len() as u64 - own;
        if keeps {
            assert!(sevens + WRITTEN > bytes.len() as u64, "{options}: {sevens} bytes are left");
        } else {
            assert!(sevens < behind + WRITTEN, "{options}: {sevens} bytes are left");
            let allocated = image.metadata().unwrap().blocks() * 512;
            assert!(allocated < behind + WRITTEN, "{options}: {allocated} bytes have blocks");
        }
        assert!(sevens >= behind, "{options}: something was written behind the filesystem");
    }
}

#[test]
fn a_file_gives_its_blocks_back() {
    let scratch = Scratch::new();
    let image = scratch.path("image");
    assert_discards(&image, &image);
}

#[test]
fn a_file_of_nothing_but_a_large_hole_takes_no_time() {
    let scratch = Scratch::new();
    let memory = scratch.new_directory();
    let mounted = crate::support::tool("mount", ["-t", "tmpfs", "large", memory.to_str().unwrap()]);
    if crate::support::or_skip(mounted).is_none() {
        return;
    }
    let image = memory.join("image");
    File::create(&image).unwrap().set_len(4 << 60).unwrap();
    let script = "timeout 20 \"$0\" mkfs -q -f \"$1\"";
    let run = std::process::Command::new("sh").args(["-c", script, crate::support::PROGRAM]).arg(&image).output();
    mounted::unmount(&memory);
    let run = crate::support::Run::of(run.unwrap());
    assert_eq!((run.code, run.stderr.as_str()), (0, ""));
}

#[test]
fn a_device_hears_that_nothing_on_it_is_needed() {
    let scratch = Scratch::new();
    let image = scratch.zeros("image", SIZE as u64);
    let Some(device) = crate::support::or_skip(mounted::attach(&image)) else { return };
    let outcome = std::panic::catch_unwind(|| assert_discards(&image, device.as_ref()));
    mounted::detach(&device);
    if let Err(failure) = outcome {
        std::panic::resume_unwind(failure);
    }
}
