//! Disks that remember: the images of a filesystem, served for reading and writing, with every write and every barrier in
//! the order in which they came, so that a test can build what a crash at any moment leaves. If it is told to, it fails
//! after some writes.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};

use fuser::Errno;

use super::Scratch;
use super::file_disk::{FileDisk, Hooks};

/// Images are numbered as they were given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    Write {
        image: usize,
        offset: u64,
        bytes: Vec<u8>,
    },
    /// A write that was answered with an error; nothing of it was done.
    Failed {
        image: usize,
        offset: u64,
    },
    /// All that was written to the image before is on the disk.
    Barrier {
        image: usize,
    },
}

/// From which write on, counted from 0 over all images, writes fail, and how.
#[derive(Clone, Copy)]
pub struct Failure {
    pub from: usize,
    /// How many of them fail.
    pub count: usize,
    pub error: Errno,
}

pub struct RecordingDisk {
    before: Vec<PathBuf>,
    disk: FileDisk,
    events: Arc<Mutex<Vec<Event>>>,
}

impl RecordingDisk {
    /// Serves copies of `images`, which themselves stay as they are.
    pub fn new(images: &[PathBuf], scratch: &Scratch) -> Result<Self, String> {
        Self::failing(images, scratch, None)
    }

    pub fn failing(images: &[PathBuf], scratch: &Scratch, failure: Option<Failure>) -> Result<Self, String> {
        let events = Arc::new(Mutex::new(Vec::new()));
        let recorder = Recorder { events: events.clone(), failure };
        let disk = FileDisk::new(&super::copies(images, &scratch.new_directory()), recorder, scratch)?;
        Ok(Self { before: images.to_vec(), disk, events })
    }

    /// Where the images are to be opened.
    pub fn images(&self) -> &[PathBuf] {
        self.disk.images()
    }

    pub fn events(&self) -> Vec<Event> {
        lock(&self.events).clone()
    }

    /// The images as a crash after the first `count` events may leave them: with all writes before a barrier of their
    /// image, and of the later ones those whose numbers `survives` picks.
    pub fn after_crash(&self, count: usize, survives: impl Fn(usize) -> bool, scratch: &Scratch) -> Vec<PathBuf> {
        let images = super::copies(&self.before, &scratch.new_directory());
        let files: Vec<File> = images.iter().map(|image| OpenOptions::new().write(true).open(image).unwrap()).collect();
        let events = lock(&self.events);
        let events = &events[..count];
        for (number, event) in events.iter().enumerate() {
            let Event::Write { image, offset, bytes } = event else { continue };
            if events[number..].contains(&Event::Barrier { image: *image }) || survives(number) {
                files[*image].write_all_at(bytes, *offset).unwrap();
            }
        }
        images
    }
}

fn lock(events: &Mutex<Vec<Event>>) -> MutexGuard<'_, Vec<Event>> {
    events.lock().unwrap()
}

struct Recorder {
    events: Arc<Mutex<Vec<Event>>>,
    failure: Option<Failure>,
}

impl Hooks for Recorder {
    const IS_WRITABLE: bool = true;

    fn write(&mut self, image: usize, offset: u64, bytes: &[u8]) -> Result<(), Errno> {
        let mut events = lock(&self.events);
        let writes = events.iter().filter(|event| !matches!(event, Event::Barrier { .. })).count();
        let fails = |failure: &Failure| (failure.from..failure.from.saturating_add(failure.count)).contains(&writes);
        if let Some(failure) = self.failure.filter(fails) {
            events.push(Event::Failed { image, offset });
            return Err(failure.error);
        }
        events.push(Event::Write { image, offset, bytes: bytes.to_vec() });
        Ok(())
    }

    fn barrier(&mut self, image: usize) {
        lock(&self.events).push(Event::Barrier { image });
    }
}
