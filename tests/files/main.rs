//! Files are read as the kernel reads them, from whichever copy is good; what cannot be read is an error in its place, and
//! what can be is read.

mod damage;
mod examples;
mod forms;
mod hostile;
mod kernel;
mod like_mount;
mod names;
#[path = "../support/mod.rs"]
mod support;

use std::sync::Mutex;

use rbtrfs::files::{Content, Files, InodeId, Notice, Options, Start};
use rbtrfs::volume::Volume;

/// What is told while files are read.
#[derive(Default)]
struct Told(Mutex<Vec<Notice>>);

impl Told {
    fn take(&self) -> Vec<Notice> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }

    /// Files whose notices are kept here.
    fn open<'v>(&'v self, volume: &'v Volume, start: Start<'_>) -> Files<'v> {
        self.open_with(volume, start, false)
    }

    fn open_with<'v>(&'v self, volume: &'v Volume, start: Start<'_>, read_unverified: bool) -> Files<'v> {
        let mut options = Options::default();
        options.read_unverified = read_unverified;
        options.on_notice = Some(Box::new(|notice| self.0.lock().unwrap().push(notice)));
        Files::open_with(volume, start, options).unwrap()
    }
}

/// A file as it can be read: its bytes, zeroes where they cannot be, and the ranges and texts of the errors.
fn all_that_is_readable(files: &Files<'_>, id: InodeId) -> (Vec<u8>, Vec<rbtrfs::Error>) {
    let mut file = files.file(id).unwrap();
    let mut bytes = vec![0; usize::try_from(file.size()).unwrap()];
    let mut errors = Vec::new();
    loop {
        match file.next_piece() {
            Ok(None) => return (bytes, errors),
            Ok(Some(piece)) => {
                if let Content::Data(data) = piece.content {
                    assert_eq!(data.len() as u64, piece.length);
                    bytes[piece.offset as usize..][..data.len()].copy_from_slice(data);
                }
            }
            Err(error) => errors.push(error),
        }
    }
}

/// A file that is sound.
fn read(files: &Files<'_>, path: &str) -> Vec<u8> {
    let (bytes, errors) = all_that_is_readable(files, files.lookup(path).unwrap());
    assert!(errors.is_empty(), "{path}: {errors:?}");
    bytes
}
