//! Filesystems that grow from seeds, beside those that the kernel makes of the same seed.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::support::mounted::{Mounted, btrfs_check};
use super::support::soundness::{assert_sound, assert_sound_with_data};
use super::support::{
    Scratch, assert_identical, copies, copy_of_kernel_image_or_skip, or_skip, output_of, run_rbtrfs, tool,
};
use super::{MIB, assert_whole, contents, document};

fn sprout(seeds: &[PathBuf], new: &Path) -> Vec<PathBuf> {
    output_of(&format!("sprout --new {} --size 400M", new.display()), seeds);
    std::iter::once(new.to_path_buf()).chain(seeds.iter().cloned()).collect()
}

/// The kernel's way: the seed is mounted, and a device is added.
fn sprout_of_kernel(seeds: &[PathBuf], new: &PathBuf, scratch: &Scratch) -> Option<()> {
    std::fs::File::create(new).unwrap().set_len(400 * MIB).unwrap();
    let mounted = or_skip(Mounted::new(seeds, "ro", scratch))?;
    let device = super::support::mounted::attach(new).unwrap();
    let words = ["device", "add", "-f", &device, mounted.path().to_str().unwrap()];
    let added = Command::new("btrfs").args(words).output().unwrap();
    assert!(added.status.success(), "{}", String::from_utf8_lossy(&added.stderr));
    drop(mounted);
    super::support::mounted::detach(&device);
    Some(())
}

/// Device items and chunks, without what depends on the maker and the time.
fn shape(images: &[PathBuf]) -> (Vec<Value>, Vec<Value>) {
    let device = |device: &Value| {
        let names = ["devid", "total_bytes", "seed", "missing"];
        names.iter().map(|name| device[name].clone()).collect::<Value>()
    };
    let devices = document("device list", images)["devices"].as_array().unwrap().iter().map(device).collect();
    let chunk = |chunk: &Value| {
        let stripes = chunk["stripes"].as_array().unwrap().iter().map(|stripe| stripe["devid"].clone());
        let of_seed = stripes.clone().all(|devid| devid == 1);
        // The kernel gives later chunks away as it sees fit.
        let names = ["logical", "length", "profile"];
        let own = || names.iter().map(|name| chunk[name].clone()).collect::<Vec<_>>();
        of_seed.then(|| own().into_iter().chain([chunk["type"].clone()]).collect::<Value>())
    };
    let chunks = document("list-chunks", images)["chunks"].as_array().unwrap().iter().filter_map(chunk).collect();
    (devices, chunks)
}

#[test]
fn a_sprout_is_what_the_kernel_makes_of_the_seed() {
    // The kernel remembers the seeds of what it grows: each is of this test alone.
    for name in ["xxhash", "dup", "nodesize-64k", "mixed"] {
        let scratch = Scratch::in_memory();
        let Some(seeds) = copy_of_kernel_image_or_skip(name, &scratch) else { return };
        let Some(expected) = contents(&seeds, "ro", &scratch) else { return };
        assert_eq!(output_of("tune --seed on", &seeds), "the filesystem is a seed now\n");
        assert_sound(&seeds, name);
        or_skip(btrfs_check(&seeds));
        let before = copies(&seeds, &scratch.new_directory());
        let ours = sprout(&seeds, &scratch.path("ours.img"));
        assert_identical(&seeds, &before, name);
        assert_whole(&ours, &expected, name);
        let theirs = vec![scratch.path("theirs.img"), seeds[0].clone()];
        let Some(()) = sprout_of_kernel(&seeds, &theirs[0], &scratch) else { return };
        assert_eq!(shape(&ours), shape(&theirs), "{name}");

        // A sprout of a sprout.
        output_of("tune --seed on --quiet", &ours);
        let before = copies(&ours, &scratch.new_directory());
        let third = sprout(&ours, &scratch.path("third.img"));
        assert_identical(&ours, &before, name);
        assert_whole(&third, &expected, &format!("{name}, grown twice"));
    }
}

