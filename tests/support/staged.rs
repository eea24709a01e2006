//! Changes that are staged beside images, and published with a file that undoes them.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rbtrfs::Error;
use rbtrfs::disk::STRIPE_LEN;
use rbtrfs::disk::flags::block_group::DATA;
use rbtrfs::image::Image;
use rbtrfs::progress::Progress;
use rbtrfs::repair::publish;
use rbtrfs::trans::Filesystem;
use rbtrfs::tree::stale_devices;
use rbtrfs::volume::{MissingDevices, RootChoice, WritableVolume};

use super::change::{allocate, wish};
use super::survey_with;

/// Opens for writing what programs that other tests are just starting have open, too, until they run.
pub fn held(image: &Path) -> Image {
    for _ in 0..500 {
        match Image::open_for_writing(image) {
            Err(Error::InUse { .. }) => std::thread::sleep(Duration::from_millis(10)),
            opened => return opened.unwrap(),
        }
    }
    panic!("{image:?} stays in use");
}

/// Stages a commit that allocates chunks, and what `mend` writes before.
pub fn staged_with(images: &[PathBuf], mend: impl FnOnce(&WritableVolume)) -> Vec<Image> {
    let staged: Vec<Image> = images.iter().map(|image| held(image).staged()).collect();
    let handles = staged.iter().map(|image| image.again().unwrap()).collect();
    let writable =
        WritableVolume::of_images(handles, &RootChoice::default(), MissingDevices::Refuse, stale_devices).unwrap();
    mend(&writable);
    let survey = Arc::new(survey_with(writable.volume(), 2, 1 << 26, true));
    let mut fs = Filesystem::open_surveyed(writable, survey).unwrap();
    for _ in 0..8 {
        allocate(&fs, &wish(DATA, None, STRIPE_LEN)).unwrap().unwrap();
    }
    fs.commit().unwrap();
    staged
}

pub fn staged(images: &[PathBuf]) -> Vec<Image> {
    staged_with(images, |_| {})
}

/// Publishes such a change.
pub fn change_with_undo(images: &[PathBuf], file: &Path) {
    publish(staged(images), Some(file), &Progress::default()).unwrap().wholly().unwrap();
}
