//! Disks that are full or fail leave nothing that could be taken for a filesystem.

use std::path::PathBuf;
use std::sync::Arc;

use fuser::Errno;
use rbtrfs::Error;
use rbtrfs::image::Image;
use rbtrfs::internals::{Estimate, Maker, MemoryBudget, NewDevice, Order, Preparation, Targets};
use rbtrfs::mkfs::Builder;
use rbtrfs::progress::Progress;
use rbtrfs::volume::Volume;

use crate::empty::make;
use crate::support::recording_disk::{Event, Failure, RecordingDisk};
use crate::support::{Scratch, mounted};

fn make_on(images: &[PathBuf]) -> rbtrfs::Result<()> {
    let options = Builder::new().options(images.len()).unwrap();
    let (options, estimate, progress) = (&options, &Estimate::default(), &Progress::default());
    let preparation = Preparation {
        options,
        estimate,
        byte_count: None,
        size: 0,
        grows: false,
        force: true,
        shared: None,
        discard: false,
        progress,
    };
    let (targets, devices) = Targets::prepare(images, &preparation)?;
    let budget = MemoryBudget::new(1 << 20);
    let maker = Maker::new(options.clone(), devices, estimate, &budget)?;
    assert_eq!(targets.order(), Order::Last);
    maker.finish(targets.order(), None, progress)?;
    targets.keep();
    Ok(())
}

/// Whether they can be opened as the filesystem that they were, or the new one.
fn is_filesystem(images: &[PathBuf]) -> bool {
    Volume::open(images.iter().map(|image| Image::open(image).unwrap()).collect()).is_ok()
}

#[test]
fn no_failing_write_leaves_a_filesystem() {
    let scratch = Scratch::new();
    let images = make("-d single -m single", 2, "64M", &scratch);
    let Some(disk) = crate::support::or_skip(RecordingDisk::new(&images, &scratch)) else { return };
    make_on(disk.images()).unwrap();
    let events = disk.events();
    let writes = events.iter().filter(|event| matches!(event, Event::Write { .. })).count();
    assert_eq!(crate::support::check(&crate::support::open(disk.images()), 1), []);
    for from in 0..writes {
        for error in [Errno::ENOSPC, Errno::EIO] {
            let failure = Some(Failure { from, count: usize::MAX, error });
            let disk = RecordingDisk::failing(&images, &scratch, failure).unwrap();
            make_on(disk.images()).unwrap_err();
            // The first write is what takes the old superblock away.
            assert!(from == 0 || !is_filesystem(disk.images()), "write {from} of {writes}");
        }
    }
}

#[test]
fn no_superblock_stays_when_the_next_cannot_be_written() {
    let scratch = Scratch::new();
    let images = make("", 1, "128M", &scratch);
    let Some(disk) = crate::support::or_skip(RecordingDisk::new(&images, &scratch)) else { return };
    make_on(disk.images()).unwrap();
    let writes = disk.events().iter().filter(|event| matches!(event, Event::Write { .. })).count();
    for from in [writes - 2, writes - 1] {
        let failure = Some(Failure { from, count: 1, error: Errno::EIO });
        let disk = RecordingDisk::failing(&images, &scratch, failure).unwrap();
        let error = make_on(disk.images()).unwrap_err();
        assert!(matches!(error, Error::Write { .. }), "{error}");
        assert!(!is_filesystem(disk.images()), "write {from} of {writes}");
    }
}

#[test]
fn superblocks_that_cannot_be_taken_back_are_not_passed_over() {
    let scratch = Scratch::new();
    let images = make("", 1, "128M", &scratch);
    let Some(disk) = crate::support::or_skip(RecordingDisk::new(&images, &scratch)) else { return };
    make_on(disk.images()).unwrap();
    let writes = disk.events().iter().filter(|event| matches!(event, Event::Write { .. })).count();
    let mut found = Vec::new();
    for from in [writes - 2, writes - 1] {
        let failure = Some(Failure { from, count: usize::MAX, error: Errno::EIO });
        let disk = RecordingDisk::failing(&images, &scratch, failure).unwrap();
        let Err(Error::PartlyPublished(partly)) = make_on(disk.images()) else { panic!("write {from} of {writes}") };
        assert!(!partly.is_sure() && partly.to_string().contains("may be on the disk"), "{partly}");
        found.push(is_filesystem(disk.images()));
    }
    assert_eq!(found, [false, true], "which of the two it is cannot be told");
}

