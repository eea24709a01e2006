//! Balance: which block groups are chosen, what is refused, and what is there afterwards.

mod choice;
mod compact;
mod conversions;
mod paused;
mod pictures;
mod refusals;
#[path = "../support/mod.rs"]
mod support;

use std::path::{Path, PathBuf};

use serde_json::Value;

use support::change::make_filesystem;
use support::mounted::Mounted;
use support::{Scratch, output_of};

const MIB: u64 = 1 << 20;

/// What a command says in JSON.
fn document(command: &str, images: &[PathBuf]) -> Value {
    serde_json::from_str(&output_of(&format!("{command} --json"), images)).unwrap()
}

/// Files of `size` bytes each, which the kernel writes out one after the other.
fn write_files(directory: &Path, name: &str, count: u8, size: u64) {
    for number in 0..count {
        let path = directory.join(format!("{name}-{number}"));
        std::fs::write(&path, vec![number.wrapping_mul(31) | 1; size as usize]).unwrap();
        std::fs::File::open(&path).unwrap().sync_all().unwrap();
    }
}

/// Devices of 1 GiB with small data chunks of three profiles, more and less full. Nothing where the test is to be skipped.
fn varied(scratch: &Scratch) -> Option<Vec<PathBuf>> {
    let images = make_filesystem(&["-d", "single", "-m", "raid1"], 3, 1 << 30, scratch)?;
    // The kernel writes to the strongest profile that there is.
    for (profile, count) in [("single", 3), ("raid0", 2), ("raid1", 3)] {
        output_of(&format!("chunk-alloc --type data --profile {profile} --size 16M --count {count}"), &images);
        let mounted = support::or_skip(Mounted::new(&images, "rw", scratch))?;
        write_files(mounted.path(), profile, 9, 4 * MIB);
        for number in [1, 2, 3, 7] {
            std::fs::remove_file(mounted.path().join(format!("{profile}-{number}"))).unwrap();
        }
    }
    // The kernel removes empty ones by itself.
    let list = document("list-chunks", &images);
    let empty = list["chunks"].as_array().unwrap().iter().filter(|chunk| chunk["used"] == 0);
    let options: String = empty.map(|chunk| format!(" --chunk {}", chunk["logical"])).collect();
    if !options.is_empty() {
        output_of(&format!("chunk-remove{options}"), &images);
    }
    // A chunk behind all others that stays where it is: the kernel would give the address of the last one to the next.
    output_of("chunk-alloc --type metadata --profile single --size 16M", &images);
    Some(images)
}
