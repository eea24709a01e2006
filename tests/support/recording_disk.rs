//! Disks that remember: the images of a filesystem, served through FUSE for reading and writing, with every write and
//! every barrier in the order in which they came, so that a test can build what a crash at any moment leaves. If it is
//! told to, it fails after some writes.

use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, UNIX_EPOCH};

use fuser::{
    BackgroundSession, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo,
    LockOwner, MountOption, OpenFlags, ReplyAttr, ReplyData, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyWrite, Request,
    WriteFlags,
};

use super::Scratch;

const FOREVER: Duration = Duration::from_secs(3600);
/// Inode of the first image; the root directory is inode 1.
const FIRST: u64 = 2;

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

/// The mounted disks; unmounted when dropped.
pub struct RecordingDisk {
    before: Vec<PathBuf>,
    served: Vec<PathBuf>,
    events: Arc<Mutex<Vec<Event>>>,
    mount: PathBuf,
    session: Option<BackgroundSession>,
}

impl RecordingDisk {
    /// Serves copies of `images`, which themselves stay as they are.
    pub fn new(images: &[PathBuf], scratch: &Scratch) -> Result<Self, String> {
        Self::failing(images, scratch, None)
    }

    pub fn failing(images: &[PathBuf], scratch: &Scratch, failure: Option<Failure>) -> Result<Self, String> {
        let directory = scratch.new_directory();
        let (copies, mount) = (directory.join("copies"), directory.join("mount"));
        for directory in [&copies, &mount] {
            std::fs::create_dir(directory).unwrap();
        }
        let names: Vec<String> =
            images.iter().map(|image| image.file_name().unwrap().to_str().unwrap().to_owned()).collect();
        let open = |image| OpenOptions::new().read(true).write(true).open(image).unwrap();
        let files = super::copies(images, &copies).iter().map(open).collect();
        let events = Arc::new(Mutex::new(Vec::new()));
        let disk = Disk { names: names.clone(), files, events: events.clone(), failure };
        let mut config = Config::default();
        config.mount_options.push(MountOption::FSName("recording-disk".to_owned()));
        let session = fuser::spawn_mount(disk, &mount, &config).map_err(|error| format!("no FUSE: {error}"))?;
        let served = names.iter().map(|name| mount.join(name)).collect();
        Ok(Self { before: images.to_vec(), served, events, mount, session: Some(session) })
    }

    /// Where the images are to be opened.
    pub fn images(&self) -> &[PathBuf] {
        &self.served
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

impl Drop for RecordingDisk {
    fn drop(&mut self) {
        drop(self.session.take());
        // A program that another test is just starting may still have held the images open.
        let _ = Command::new("fusermount3").args(["-u", "-z", "-q"]).arg(&self.mount).output();
    }
}

fn lock(events: &Mutex<Vec<Event>>) -> MutexGuard<'_, Vec<Event>> {
    events.lock().unwrap()
}

struct Disk {
    names: Vec<String>,
    files: Vec<File>,
    events: Arc<Mutex<Vec<Event>>>,
    failure: Option<Failure>,
}

impl Disk {
    fn image(&self, ino: INodeNo) -> Option<usize> {
        ino.0.checked_sub(FIRST).map(|image| image as usize).filter(|image| *image < self.files.len())
    }

    fn attributes(&self, ino: INodeNo) -> FileAttr {
        let (kind, perm, size) = match self.image(ino) {
            Some(image) => (FileType::RegularFile, 0o644, self.files[image].metadata().unwrap().len()),
            None => (FileType::Directory, 0o755, 0),
        };
        let (atime, mtime, ctime, crtime) = (UNIX_EPOCH, UNIX_EPOCH, UNIX_EPOCH, UNIX_EPOCH);
        let (blocks, nlink, uid, gid, rdev, flags, blksize) = (size / 512, 1, 0, 0, 0, 0, 4096);
        FileAttr { ino, size, blocks, atime, mtime, ctime, crtime, kind, perm, nlink, uid, gid, rdev, flags, blksize }
    }
}

impl Filesystem for Disk {
    fn lookup(&self, _: &Request, _: INodeNo, name: &OsStr, reply: ReplyEntry) {
        match self.names.iter().position(|image| name == image.as_str()) {
            Some(image) => reply.entry(&FOREVER, &self.attributes(INodeNo(FIRST + image as u64)), Generation(0)),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        reply.attr(&FOREVER, &self.attributes(ino));
    }

    /// Past the page cache, which would put writes off and join them.
    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        reply.opened(FileHandle(0), FopenFlags::FOPEN_DIRECT_IO);
    }

    fn read(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let Some(image) = self.image(ino) else { return reply.error(Errno::EIO) };
        let end = (offset + u64::from(size)).min(self.attributes(ino).size).max(offset);
        let mut bytes = vec![0; (end - offset) as usize];
        match self.files[image].read_exact_at(&mut bytes, offset) {
            Ok(()) => reply.data(&bytes),
            Err(_) => reply.error(Errno::EIO),
        }
    }

    fn write(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let Some(image) = self.image(ino) else { return reply.error(Errno::EIO) };
        let mut events = lock(&self.events);
        let writes = events.iter().filter(|event| !matches!(event, Event::Barrier { .. })).count();
        if let Some(failure) =
            self.failure.filter(|failure| (failure.from..failure.from.saturating_add(failure.count)).contains(&writes))
        {
            events.push(Event::Failed { image, offset });
            return reply.error(failure.error);
        }
        self.files[image].write_all_at(data, offset).unwrap();
        events.push(Event::Write { image, offset, bytes: data.to_vec() });
        reply.written(data.len() as u32);
    }

    fn fsync(&self, _: &Request, ino: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        let Some(image) = self.image(ino) else { return reply.error(Errno::EIO) };
        lock(&self.events).push(Event::Barrier { image });
        reply.ok();
    }
}
