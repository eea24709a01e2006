//! Images that an undo file is not for, or not any more, are left as they are.

use rbtrfs::disk::Physical;
use rbtrfs::disk::superblock::SUPER_OFFSETS;

use super::*;
use crate::support::mounted::{Mounted, attach, detach};

/// Images that were changed, and the undo file.
fn changed(name: &str, scratch: &Scratch) -> Option<(Vec<PathBuf>, PathBuf)> {
    let images = copy_of_kernel_image_or_skip(name, scratch)?;
    let file = scratch.path("undo");
    change_with_undo(&images, &file);
    Some((images, file))
}

/// A refusal in one line, which says `parts`.
#[track_caller]
fn assert_refused(file: &Path, images: &[PathBuf], parts: &[&str]) {
    let before: Vec<_> = images.iter().map(|image| image.metadata().unwrap().modified().unwrap()).collect();
    let run = run_rbtrfs(&format!("undo {}", file.display()), images);
    assert_eq!((run.code, run.stdout.as_str(), run.stderr.lines().count()), (2, "", 1), "{}", run.stderr);
    assert!(run.says(parts), "{parts:?}: {}", run.stderr);
    let after = images.iter().map(|image| image.metadata().unwrap().modified().unwrap());
    assert!(before.into_iter().eq(after), "an image was written");
}

/// Where the files of undo say that something is: device, offset and length.
fn ranges(file: &Path) -> Vec<(usize, u64, u64)> {
    let bytes = read(file);
    let number = |offset: usize, length: usize| {
        bytes[offset..offset + length].iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
    };
    let mut position = 32 + 56 * number(16, 4) as usize;
    let mut ranges = Vec::new();
    while number(position, 4) == 1 {
        let length = number(position + 16, 4);
        ranges.push((number(position + 4, 4) as usize, number(position + 8, 8), length));
        position += 32 + (length + length.div_ceil(512) * 8) as usize;
    }
    assert_eq!(position + 32, bytes.len());
    ranges
}

#[test]
fn an_image_that_has_changed_since_is_refused_by_what_would_be_lost() {
    let scratch = Scratch::in_memory();
    let Some((images, file)) = changed("raid1", &scratch) else { return };
    let ranges = ranges(&file);
    assert!(ranges.len() > 10, "{ranges:?}");
    for (device, offset, length) in ranges.iter().copied().step_by(3).chain(ranges.last().copied()) {
        // The last byte, and a sector that was zeroed, as a disk may lose it.
        for (at, count) in [(offset + length - 1, 1), (offset, 512)] {
            let was = change(&images[device], at, count, |bytes| bytes.iter_mut().for_each(|byte| *byte ^= 0x81));
            let start = (at - offset) / 512 * 512 + offset;
            let path = images[device].to_str().unwrap();
            assert_refused(&file, &images, &[path, &format!("has changed since at offset {start},")]);
            change(&images[device], at, count, |bytes| bytes.copy_from_slice(&was));
        }
    }
    let run = run_rbtrfs(&format!("undo --dry-run {}", file.display()), &images);
    assert_eq!((run.code, run.stderr.as_str()), (0, ""));
}

#[test]
fn a_filesystem_that_the_kernel_wrote_to_since_is_refused() {
    let scratch = Scratch::in_memory();
    let Some((images, file)) = changed("single", &scratch) else { return };
    let Some(mounted) = or_skip(Mounted::new(&images, "rw", &scratch)) else { return };
    assert_refused(
        &file,
        mounted.loops().iter().map(PathBuf::from).collect::<Vec<_>>().as_slice(),
        &["in use", "mounted"],
    );
    assert_refused(&file, &images, &["in use"]);
    std::fs::write(mounted.path().join("of-the-test"), "written").unwrap();
    drop(mounted);
    assert_refused(&file, &images, &["has changed since at offset"]);
    // It is not taken for one with a superblock that tells nothing.
    for offset in [SUPER_OFFSETS[0], SUPER_OFFSETS[1]] {
        change(&images[0], offset.0, 4096, |bytes| bytes.fill(0));
    }
    assert_refused(&file, &images, &["is none of the devices that it is for, or has changed since"]);
}

#[test]
fn images_that_are_missing_or_too_many_are_named() {
    let scratch = Scratch::in_memory();
    let Some((images, file)) = changed("raid1", &scratch) else { return };
    let elsewhere = Scratch::in_memory();
    let Some(other) = copy_of_kernel_image_or_skip("dup", &elsewhere).map(|mut images| images.remove(0)) else {
        return;
    };
    let refusals: [(Vec<PathBuf>, &[&str]); 5] = [
        (images[..1].to_vec(), &["device 2 (", "is missing: give all 2 images"]),
        (images[1..].to_vec(), &["device 1 (", "is missing: give all 2 images"]),
        ([&images[..], std::slice::from_ref(&other)].concat(), &[other.to_str().unwrap(), "is none of the devices"]),
        (vec![images[0].clone(), other.clone()], &[other.to_str().unwrap(), "is none of the devices"]),
        (vec![images[0].clone(), images[1].clone(), images[0].clone()], &["the same device twice"]),
    ];
    for (given, parts) in refusals {
        assert_refused(&file, &given, parts);
    }
    // A copy of a device is that device, and of two no undo may choose one.
    let copy = copies(&images[..1], &scratch.new_directory()).remove(0);
    assert_refused(&file, &[images[0].clone(), images[1].clone(), copy], &["the same device twice"]);
    // A device that ends early.
    let size = images[1].metadata().unwrap().len();
    let cut = std::fs::OpenOptions::new().write(true).open(&images[1]).unwrap();
    cut.set_len(size - 4096).unwrap();
    assert_refused(
        &file,
        &images,
        &[images[1].to_str().unwrap(), &format!("has {} bytes, and had {size}", size - 4096)],
    );
}

#[test]
fn an_image_in_use_is_refused() {
    let scratch = Scratch::in_memory();
    let Some((images, file)) = changed("raid1", &scratch) else { return };
    let lock = held(&images[1]);
    assert_refused(&file, &images, &[images[1].to_str().unwrap(), "in use: locked by process"]);
    drop(lock);
    let Some(device) = or_skip(attach(&images[0])) else { return };
    assert_refused(&file, &images, &[images[0].to_str().unwrap(), "in use: backs the loop device"]);
    detach(&device);
    // As a device it is what it was as a file.
    let Some(devices) = or_skip(images.iter().map(|image| attach(image)).collect::<Result<Vec<_>, _>>()) else {
        return;
    };
    let paths: Vec<PathBuf> = devices.iter().map(PathBuf::from).collect();
    undo_with(&file, &paths, None).unwrap();
    devices.iter().for_each(|device| detach(device));
    let Some(before) = kernel_image_or_skip("raid1") else { return };
    assert_identical(&images, &before, "after undo of devices");
}

/// With an undo file, what cannot be saved is not overwritten.
#[test]
fn a_handle_that_still_reads_what_is_staged_keeps_it_from_being_published() {
    let scratch = Scratch::in_memory();
    let Some(images) = copy_of_kernel_image_or_skip("single", &scratch) else { return };
    let before = copies(&images, &scratch.new_directory());
    let staged = staged(&images);
    let other = staged[0].again().unwrap();
    let refused = publish(staged, Some(&scratch.path("undo")), &Progress::default()).unwrap_err();
    assert!(matches!(refused, Error::Internal { .. }), "{refused}");
    assert_identical(&images, &before, "refused");
    assert!(!scratch.path("undo").exists());
    other.read(Physical(0), &mut [0; 512]).unwrap();
}