#[test]
fn a_sprout_without_its_seed_stands_alone() {
    for name in ["single", "sha256", "nodesize-4k", "mixed-dup", "snapshots"] {
        let scratch = Scratch::in_memory();
        let Some(seeds) = copy_of_kernel_image_or_skip(name, &scratch) else { return };
        let Some(expected) = contents(&seeds, "ro", &scratch) else { return };
        output_of("tune --seed on --quiet", &seeds);
        let before = copies(&seeds, &scratch.new_directory());
        let all = sprout(&seeds, &scratch.path("new.img"));
        output_of("device remove --devid 1 --quiet", &all);
        assert_identical(&seeds, &before, name);
        assert_sound_with_data(&all[..1], name);
        super::assert_whole_and_writable(&all[..1], &expected, name);
    }
}

#[test]
fn raid1_grows_over_a_seed() {
    let scratch = Scratch::in_memory();
    let Some(seeds) = copy_of_kernel_image_or_skip("single", &scratch) else { return };
    let Some(expected) = contents(&seeds, "ro", &scratch) else { return };
    output_of("tune --seed on --quiet", &seeds);
    let mut all = sprout(&seeds, &scratch.path("new.img"));
    let other = scratch.path("other.img");
    output_of(&format!("device add --quiet --new {} --size 500M", other.display()), &all);
    all.push(other);
    output_of("balance -dconvert=raid1 -mconvert=raid1 --quiet", &all);
    output_of("device remove --devid 1 --quiet", &all);
    let own = [all[0].clone(), all[2].clone()];
    super::assert_whole_and_writable(&own, &expected, "RAID1 over a seed");
    let profiles = document("device list", &own);
    assert!(!profiles.to_string().contains("\"single\""), "{profiles}");
}

#[test]
fn a_seed_is_none_any_more_by_force_alone() {
    let scratch = Scratch::in_memory();
    let Some(images) = copy_of_kernel_image_or_skip("raid1", &scratch) else { return };
    let Some(expected) = contents(&images, "ro", &scratch) else { return };
    assert_eq!(output_of("tune --seed off", &images), "nothing to do: the filesystem is no seed\n");
    output_of("tune --seed on", &images);
    for image in &images {
        let text = or_skip(tool("btrfs", ["inspect-internal", "dump-super", image.to_str().unwrap()]));
        assert!(text.is_none_or(|text| text.contains("SEEDING")));
    }
    let run = run_rbtrfs("tune --seed off", &images);
    assert!(run.code == 2 && run.says(&["--force"]), "{}", run.stderr);
    for words in ["resize --devid 1 max", "device remove --devid 1", "chunk-alloc --type data"] {
        let run = run_rbtrfs(words, &images);
        assert!(run.code == 2 && run.says(&["is a seed"]), "{words}: {}", run.stderr);
    }
    let run = run_rbtrfs("tune --seed off --force", &images);
    assert!(run.code == 0 && run.says(&["warning", "cannot be mounted"]), "{}", run.stderr);
    super::assert_whole_and_writable(&images, &expected, "no seed any more");
}

/// No tree of a sprout is written before its device has an item, and seeds are never written.
#[test]
fn what_nothing_can_grow_from_is_refused() {
    let scratch = Scratch::in_memory();
    let Some(images) = copy_of_kernel_image_or_skip("single", &scratch) else { return };
    let before = copies(&images, &scratch.new_directory());
    let new = scratch.path("new.img");
    let run = run_rbtrfs(&format!("sprout --new {} --size 300M", new.display()), &images);
    assert!(run.code == 2 && run.says(&["is no seed"]) && !new.exists(), "{}", run.stderr);
    assert_identical(&images, &before, "no seed");
    output_of("tune --seed on --quiet", &images);
    let before = copies(&images, &scratch.new_directory());
    for size in ["1M", "2M"] {
        let run = run_rbtrfs(&format!("sprout --new {} --size {size}", new.display()), &images);
        assert!(run.code == 2 && !new.exists(), "{}", run.stderr);
    }
    let text = output_of(&format!("sprout --dry-run --new {} --size 300M", new.display()), &images);
    assert!(text.starts_with("would grow onto device 2") && !new.exists(), "{text}");
    assert_identical(&images, &before, "too small");
}
