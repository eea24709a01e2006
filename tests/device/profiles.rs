//! Each profile, on more devices of unequal sizes than it needs: devices come, each goes once, and each way to replace one.

use std::fs::File;
use std::path::PathBuf;

use super::support::change::make_filesystem;
use super::support::mounted::Mounted;
use super::support::{Scratch, or_skip, output_of};
use super::{MIB, assert_whole, assert_whole_and_writable, is_superblock_at, superblocks, with, without};

/// Profile of data and metadata, and devices that it needs.
const PROFILES: [(&str, &str, usize); 9] = [
    ("single", "single", 1),
    ("single", "dup", 1),
    ("raid0", "raid0", 2),
    ("raid1", "raid1", 2),
    ("raid1c3", "raid1c3", 3),
    ("raid1c4", "raid1c4", 4),
    ("raid10", "raid10", 4),
    ("raid5", "raid1", 3),
    ("raid6", "raid6", 4),
];

/// A filesystem with files, and a sum of them.
fn filled(data: &str, metadata: &str, devices: usize, scratch: &Scratch) -> Option<(Vec<PathBuf>, String)> {
    let images = make_filesystem(&["-d", data, "-m", metadata], devices, 320 * MIB, scratch)?;
    let mounted = or_skip(Mounted::new(&images, "rw", scratch))?;
    for number in 0..40 {
        std::fs::write(mounted.path().join(format!("small-{number}")), vec![number; 700]).unwrap();
    }
    for number in 0..12_u8 {
        let bytes: Vec<u8> = (0..4 * MIB).map(|at| (at as u8).wrapping_mul(number) ^ (at >> 9) as u8).collect();
        std::fs::write(mounted.path().join(format!("file-{number}")), bytes).unwrap();
    }
    let contents = mounted.contents();
    drop(mounted);
    Some((images, contents))
}

/// The number of a device, which lies on one of the images.
fn devid_of(images: &[PathBuf], index: usize) -> u64 {
    let list = super::document("device list", images);
    let path = images[index].display().to_string();
    let device = list["devices"].as_array().unwrap().iter().find(|device| device["path"] == path.as_str());
    device.unwrap()["devid"].as_u64().unwrap()
}

fn every_change(data: &str, metadata: &str, least: usize) {
    let scratch = Scratch::in_memory();
    let Some((mut images, contents)) = filled(data, metadata, least, &scratch) else { return };
    let what = |step: &str| format!("{data} {metadata}: {step}");
    for (number, size) in [300, 450, 600].into_iter().enumerate() {
        let new = scratch.path(&format!("new-{number}.img"));
        output_of(&format!("device add --new {} --size {size}M", new.display()), &images);
        images.push(new);
    }
    assert_whole(&images, &contents, &what("added"));

    // Each device goes once, and comes back as another one.
    for devid in 1..=images.len() as u64 {
        let gone = images.remove(0);
        let all = with(&images, &gone);
        output_of(&format!("device remove --devid {devid}"), &all);
        assert_eq!(superblocks(&gone), [0_u64; 0], "{}", what("removed"));
        assert_whole(&images, &contents, &what(&format!("without device {devid}")));
        output_of(&format!("device add --new {}", gone.display()), &images);
        images.push(gone);
    }
    assert_whole_and_writable(&images, &contents, &what("all removed once"));

    for (index, more) in [(0, 100), (1, 0), (2, -60)] {
        let old = images[index].clone();
        let size = (old.metadata().unwrap().len() as i64 + more * MIB as i64) as u64;
        let new = scratch.zeros(&format!("replaced-{index}.img"), size);
        let devid = devid_of(&images, index);
        output_of(&format!("device replace --devid {devid} --new {}", new.display()), &images);
        assert!(superblocks(&old).is_empty() && is_superblock_at(&new, 0), "{}", what("replaced"));
        images[index] = new;
        assert_whole(&images, &contents, &what(&format!("device {devid} of {more} MiB more")));
    }
    // Single copies do not survive the loss of a device.
    if matches!(data, "single" | "raid0") {
        return;
    }
    let lost = devid_of(&images, 3);
    let new = scratch.path("for-missing.img");
    let left = without(&images, 3);
    output_of(&format!("device replace --degraded --devid missing --new {} --quiet", new.display()), &left);
    images[3] = new;
    let list = super::document("device list", &images);
    assert!(list["devices"].as_array().unwrap().iter().any(|device| device["devid"] == lost), "{list}");
    assert_whole_and_writable(&images, &contents, &what("a missing device replaced"));
    if images.len() > least + 1 {
        let left = without(&images, 0);
        output_of("device remove --degraded --devid missing --quiet", &left);
        assert_whole(&left, &contents, &what("a missing device removed"));
    }
}

macro_rules! every_change {
    ($($name:ident: $index:literal;)*) => {$(
        #[test]
        fn $name() {
            let (data, metadata, least) = PROFILES[$index];
            every_change(data, metadata, least);
        }
    )*};
}

every_change! {
    devices_of_single_come_and_go: 0;
    devices_of_dup_come_and_go: 1;
    devices_of_raid0_come_and_go: 2;
    devices_of_raid1_come_and_go: 3;
    devices_of_raid1c3_come_and_go: 4;
    devices_of_raid1c4_come_and_go: 5;
    devices_of_raid10_come_and_go: 6;
    devices_of_raid5_come_and_go: 7;
    devices_of_raid6_come_and_go: 8;
}

