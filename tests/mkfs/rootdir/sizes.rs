//! How large images become, and how their chunks.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use rbtrfs::disk::Profile;
use rbtrfs::disk::flags::block_group;

use super::{assert_sound, make, mkfs, tree};
use crate::support::mounted::{self, Mounted};
use crate::support::{Scratch, mkfs_btrfs, or_skip, run_rbtrfs};

const MIB: u64 = 1 << 20;

fn directory(scratch: &Scratch, files: impl Iterator<Item = Vec<u8>>) -> PathBuf {
    let root = scratch.new_directory();
    files.enumerate().for_each(|(name, bytes)| fs::write(root.join(name.to_string()), bytes).unwrap());
    root
}

fn few(scratch: &Scratch) -> PathBuf {
    directory(scratch, (0..10).map(|number| tree::noise(1500 * number, 1)))
}

/// Files that stand in leaves, no two of them in one leaf of 4 KiB.
fn inline(scratch: &Scratch) -> PathBuf {
    directory(scratch, (0..3000).map(|number| tree::noise(2000, number)))
}

/// Extents, so many that the trees that describe space are large.
fn extents(scratch: &Scratch) -> PathBuf {
    directory(scratch, (0..30_000).map(|_| vec![1; 2100]))
}

fn data(scratch: &Scratch) -> PathBuf {
    let files = (0..300).map(|number| tree::noise(100_000 + number, number as u64));
    directory(scratch, files.chain([tree::noise(20 << 20, 7)]))
}

fn text(scratch: &Scratch) -> PathBuf {
    directory(scratch, (0..4).map(|_| tree::text(10 << 20)))
}

fn chunks_of(image: &Path, kind: u64) -> usize {
    let volume = crate::support::open(&[image.to_owned()]);
    volume.chunks().iter().filter(|chunk| chunk.flags.contains(kind)).count()
}

#[test]
fn metadata_of_the_content_needs_no_second_chunk() {
    let scratch = Scratch::new();
    for root in [few(&scratch), inline(&scratch), data(&scratch)] {
        for options in ["", "--shrink", "-n 4096 -m single", "-n 65536", "--csum blake2 -d dup", "--mixed --shrink"] {
            let image = scratch.path("image");
            make(&root, &image, options);
            assert_eq!(chunks_of(&image, block_group::METADATA), 1, "{}: {options}", root.display());
            fs::remove_file(&image).unwrap();
        }
    }
}

/// Bytes in use in chunks of a kind, with all copies, and the number of copies.
fn used(image: &Path, kind: u64) -> (u64, u64) {
    let volume = crate::support::open(&[image.to_owned()]);
    let chunks: Vec<_> = volume.chunks().iter().filter(|chunk| chunk.flags.contains(kind)).collect();
    let copies = if chunks.iter().any(|chunk| chunk.profile == Profile::Dup) { 2 } else { 1 };
    let text = crate::support::output_of("list-chunks --json", &[image.to_owned()]);
    let list: serde_json::Value = serde_json::from_str(&text).unwrap();
    let of = |start: u64| {
        let found = list["chunks"].as_array().unwrap().iter().find(|chunk| chunk["logical"] == start).unwrap();
        found["used"].as_u64().unwrap()
    };
    (chunks.iter().map(|chunk| of(chunk.logical.0)).sum::<u64>() * copies, copies)
}

#[test]
fn a_shrunk_image_is_hardly_larger_than_what_it_holds() {
    let scratch = Scratch::new();
    let usual = ["", "-m single", "-d dup", "-n 4096 -d dup -m single", "--mixed", "--mixed -d dup"];
    let compressed = ["", "-d dup", "--mixed -d dup"].map(|options| format!("--compress zstd {options}"));
    let usual = usual.map(str::to_owned);
    for (root, layouts) in [
        (few(&scratch), &usual[..]),
        (data(&scratch), &usual),
        (inline(&scratch), &usual[3..]),
        (extents(&scratch), &usual[3..5]),
        (data(&scratch), &compressed),
        (text(&scratch), &compressed),
    ] {
        for options in layouts {
            let image = scratch.path("image");
            make(&root, &image, &format!("--shrink {options}"));
            let size = fs::metadata(&image).unwrap().len();
            let nodesize = if options.contains("mixed") || options.contains("4096") { 4096 } else { 16384 };
            let (data, data_copies) = used(&image, block_group::DATA);
            let (metadata, metadata_copies) = used(&image, block_group::METADATA);
            let used = if options.contains("mixed") { data } else { data + metadata };
            // What the kernel wants free, the rounding of chunks, the system chunk, and what is estimated too high of
            // metadata, or of what compression saves.
            let reserve = metadata_copies * (640 * nodesize + metadata / 8 + 2 * MIB);
            let steps = if options.contains("compress") { data / 8 } else { 0 };
            let most = used + reserve + data_copies * 2 * MIB + steps + 3 * MIB;
            assert!(size <= most, "{} {options}: {size} bytes for {used} in use, not {most}", root.display());
            write_to(&image, &format!("{} {options}", root.display()), &scratch);
            fs::remove_file(&image).unwrap();
        }
    }
}

