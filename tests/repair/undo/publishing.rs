//! What is staged comes to the disks once what it overwrites is saved, or not at all.

use std::ops::Range;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use fuser::Errno;

use super::*;
use crate::support::crash::is_superblock;
use crate::support::file_disk::{FileDisk, Hooks};
use crate::support::recording_disk::{Event, RecordingDisk};
use crate::support::small_disk::SmallDisk;
use crate::support::soundness::assert_sound_but_behind;

/// Looks whether the undo file is whole as soon as an image is written.
struct Witness {
    file: PathBuf,
    is_whole: Arc<AtomicBool>,
    has_looked: bool,
}

impl Hooks for Witness {
    const IS_WRITABLE: bool = true;

    fn write(&mut self, _: usize, _: u64, _: &[u8]) -> Result<(), Errno> {
        if !std::mem::replace(&mut self.has_looked, true) {
            let bytes = std::fs::read(&self.file).unwrap_or_default();
            let end = bytes.len().checked_sub(32).map(|start| bytes[start..start + 8].to_vec());
            self.is_whole.store(end == Some(vec![2, 0, 0, 0, 0, 0, 0, 0]), Ordering::SeqCst);
        }
        Ok(())
    }
}

#[test]
fn what_is_overwritten_is_saved_before_anything_is_written() {
    let scratch = Scratch::in_memory();
    let Some(images) = copy_of_kernel_image_or_skip("raid1", &scratch) else { return };
    let (file, is_whole) = (scratch.path("undo"), Arc::new(AtomicBool::new(false)));
    let witness = Witness { file: file.clone(), is_whole: Arc::clone(&is_whole), has_looked: false };
    let Some(disk) = or_skip(FileDisk::new(&images, witness, &scratch)) else { return };
    change_with_undo(disk.images(), &file);
    assert!(is_whole.load(Ordering::SeqCst), "the undo file was not whole at the first write");
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o7777, 0o600);
    assert_sound(&images, "published");
}

/// One range of one image cannot be read before it is written.
struct BadSectors {
    image: usize,
    bad: Option<Range<u64>>,
}

impl Hooks for BadSectors {
    const IS_WRITABLE: bool = true;

    fn read(&mut self, image: usize, range: Range<u64>) -> Result<(), Errno> {
        let is_hit = |bad: &Range<u64>| image == self.image && bad.start < range.end && range.start < bad.end;
        if self.bad.as_ref().is_some_and(is_hit) { Err(Errno::EIO) } else { Ok(()) }
    }

    fn write(&mut self, image: usize, offset: u64, _: &[u8]) -> Result<(), Errno> {
        if image == self.image && self.bad.as_ref().is_some_and(|bad| bad.contains(&offset)) {
            self.bad = None;
        }
        Ok(())
    }
}

/// A good copy over sectors that cannot be read is the commonest of all repairs: all else is saved.
#[test]
fn a_place_that_cannot_be_read_does_not_keep_the_rest_from_being_saved() {
    let scratch = Scratch::in_memory();
    let Some(before) = kernel_image_or_skip("raid1") else { return };
    let injector = Injector::new(&before);
    let root = injector.root(FS_TREE).logical;
    let (devid, place) = injector.block_copy(root, 1, |_| {});
    let image = devid as usize - 1;
    let bad = place.0 + 4096..place.0 + 8192;
    let disk = BadSectors { image, bad: Some(bad.clone()) };
    let Some(disk) = or_skip(FileDisk::new(injector.images(), disk, &scratch)) else { return };
    let staged = staged_with(disk.images(), |writable| {
        let mut good = vec![0; writable.volume().format().nodesize as usize];
        writable.volume().read(root, 2, &mut good).unwrap();
        writable.write_copy(root, 1, &good).unwrap();
    });
    let file = scratch.path("undo");
    publish(staged, Some(&file), &Progress::default()).unwrap().wholly().unwrap();
    assert_sound(disk.images(), "published");
    // Written, the sectors are whole again; to undo is not to lose them.
    let put_back = undo_with(&file, disk.images(), None).unwrap();
    assert_eq!(put_back[image].unreadable, 4096, "{put_back:?}");
    // What could not be read is what it was before the disk lost it.
    assert_identical(injector.images(), &before, "after undo");
    let text = output_of(&format!("undo {}", file.display()), disk.images());
    assert!(
        text.ends_with(&format!(
            "device {devid}: 4096 bytes stay, what stood there before the repair could not be read\n"
        )),
        "{text}"
    );
}