/// A bad sector is not carried over where another copy is good, and what is bad everywhere is told by file.
#[test]
fn a_replacement_takes_the_good_copies() {
    let scratch = Scratch::in_memory();
    let Some((images, contents)) = filled("raid1", "raid1", 2, &scratch) else { return };
    let volume = super::support::open(&images);
    let extents = super::support::contents::data_extents(&volume);
    let (logical, _) = *extents.iter().max_by_key(|(_, length)| *length).unwrap();
    let [one, other] =
        [1, 2].map(|mirror| super::support::contents::place(&volume, rbtrfs::disk::Logical(logical), mirror));
    drop(volume);
    super::support::change(&images[one.0], one.1, 8192, |bytes| bytes.fill(0x55));
    let new = scratch.zeros("new.img", 320 * MIB);
    let replaced = super::document(&format!("device replace --devid {} --new {}", one.0 + 1, new.display()), &images);
    assert_eq!(replaced["moved"]["healed_bytes"], 8192, "{replaced}");
    let mut images = images;
    images[one.0] = new;
    assert_whole(&images, &contents, "healed");

    for place in [one, other] {
        super::support::change(&images[place.0], place.1, 4096, |bytes| bytes.fill(0x66));
    }
    let newer = scratch.zeros("newer.img", 320 * MIB);
    let words = format!("device replace --json --devid 1 --new {}", newer.display());
    let run = super::support::run_rbtrfs(&words, &images);
    assert_eq!(run.code, 1, "{}", run.stderr);
    let document: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
    let damaged = document["moved"]["damaged"].as_array().unwrap();
    assert!(!damaged.is_empty() && damaged.iter().all(|damaged| damaged["length"] == 4096), "{document}");
}

/// What lies behind the end of the smaller device is on the others before.
#[test]
fn a_much_smaller_device_takes_the_place_of_a_full_one() {
    let scratch = Scratch::in_memory();
    let Some((images, contents)) = filled("raid1", "raid1", 3, &scratch) else { return };
    let list = super::document("device list", &images);
    let used = |index: usize| list["devices"][index]["used"].as_u64().unwrap();
    let fullest = (0..3).max_by_key(|index| used(*index)).unwrap();
    let new = scratch.zeros("new.img", used(fullest) / 2);
    let words = format!("device replace --devid {} --new {}", fullest + 1, new.display());
    let replaced = super::document(&words, &images);
    assert!(replaced["moved"]["transactions"].as_u64().unwrap() > 1, "{replaced}");
    let all = with(&without(&images, fullest), &new);
    assert_whole_and_writable(&all, &contents, "much smaller");
}

/// The kernel finds all devices by itself, the new one in the place of the old one.
#[test]
fn the_kernel_finds_a_replaced_device_by_a_scan() {
    let scratch = Scratch::in_memory();
    let Some((images, contents)) = filled("raid1", "raid1", 2, &scratch) else { return };
    let new = scratch.path("new.img");
    output_of(&format!("device replace --devid 2 --new {}", new.display()), &images);
    let all = [images[0].clone(), new, images[1].clone()];
    let mounted = or_skip(Mounted::by_scan(&all, &scratch));
    let Some(mounted) = mounted else { return };
    assert_eq!(mounted.contents(), contents);
}

/// A file that was made for what did not come about is taken away.
#[test]
fn a_file_for_nothing_does_not_stay() {
    let scratch = Scratch::in_memory();
    let images: Vec<PathBuf> = vec![scratch.path("a.img")];
    output_of("mkfs --quiet --byte-count 256M --data single --metadata dup", &images);
    let new = scratch.path("new.img");
    let words = format!("device replace --devid 7 --new {}", new.display());
    let run = super::support::run_rbtrfs(&words, &images);
    assert_eq!(run.code, 2, "{}", run.stderr);
    assert!(!new.exists(), "{words}");
    let short = scratch.zeros("short.img", 4096);
    let run = super::support::run_rbtrfs(&format!("device add --new {} --size 1M", short.display()), &images);
    assert_eq!((run.code, File::open(&short).unwrap().metadata().unwrap().len()), (2, 4096), "{}", run.stderr);
}

/// Metadata is written to what the missing device has left of its chunks: no chunk of the profile can be made of the others, one
/// without copies would stay, and there may be no room for any.
#[test]
fn the_replacement_of_a_missing_device_leaves_the_profile_and_needs_no_new_chunk() {
    for (profile, devices, is_full) in
        [("raid1", 2, false), ("raid1", 2, true), ("raid1", 3, true), ("raid1c3", 3, false)]
    {
        let scratch = Scratch::in_memory();
        let Some((images, contents)) = filled(profile, profile, devices, &scratch) else { return };
        let what = format!("{profile} of {devices}, full: {is_full}");
        if is_full {
            let Some(mounted) = or_skip(Mounted::new(&images, "rw", &scratch)) else { return };
            let filler = mounted.path().join("filler");
            let file = File::create(&filler).unwrap();
            let bytes = vec![1; MIB as usize];
            while std::io::Write::write_all(&mut &file, &bytes).and_then(|()| file.sync_data()).is_ok() {}
            drop(file);
            std::fs::remove_file(filler).unwrap();
        }
        let profiles = |images: &[PathBuf]| {
            let volume = super::support::open(images);
            let flags = volume.chunks().iter().map(|chunk| chunk.flags.0);
            flags.collect::<std::collections::BTreeSet<u64>>()
        };
        let before = profiles(&images);
        let new = scratch.path("new.img");
        let left = without(&images, devices - 1);
        output_of(&format!("device replace --degraded --devid missing --new {}", new.display()), &left);
        let images = with(&left, &new);
        assert_eq!(profiles(&images), before, "{what}");
        assert_whole_and_writable(&images, &contents, &what);
    }
}
