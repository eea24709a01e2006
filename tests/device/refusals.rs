//! What cannot be done is said in one line that says what to do, and nothing changes.

use std::path::PathBuf;
use std::time::SystemTime;

use super::support::change::make_filesystem;
use super::support::{
    Scratch, copy_of_kernel_image_or_skip, kernel_image_or_skip, or_skip, output_of, run_rbtrfs, tool,
};
use super::{MIB, without};

fn state(images: &[PathBuf]) -> Vec<(Vec<u8>, SystemTime)> {
    let state = |path: &PathBuf| (std::fs::read(path).unwrap(), path.metadata().unwrap().modified().unwrap());
    images.iter().map(state).collect()
}

#[track_caller]
fn refused(images: &[PathBuf], words: &str, telling: &[&str]) {
    let before = state(images);
    let run = run_rbtrfs(words, images);
    assert_eq!((run.code, run.stdout.as_str()), (2, ""), "{words}: {}", run.stderr);
    assert!(run.says(telling), "{words}: {telling:?}: {}", run.stderr);
    assert!(state(images) == before, "{words}");
}

fn made(options: &str, devices: usize, scratch: &Scratch) -> Vec<PathBuf> {
    let images: Vec<PathBuf> = (0..devices).map(|device| scratch.path(&format!("{device}.img"))).collect();
    output_of(&format!("mkfs --quiet --byte-count 256M {options}"), &images);
    images
}

#[test]
fn a_device_that_profiles_need_stays_and_a_balance_is_named_that_works() {
    let scratch = Scratch::in_memory();
    let images = made("--data raid1 --metadata raid1", 2, &scratch);
    let advice = "rbtrfs balance -dconvert=single,soft -mconvert=dup,soft -sconvert=dup,soft --force";
    refused(&images, "device remove --devid 1", &["RAID1 want at least 2 devices", advice]);
    output_of(advice.strip_prefix("rbtrfs ").unwrap(), &images);
    output_of("device remove --devid 1 --quiet", &images);
    super::support::soundness::assert_sound_with_data(&images[1..], "removed after the balance");

    let scratch = Scratch::in_memory();
    let images = made("--data raid6 --metadata raid1c4", 4, &scratch);
    let advice = "balance -mconvert=raid1c3,soft -sconvert=raid1c3,soft --force";
    refused(&images, "device remove --devid 2", &["RAID1C4 want at least 4 devices", advice]);
    output_of(advice, &images);
    output_of("device remove --devid 2 --quiet", &images);
    super::support::soundness::assert_sound_with_data(&without(&images, 1), "RAID6 on three");
}

#[test]
fn what_cannot_be_is_refused_for_its_reason() {
    let scratch = Scratch::in_memory();
    let images = made("--data single --metadata dup", 1, &scratch);
    let new = scratch.zeros("new.img", 200 * MIB);
    let tiny = scratch.zeros("tiny.img", MIB);
    let (new, tiny) = (new.display(), tiny.display());
    for (words, telling) in [
        ("device remove --devid 1".to_owned(), &["device 1 is the last"][..]),
        ("device remove --devid 5".to_owned(), &["device 5 has no item"]),
        ("device remove --devid missing".to_owned(), &["no device is missing"]),
        (format!("device replace --devid missing --new {new}"), &["no device is missing"]),
        (format!("device replace --devid 1 --new {tiny}"), &["1052672 are wanted"]),
        (format!("device add --new {tiny}"), &["1052672 are wanted"]),
        (format!("device add --new {new} --size 10M"), &["more than --size"]),
        (format!("device add --new {}/absent", scratch.path("").display()), &["--size makes a file"]),
        ("device add --new /dev/absent --size 1M".to_owned(), &["below /dev"]),
        (format!("device add --new {}", images[0].display()), &["in use"]),
        ("resize 1M".to_owned(), &["cannot have 1048576 bytes"]),
        ("resize 4M".to_owned(), &["not enough room"]),
        ("resize -300M".to_owned(), &["cannot have 0 bytes"]),
        ("resize --slack 4M max".to_owned(), &["--slack"]),
        ("resize --devid 3 max".to_owned(), &["device 3 has no item"]),
    ] {
        refused(&images, &words, telling);
    }
    let two = scratch.new_directory();
    let images = [two.join("a.img"), two.join("b.img")];
    output_of("mkfs --quiet --byte-count 256M", &images);
    refused(&images, "resize max", &["several devices", "--devid"]);
    for words in ["device remove --devid 2", "resize --devid 1 max", "device replace --devid missing --new x --size 1M"]
    {
        refused(&images[..1], words, &["device 2", "missing", "--degraded"]);
    }
}