#[test]
fn what_is_stopped_at_the_end_leaves_no_filesystem() {
    let scratch = Scratch::new();
    let images = [scratch.zeros("image", 128 << 20)];
    let options = Builder::new().options(1).unwrap();
    let image = Image::open_for_writing(&images[0]).unwrap();
    let device = NewDevice { size: image.size(), image, grows: false };
    let budget = MemoryBudget::new(1 << 20);
    let maker = Maker::new(options, vec![device], &Estimate::default(), &budget).unwrap();
    let error = maker.finish(Order::Last, None, &Progress::new(Arc::new(true.into()))).unwrap_err();
    assert!(matches!(error, Error::Interrupted), "{error}");
    assert!(!is_filesystem(&images));
}

#[test]
fn an_image_is_not_lost_for_one_that_cannot_be_made() {
    let scratch = Scratch::new();
    let image = scratch.path("image");
    std::fs::write(&image, vec![7; 128 << 20]).unwrap();
    let run = crate::support::run_rbtrfs("mkfs -f", &[image.clone(), scratch.path("missing/second.img")]);
    assert!(run.code == 2 && run.says(&["second.img", "No such file"]), "{}", run.stderr);
    assert!(std::fs::read(&image).unwrap().iter().all(|byte| *byte == 7), "something was written");
}

#[test]
fn what_lies_behind_the_filesystem_stays() {
    let scratch = Scratch::new();
    let image = scratch.path("image");
    std::fs::write(&image, vec![7; 130 << 20]).unwrap();
    let Some(device) = crate::support::or_skip(mounted::attach(&image)) else { return };
    for options in ["-f", "-f -K"] {
        let run = crate::support::run_rbtrfs(&format!("mkfs {options} -b 120000000"), &[device.clone().into()]);
        let end = 120_000_000 / 4096 * 4096;
        let stays = std::fs::read(&image).unwrap()[end..].iter().all(|byte| *byte == 7);
        if run.code != 0 || !stays {
            mounted::detach(&device);
            panic!("{options}: {stays} {}", run.stderr);
        }
    }
    mounted::detach(&device);
}

#[test]
fn no_superblock_is_on_a_disk_before_what_it_leads_to() {
    let scratch = Scratch::new();
    let images: Vec<PathBuf> = (0..2).map(|number| scratch.zeros(&format!("{number}.img"), 64 << 20)).collect();
    let Some(disk) = crate::support::or_skip(RecordingDisk::new(&images, &scratch)) else { return };
    make_on(disk.images()).unwrap();
    let events = disk.events();
    for count in 0..=events.len() {
        for survives in [(|_| true) as fn(usize) -> bool, |_| false, |number| number % 2 == 0, |number| number % 3 == 0]
        {
            let crashed = disk.after_crash(count, survives, &scratch);
            let volume = crashed.iter().map(|image| Image::open(image).unwrap()).collect();
            let Ok(volume) = Volume::open(volume) else { continue };
            // One of the two superblocks may have been written; what it leads to is there.
            let problems = crate::support::check(&volume, 1);
            let is_whole = problems.iter().all(|problem| problem.to_string().contains("superblock"));
            assert!(is_whole || !volume.notices().is_empty(), "after {count} events: {problems:?}");
            crashed.iter().for_each(|image| std::fs::remove_file(image).unwrap());
        }
    }
}

#[test]
fn files_that_were_created_are_removed() {
    let scratch = Scratch::new();
    let (first, second) = (scratch.path("first.img"), scratch.path("missing/second.img"));
    let run = crate::support::run_rbtrfs("mkfs", &[first.clone(), second]);
    assert_eq!(run.code, 2);
    assert!(!first.exists(), "a file is left");
    let run = crate::support::run_rbtrfs("mkfs -b 2M", std::slice::from_ref(&first));
    assert!(run.code == 2 && run.says(&["too small"]) && !first.exists(), "{}", run.stderr);
}
