//! What a repair wrote is taken back, bit for bit. The changes here are those of the engine, over images on which all is staged.

mod crash;
mod file;
mod publishing;
mod refusals;

use std::path::{Path, PathBuf};
use std::time::Duration;

use rbtrfs::disk::Logical;
use rbtrfs::disk::objectid::FS_TREE;
use rbtrfs::image::Image;
use rbtrfs::progress::Progress;
use rbtrfs::repair::{PutBack, UndoOptions, publish, undo};
use rbtrfs::{Error, Result};

use crate::support::inject::Injector;
use crate::support::soundness::assert_sound;
use crate::support::staged::*;
use crate::support::*;

/// Undoes what programs that other tests are just starting may have open, too.
fn undo_with(file: &Path, images: &[PathBuf], redo: Option<&Path>) -> Result<Vec<PutBack>> {
    let progress = Progress::default();
    for _ in 0..500 {
        match undo(file, images, &UndoOptions { redo, dry_run: false, progress: &progress }) {
            Err(Error::InUse { .. }) => std::thread::sleep(Duration::from_millis(10)),
            done => return done,
        }
    }
    panic!("{images:?} stay in use");
}

/// A filesystem with copies of its blocks gets one of them damaged, which the change mends.
fn damaged(injector: &Injector) -> Option<Logical> {
    let root = injector.root(FS_TREE).logical;
    let volume = injector.volume();
    let chunk = volume.chunks().find(root).unwrap();
    if chunk.mirrors() < 2 || chunk.profile.geometry().nparity > 0 {
        return None;
    }
    injector.block_copy(root, 1, |bytes| bytes[1000..1100].fill(0x5a));
    Some(root)
}

#[test]
fn an_undo_gives_back_every_byte_and_can_be_undone_and_done_again() {
    for name in ["single", "dup", "raid1", "raid10", "raid5", "mixed", "nodesize-4k", "sha256"] {
        let scratch = Scratch::in_memory();
        let Some(originals) = kernel_image_or_skip(name) else { continue };
        let injector = Injector::new(&originals);
        let damage = damaged(&injector);
        let images = injector.images();
        let before = copies(images, &scratch.new_directory());
        let [file, redo, again] = ["undo", "redo", "again"].map(|file| scratch.path(file));

        let staged = staged_with(images, |writable| {
            let Some(root) = damage else { return };
            let mut good = vec![0; writable.volume().format().nodesize as usize];
            writable.volume().read(root, 2, &mut good).unwrap();
            writable.write_copy(root, 1, &good).unwrap();
        });
        assert_identical(images, &before, &format!("{name}, staged"));
        publish(staged, Some(&file), &Progress::default()).unwrap().wholly().unwrap();
        assert_sound(images, name);
        let after = copies(images, &scratch.new_directory());
        let are_changed = images.iter().zip(&before).all(|(image, other)| read(image) != read(other));
        assert!(are_changed, "{name}: nothing was written to some device");

        let put_back = undo_with(&file, images, Some(&redo)).unwrap();
        assert_identical(images, &before, &format!("{name}, after undo"));
        assert!(put_back.len() == images.len() && put_back.iter().all(|device| device.ranges >= 2), "{put_back:?}");
        // In any order.
        let reversed: Vec<PathBuf> = images.iter().rev().cloned().collect();
        undo_with(&redo, &reversed, Some(&again)).unwrap();
        assert_identical(images, &after, &format!("{name}, after the undo of the undo"));
        undo_with(&again, images, None).unwrap();
        assert_identical(images, &before, &format!("{name}, after a second undo"));
        // There is nothing more to do, whichever file is taken.
        let nothing = undo_with(&file, images, None).unwrap();
        assert!(nothing.iter().all(|device| (device.ranges, device.bytes) == (0, 0)), "{nothing:?}");
    }
}

fn read(image: &Path) -> Vec<u8> {
    std::fs::read(image).unwrap()
}

#[test]
fn an_undo_by_the_program_says_what_it_does() {
    let scratch = Scratch::in_memory();
    let Some(images) = copy_of_kernel_image_or_skip("raid1", &scratch) else { return };
    let before = copies(&images, &scratch.new_directory());
    let file = scratch.path("undo");
    change_with_undo(&images, &file);
    let after = copies(&images, &scratch.new_directory());
    let command = format!("undo {}", file.display());
    let text = output_of(&format!("{command} --dry-run"), &images);
    assert!(text.starts_with("would put back device 1 (") && text.lines().count() == images.len(), "{text}");
    assert_identical(&images, &after, "after a dry run");
    let json = output_of(&format!("{command} --dry-run --json"), &images);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((json["schema"].as_str(), json["dry_run"].as_bool()), (Some("rbtrfs.undo/1"), Some(true)));
    assert!(json["devices"][1]["devid"] == 2 && json["devices"][1]["ranges"].as_u64().unwrap() > 2, "{json}");
    let text = output_of(&format!("{command} --redo {}", scratch.path("redo").display()), &images);
    assert!(text.starts_with("put back device 1 (") && text.lines().count() == images.len(), "{text}");
    assert_identical(&images, &before, "after undo");
    assert_eq!(output_of(&command, &images), "nothing to put back: the images are as they were\n");
    assert_eq!(output_of(&format!("{command} -q"), &images), "");
}

/// A redo file that saves a state between two is as good.
#[test]
fn an_undo_of_a_part_of_a_change_can_be_undone() {
    let scratch = Scratch::in_memory();
    let Some(images) = copy_of_kernel_image_or_skip("raid1", &scratch) else { return };
    let before = copies(&images, &scratch.new_directory());
    let [file, redo] = ["undo", "redo"].map(|file| scratch.path(file));
    change_with_undo(&images, &file);
    // One device was not reached.
    std::fs::copy(&before[1], &images[1]).unwrap();
    let between = copies(&images, &scratch.new_directory());
    let put_back = undo_with(&file, &images, Some(&redo)).unwrap();
    assert!(put_back[0].ranges > 0 && put_back[1].ranges == 0, "{put_back:?}");
    assert_identical(&images, &before, "after undo");
    undo_with(&redo, &images, None).unwrap();
    assert_identical(&images, &between, "after redo");
}