#[test]
fn what_stands_on_a_new_device_is_overwritten_by_force_alone() {
    let scratch = Scratch::in_memory();
    let images = made("--data single --metadata dup", 1, &scratch);
    let other = scratch.new_directory().join("other.img");
    output_of("mkfs --quiet --byte-count 256M", std::slice::from_ref(&other));
    let ext4 = scratch.zeros("ext4.img", 200 * MIB);
    let Some(_) = or_skip(tool("mkfs.ext4", ["-q", ext4.to_str().unwrap()])) else { return };
    for (path, found) in [(&other, "btrfs"), (&ext4, "ext4")] {
        for command in ["add", "replace --devid 1"] {
            let words = format!("device {command} --new {}", path.display());
            refused(&images, &words, &[found, "--force overwrites it"]);
        }
    }
    output_of(&format!("device add --force --new {}", ext4.display()), &images);
    output_of(
        &format!("device replace --force --devid 1 --new {} --quiet", other.display()),
        &super::with(&images, &ext4),
    );
    super::support::soundness::assert_sound_with_data(&[other, ext4], "both overwritten");
}

#[test]
fn a_pending_log_and_a_paused_balance_are_in_the_way() {
    let scratch = Scratch::in_memory();
    for (name, telling) in [("log-tree", "log that was not replayed"), ("balance-interrupted", "balance")] {
        let Some(images) = copy_of_kernel_image_or_skip(name, &scratch) else { return };
        for words in ["resize min", "device remove --devid 1", "resize -10M"] {
            refused(&images, words, &[telling]);
        }
        std::fs::remove_file(&images[0]).unwrap();
    }
}

/// The kernel's devices are zones, which are written from their beginning on: nothing here keeps that.
#[test]
fn zoned_filesystems_are_refused_with_the_reason() {
    let scratch = Scratch::in_memory();
    let images = made("--data single --metadata single", 1, &scratch);
    for offset in [0x1_0000, 0x400_0000] {
        super::support::change(&images[0], offset, 4096, |bytes| {
            let (superblock, _) = <rbtrfs::disk::Superblock as zerocopy::FromBytes>::mut_from_prefix(bytes).unwrap();
            superblock.incompat_flags |= 1 << 12;
            rbtrfs::disk::CsumType::Crc32c.stamp(bytes);
        });
    }
    for words in ["resize -10M", "device remove --devid 1", "min-size"] {
        refused(&images, words, &["incompat_flags has bits 0x1000", "cannot be written"]);
    }
}

#[test]
fn a_dry_run_writes_nothing_and_tells_what_comes() {
    let scratch = Scratch::in_memory();
    let Some(images) = make_filesystem(&["-d", "raid1", "-m", "raid1"], 3, 300 * MIB, &scratch) else { return };
    let Some(kernel) = kernel_image_or_skip("single") else { return };
    let before = state(&images);
    let new = scratch.path("new.img");
    for (words, telling) in [
        (format!("device add --dry-run --new {} --size 300M", new.display()), "would add device 4"),
        ("device remove --dry-run --devid 2".to_owned(), "would remove device 2"),
        (format!("device replace --dry-run --devid 2 --new {}", new.display()), "would replace device 2"),
        ("resize --dry-run --devid 1 200M".to_owned(), "would resize device 1"),
        ("resize --dry-run --devid 1 +1G".to_owned(), "would resize device 1"),
        ("device stats --reset --dry-run".to_owned(), "write_io_errs"),
        ("tune --seed on --dry-run".to_owned(), "would be a seed"),
    ] {
        let text = output_of(&words, &images);
        assert!(text.contains(telling), "{words}: {text}");
        assert!(state(&images) == before && !new.exists(), "{words}");
    }
    drop(kernel);
}