/// Ranges that are the same already are not written.
#[test]
fn what_is_there_already_is_not_written_again() {
    let scratch = Scratch::in_memory();
    let Some(images) = copy_of_kernel_image_or_skip("dup", &scratch) else { return };
    let Some(disk) = or_skip(RecordingDisk::new(&images, &scratch)) else { return };
    let staged: Vec<Image> = disk.images().iter().map(|image| held(image).staged()).collect();
    let mut bytes = vec![0; 3 << 20];
    staged[0].read(rbtrfs::disk::Physical(64 << 10), &mut bytes).unwrap();
    staged[0].write(rbtrfs::disk::Physical(64 << 10), &bytes).unwrap();
    let file = scratch.path("undo");
    publish(staged, Some(&file), &Progress::default()).unwrap().wholly().unwrap();
    assert!(!disk.events().iter().any(|event| matches!(event, Event::Write { .. })));
    let nothing = undo_with(&file, disk.images(), None).unwrap();
    assert_eq!(nothing.iter().map(|device| device.ranges).sum::<u64>(), 0);
}

#[track_caller]
fn assert_nothing_happened(images: &[PathBuf], before: &[PathBuf], file: &Path, what: &str) {
    assert_identical(images, before, what);
    assert!(!file.exists(), "{what}: an undo file is left");
}

#[test]
fn a_full_disk_for_the_undo_file_leaves_the_images_as_they_were() {
    let scratch = Scratch::in_memory();
    let Some(images) = copy_of_kernel_image_or_skip("raid1", &scratch) else { return };
    let before = copies(&images, &scratch.new_directory());
    let Some(small) = or_skip(SmallDisk::new("64k", &scratch)) else { return };
    let file = small.0.join("undo");
    let refused = publish(staged(&images), Some(&file), &Progress::default()).unwrap_err();
    assert!(matches!(&refused, Error::Write { path, .. } if *path == file), "{refused}");
    assert_nothing_happened(&images, &before, &file, "a full disk");
    let missing = scratch.path("no-such-directory").join("undo");
    let refused = publish(staged(&images), Some(&missing), &Progress::default()).unwrap_err();
    assert!(refused.to_string().contains("No such file"), "{refused}");
    assert_nothing_happened(&images, &before, &missing, "no directory");

    // The same for what is overwritten by an undo.
    let whole = scratch.path("undo");
    change_with_undo(&images, &whole);
    let after = copies(&images, &scratch.new_directory());
    let refused = undo_with(&whole, &images, Some(&file)).unwrap_err();
    assert!(matches!(&refused, Error::Write { path, .. } if *path == file), "{refused}");
    assert_nothing_happened(&images, &after, &file, "a full disk for the redo file");
}

#[test]
fn a_file_that_is_there_is_not_taken_for_an_undo_file() {
    let scratch = Scratch::in_memory();
    let Some(images) = copy_of_kernel_image_or_skip("single", &scratch) else { return };
    let before = copies(&images, &scratch.new_directory());
    let link = scratch.path("link");
    std::os::unix::fs::symlink(scratch.path("nowhere"), &link).unwrap();
    for file in [&images[0], &before[0], &link] {
        let refused = publish(staged(&images), Some(file), &Progress::default()).unwrap_err();
        assert!(refused.to_string().contains("File exists"), "{refused}");
        assert_identical(&images, &before, "refused");
    }
    let file = scratch.path("undo");
    change_with_undo(&images, &file);
    let (after, saved) = (copies(&images, &scratch.new_directory()), read(&file));
    for redo in [&file, &images[0], &link] {
        let refused = undo_with(&file, &images, Some(redo)).unwrap_err();
        assert!(refused.to_string().contains("File exists"), "{refused}");
        assert_identical(&images, &after, "refused");
        assert!(read(&file) == saved);
    }
}

