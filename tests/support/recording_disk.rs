//! Disks that remember: the images of a filesystem, served for reading and writing, with every write and every barrier in
//! the order in which they came, so that a test can build what a crash at any moment leaves. If it is told to, it fails
//! some of them.

use std::fs::{File, OpenOptions};
use std::ops::Range;
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
    /// A barrier that was answered with an error: nothing is known of what was written before.
    FailedBarrier {
        image: usize,
    },
}

/// A write or a barrier that is asked for.
#[derive(Clone, Copy, Debug)]
struct Call {
    image: usize,
    /// How many there were before of the same image.
    number: usize,
    /// Of a write.
    offset: Option<u64>,
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
        let mut writes = 0..;
        Self::failing_where(images, scratch, move |call| {
            let failure = failure?;
            let write = call.offset.and_then(|_| writes.next())?;
            (failure.from..failure.from.saturating_add(failure.count)).contains(&write).then_some(failure.error)
        })
    }

    /// Fails those calls of one image whose numbers are in `calls`.
    pub fn failing_calls(
        images: &[PathBuf],
        scratch: &Scratch,
        failing: usize,
        calls: Range<usize>,
        error: Errno,
    ) -> Result<Self, String> {
        let is_hit = move |call: Call| call.image == failing && calls.contains(&call.number);
        Self::failing_where(images, scratch, move |call| is_hit(call).then_some(error))
    }

    /// Fails the calls for which `fails` has an error.
    fn failing_where(
        images: &[PathBuf],
        scratch: &Scratch,
        fails: impl FnMut(Call) -> Option<Errno> + Send + 'static,
    ) -> Result<Self, String> {
        let events = Arc::new(Mutex::new(Vec::new()));
        let recorder = Recorder { events: events.clone(), calls: vec![0; images.len()], fails: Box::new(fails) };
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
        self.after_torn_crash(count, u64::MAX, |event, _| survives(event), scratch)
    }

    /// As [`RecordingDisk::after_crash`], with writes of which only a part came to the disk: `survives` is asked of each
    /// sector of `sector` bytes of each later write, by the number of the event and of the sector on the disk.
    pub fn after_torn_crash(
        &self,
        count: usize,
        sector: u64,
        mut survives: impl FnMut(usize, u64) -> bool,
        scratch: &Scratch,
    ) -> Vec<PathBuf> {
        let events = lock(&self.events);
        let events = &events[..count];
        let is_sure = |number: usize, image: usize| {
            // What a barrier failed for, no later one makes sure.
            let barriers = [Event::Barrier { image }, Event::FailedBarrier { image }];
            events[number..].iter().find(|event| barriers.contains(event)) == Some(&barriers[0])
        };
        self.with_writes(events, sector, |number, image, at| is_sure(number, image) || survives(number, at), scratch)
    }

    /// The images as a disk leaves them that says of the first `count` events that they are done, and loses those sectors of
    /// `sector` bytes of them that `is_lost` picks.
    pub fn after_lost_writes(
        &self,
        count: usize,
        sector: u64,
        is_lost: impl Fn(usize, u64) -> bool,
        scratch: &Scratch,
    ) -> Vec<PathBuf> {
        self.with_writes(&lock(&self.events)[..count], sector, |number, _, at| !is_lost(number, at), scratch)
    }

    /// The images with those sectors of the writes among `events` for which `is_written`, by the number of the event, the
    /// image, and the number of the sector on it.
    fn with_writes(
        &self,
        events: &[Event],
        sector: u64,
        mut is_written: impl FnMut(usize, usize, u64) -> bool,
        scratch: &Scratch,
    ) -> Vec<PathBuf> {
        let images = super::copies(&self.before, &scratch.new_directory());
        let files: Vec<File> = images.iter().map(|image| OpenOptions::new().write(true).open(image).unwrap()).collect();
        for (number, event) in events.iter().enumerate() {
            let Event::Write { image, offset, bytes } = event else { continue };
            let (mut start, end) = (*offset, offset + bytes.len() as u64);
            while start < end {
                let next = (start / sector).saturating_add(1).saturating_mul(sector).min(end);
                if is_written(number, *image, start / sector) {
                    let part = &bytes[(start - offset) as usize..(next - offset) as usize];
                    files[*image].write_all_at(part, start).unwrap();
                }
                start = next;
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
    /// How many there were of each image.
    calls: Vec<usize>,
    fails: Box<dyn FnMut(Call) -> Option<Errno> + Send>,
}

impl Recorder {
    /// Notes `done`, or if the call is to fail `failed`.
    fn answer(&mut self, image: usize, offset: Option<u64>, done: Event, failed: Event) -> Result<(), Errno> {
        let error = (self.fails)(Call { image, number: self.calls[image], offset });
        self.calls[image] += 1;
        lock(&self.events).push(if error.is_some() { failed } else { done });
        error.map_or(Ok(()), Err)
    }
}

impl Hooks for Recorder {
    const IS_WRITABLE: bool = true;

    fn write(&mut self, image: usize, offset: u64, bytes: &[u8]) -> Result<(), Errno> {
        let done = Event::Write { image, offset, bytes: bytes.to_vec() };
        self.answer(image, Some(offset), done, Event::Failed { image, offset })
    }

    fn barrier(&mut self, image: usize) -> Result<(), Errno> {
        self.answer(image, None, Event::Barrier { image }, Event::FailedBarrier { image })
    }
}