/// Has the kernel write files and remove them.
fn write_to(image: &Path, what: &str, scratch: &Scratch) {
    let Some(mounted) = or_skip(Mounted::new(&[image.to_owned()], "rw", scratch)) else { return };
    let script = "mkdir new && for n in $(seq 50); do echo $n >new/$n; done && sync -f . && \
        head -c 100000 /dev/urandom >new/large && sync -f . && rm -r new && sync -f .";
    let output = Command::new("sh").args(["-ec", script]).current_dir(mounted.path()).output().unwrap();
    assert!(output.status.success(), "{what}: {}", String::from_utf8_lossy(&output.stderr));
    drop(mounted);
    assert_sound(image);
}

#[test]
fn what_an_estimate_does_not_know_has_its_room_too() {
    let scratch = Scratch::new();
    let root = scratch.new_directory();
    for name in 0..4000 {
        let path = root.join(format!("{name}"));
        fs::write(&path, "x").unwrap();
        tree::set_xattr(&path, "user.long", &tree::noise(3000, name));
    }
    for options in ["--shrink", "--shrink -m single", "--shrink --mixed", ""] {
        let image = scratch.path("image");
        make(&root, &image, options);
        write_to(&image, options, &scratch);
        fs::remove_file(&image).unwrap();
    }
}

#[test]
fn an_image_is_no_larger_than_that_of_mkfs_btrfs() {
    let scratch = Scratch::new();
    for root in [few(&scratch), data(&scratch)] {
        for options in ["", "--shrink", "-m single", "-M", "-M --shrink", "-d dup --shrink"] {
            let (ours, theirs) = (scratch.path("ours"), scratch.path("theirs"));
            make(&root, &ours, options);
            let words = options.split_whitespace().chain(["-r", root.to_str().unwrap()]);
            let Some(()) = or_skip(mkfs_btrfs(words, std::slice::from_ref(&theirs))) else { return };
            let [ours, theirs] = [ours, theirs].map(|image| {
                let metadata = fs::metadata(&image).unwrap();
                fs::remove_file(&image).unwrap();
                (metadata.len(), metadata.blocks() * 512)
            });
            // The smallest of theirs cannot be written to.
            let most = theirs.0 + 4 * MIB;
            assert!(ours.0 <= most && ours.1 <= theirs.1, "{} {options}: {ours:?}, {theirs:?}", root.display());
        }
    }
}

fn existing(scratch: &Scratch, name: &str, size: u64) -> PathBuf {
    let path = scratch.path(name);
    File::create(&path).unwrap().set_len(size).unwrap();
    path
}

#[test]
fn a_file_that_is_too_small_for_the_content_grows() {
    let scratch = Scratch::new();
    let (data, inline) = (data(&scratch), inline(&scratch));
    let missing = scratch.path("missing");
    make(&data, &missing, "");
    let wanted = fs::metadata(&missing).unwrap().len();
    for (root, options, size) in [
        (&data, "", 4096),
        (&data, "", 30 * MIB),
        (&data, "", 70 * MIB),
        (&data, "--shrink", 4096),
        (&data, "--compress zstd", 4096),
        (&data, "--compress zstd", 70 * MIB),
        (&data, "--mixed", 30 * MIB),
        (&inline, "", 30 * MIB),
    ] {
        let image = existing(&scratch, "image", size);
        make(root, &image, options);
        let has = fs::metadata(&image).unwrap().len();
        assert!(!options.is_empty() || *root != data || has == wanted, "{size} bytes became {has}, not {wanted}");
        write_to(&image, &format!("{options} {size}"), &scratch);
        fs::remove_file(&image).unwrap();
    }
    // Where the content has room, not a byte is added.
    let image = existing(&scratch, "image", wanted - 10 * MIB);
    make(&data, &image, "");
    assert_eq!(fs::metadata(&image).unwrap().len(), wanted - 10 * MIB);
}