/// At whichever byte that is read or saved the stop comes.
#[test]
fn a_stop_before_the_first_write_leaves_the_images_as_they_were() {
    let scratch = Scratch::in_memory();
    let Some(images) = copy_of_kernel_image_or_skip("raid1", &scratch) else { return };
    let before = copies(&images, &scratch.new_directory());
    let file = scratch.path("undo");
    let stops_in = |phase: &'static str, at: u64| {
        let stop = Arc::new(AtomicBool::new(at == 0));
        let (flag, count) = (Arc::clone(&stop), std::sync::atomic::AtomicU64::new(0));
        Progress::new(stop).observed(move |progress| {
            if progress.moment().phase == phase && count.fetch_add(1, Ordering::SeqCst) + 1 >= at {
                flag.store(true, Ordering::SeqCst);
            }
        })
    };
    for (at, undo) in [(0, Some(file.as_path())), (1, Some(&file)), (3, Some(&file)), (1, None)] {
        let stopped = publish(staged(&images), undo, &stops_in("comparing", at));
        assert!(matches!(stopped, Err(Error::Interrupted)), "{at}: {stopped:?}");
        assert_nothing_happened(&images, &before, &file, "stopped");
    }
    // From the first write on it is too late.
    publish(staged(&images), Some(&file), &stops_in("writing", 1)).unwrap().wholly().unwrap();
    let (after, redo) = (copies(&images, &scratch.new_directory()), scratch.path("redo"));
    for (phase, at) in [("comparing", 0), ("comparing", 2), ("saving", 1), ("saving", 4)] {
        let progress = stops_in(phase, at);
        let stopped = undo(&file, &images, &UndoOptions { redo: Some(&redo), dry_run: false, progress: &progress });
        assert!(matches!(stopped, Err(Error::Interrupted)), "{phase} {at}: {stopped:?}");
        assert_nothing_happened(&images, &after, &redo, phase);
    }
    let progress = stops_in("putting back", 1);
    undo(&file, &images, &UndoOptions { redo: None, dry_run: false, progress: &progress }).unwrap();
    assert_identical(&images, &before, "after undo");
}

/// Writes and barriers of a disk fail, one of them or all from one on. What is said of that is true, and is undone.
#[test]
fn a_disk_that_fails_leaves_the_state_that_is_said_and_is_undone() {
    let scratch = Scratch::in_memory();
    let Some(images) = kernel_image_or_skip("raid1") else { return };
    let generation = |images: &[PathBuf]| open(images).superblock().generation();
    let before = generation(&images);
    let (mut kept, mut partly) = (0, 0);
    for (failing, how_many) in [(0, 1), (1, 1), (1, usize::MAX)] {
        for from in (0_usize..).step_by(3) {
            let calls = from..from.saturating_add(how_many);
            let directory = Scratch::in_memory();
            let disk = RecordingDisk::failing_calls(&images, &directory, failing, calls, Errno::EIO);
            let Some(disk) = or_skip(disk) else { return };
            let file = directory.path("undo");
            let published = publish(staged(disk.images()), Some(&file), &Progress::default());
            let published = published.and_then(|published| published.wholly());
            let events = disk.events();
            let what = format!("{how_many} calls of image {failing} fail from {from}: {published:?}");
            let is_failure = |event: &Event| matches!(event, Event::Failed { .. } | Event::FailedBarrier { .. });
            if !events.iter().any(is_failure) {
                assert!(published.is_ok() && from > 5, "{what}");
                break;
            }
            let found = generation(disk.images());
            match published.unwrap_err() {
                Error::PartlyPublished(part) => {
                    partly += 1;
                    assert!(events.iter().any(is_superblock), "{what}");
                    assert!(!part.is_sure() || found > before, "{what}: the change was not made");
                }
                _ => {
                    kept += 1;
                    assert!(!events.iter().any(is_superblock) && found == before, "{what}");
                }
            }
            assert_sound_but_behind(disk.images(), &what);
            // On a disk that works again.
            let left = copies(disk.images(), &directory.new_directory());
            undo_with(&file, &left, None).unwrap_or_else(|error| panic!("{what}: {error}"));
            assert_identical(&left, &images, &what);
        }
    }
    assert!(kept > 5 && partly > 1, "{kept} errors, {partly} changes in part");
    drop(scratch);
}

/// What was put back in part is said to be that, and the same call made again puts the rest back.
#[test]
fn a_disk_that_fails_amid_an_undo_is_told_with_its_own_exit_code() {
    let scratch = Scratch::in_memory();
    let Some(before) = kernel_image_or_skip("raid1") else { return };
    let images = copies(&before, &scratch.new_directory());
    let file = scratch.path("undo");
    change_with_undo(&images, &file);
    for from in [0, 1, 2, 3, 6] {
        let directory = Scratch::in_memory();
        let disk = RecordingDisk::failing_calls(&images, &directory, 1, from..from + 1, Errno::EIO);
        let Some(disk) = or_skip(disk) else { return };
        let run = run_rbtrfs(&format!("undo {}", file.display()), disk.images());
        assert!(run.says(&["a part was put back", "os error 5", "run the same again"]), "{from}: {}", run.stderr);
        assert_eq!((run.code, run.stdout.as_str()), (3, ""), "{from}");
        assert_sound_but_behind(disk.images(), &format!("{from}"));
        undo_with(&file, disk.images(), None).unwrap();
        assert_identical(disk.images(), &before, &format!("{from}"));
    }
}