#[test]
fn what_must_not_grow_is_refused_before_it_is_touched() {
    let scratch = Scratch::new();
    let root = data(&scratch);
    let image = scratch.path("image");
    fs::write(&image, vec![7; 40 << 20]).unwrap();
    let is_touched = || fs::read(&image).unwrap() != vec![7; 40 << 20];
    let refused = |options: &[&str], image: &Path| {
        let mut words = options.to_vec();
        words.push(image.to_str().unwrap());
        let run = mkfs(&words, &[]);
        assert!(run.code == 2 && run.says(&["too small"]), "{options:?}: {run:?}");
        assert!(!is_touched(), "{options:?}");
    };
    let root = root.to_str().unwrap();
    refused(&["-r", root, "-b", "60m"], &image);
    refused(&["-r", root, "--size", "1g"], &image);
    let Some(device) = or_skip(mounted::attach(&image)) else { return };
    let refusals = std::panic::catch_unwind(|| {
        refused(&["-r", root], Path::new(&device));
        refused(&["-r", root, "--shrink", "-m", "single"], Path::new(&device));
    });
    mounted::detach(&device);
    refusals.unwrap();
    // What compression saves nobody knows before.
    let text = text(&scratch);
    make(&text, &scratch.path("compressed"), "-b 20m -m single --compress zstd");
    // Nothing tells how large a filesystem without content is to be.
    let small = existing(&scratch, "small", MIB);
    let run = run_rbtrfs("mkfs", std::slice::from_ref(&small));
    assert!(run.code == 2 && run.says(&["too small"]), "{run:?}");
    assert_eq!(fs::metadata(&small).unwrap().len(), MIB);
}

/// One file that comes in any case.
fn dense(scratch: &Scratch) -> PathBuf {
    directory(scratch, [tree::noise(50 << 20, 3)].into_iter())
}

/// A file with a hole, of which most of the rest is allocated and never was written.
fn preallocated(scratch: &Scratch) -> PathBuf {
    let root = directory(scratch, [tree::noise(1 << 20, 3)].into_iter());
    let file = File::options().write(true).open(root.join("0")).unwrap();
    file.set_len(400 << 20).unwrap();
    let allocated = rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, 100 << 20);
    allocated.unwrap();
    root
}

#[test]
fn a_device_that_is_large_enough_is_not_refused_and_a_small_one_is_not_touched() {
    let scratch = Scratch::new();
    let image = scratch.path("image");
    // Content, and a size in MiB that has room for it; one a little smaller has none.
    for (root, options, most) in [
        (dense(&scratch), "-m single", 64),
        (dense(&scratch), "", 76),
        (dense(&scratch), "-d dup", 128),
        (dense(&scratch), "--mixed", 54),
        (dense(&scratch), "--mixed -m dup -d dup", 106),
        (preallocated(&scratch), "-m single", 16),
    ] {
        let root = root.to_str().unwrap();
        let mut last_refused = 0;
        for size in (most - 6..most + 6).rev() {
            let size = size * MIB;
            fs::write(&image, vec![7; size as usize]).unwrap();
            let byte_count = size.to_string();
            let mut words: Vec<&str> = options.split_whitespace().collect();
            words.extend(["-f", "-r", root, "-b", &byte_count, image.to_str().unwrap()]);
            let run = mkfs(&words, &[]);
            match run.code {
                0 => {
                    assert_sound(&image);
                    assert_eq!(last_refused, 0, "{options}: {size} bytes are enough, and {last_refused} were not");
                }
                _ => {
                    assert!(run.says(&["too small"]), "{options} {size}: {run:?}");
                    assert!(fs::read(&image).unwrap().iter().all(|byte| *byte == 7), "{options} {size}: touched");
                    assert!(size < most * MIB, "{options}: {size} bytes are enough");
                    last_refused = size;
                }
            }
        }
        assert!(last_refused > 0, "{options}: nothing was refused");
    }
}
