//! Disks that a test decides about: files served through FUSE, and what becomes of what is read and written.

use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Mutex;
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

/// What a test says to what is asked of the images, which are numbered as they were given. An error is the answer, and
/// nothing is done then.
pub trait Hooks: Send + 'static {
    const IS_WRITABLE: bool;
    /// Whether the kernel keeps what it has read, so that images can be mapped. It reads ahead then.
    const IS_CACHED: bool = false;

    fn read(&mut self, _image: usize, _range: Range<u64>) -> Result<(), Errno> {
        Ok(())
    }

    fn write(&mut self, _image: usize, _offset: u64, _bytes: &[u8]) -> Result<(), Errno> {
        Ok(())
    }

    fn barrier(&mut self, _image: usize) -> Result<(), Errno> {
        Ok(())
    }
}

/// The mounted disks; unmounted when dropped.
pub struct FileDisk {
    images: Vec<PathBuf>,
    mount: PathBuf,
    session: Option<BackgroundSession>,
}

impl FileDisk {
    /// Serves files under their names.
    pub fn new<H: Hooks>(files: &[PathBuf], hooks: H, scratch: &Scratch) -> Result<Self, String> {
        let mount = scratch.new_directory();
        let open = |file: &PathBuf| OpenOptions::new().read(true).write(H::IS_WRITABLE).open(file).unwrap();
        let name = |file: &PathBuf| file.file_name().unwrap().to_str().unwrap().to_owned();
        let names: Vec<String> = files.iter().map(name).collect();
        let images = names.iter().map(|name| mount.join(name)).collect();
        let disk = Disk { names, files: files.iter().map(open).collect(), hooks: Mutex::new(hooks) };
        let mut config = Config::default();
        config.mount_options.push(MountOption::FSName("file-disk".to_owned()));
        config.mount_options.push(if H::IS_WRITABLE { MountOption::RW } else { MountOption::RO });
        let session = fuser::spawn_mount(disk, &mount, &config).map_err(|error| format!("no FUSE: {error}"))?;
        Ok(Self { images, mount, session: Some(session) })
    }

    /// Where the images are to be opened.
    pub fn images(&self) -> &[PathBuf] {
        &self.images
    }
}

impl Drop for FileDisk {
    fn drop(&mut self) {
        drop(self.session.take());
        // A program that another test is just starting may still have held the images open.
        let _ = Command::new("fusermount3").args(["-u", "-z", "-q"]).arg(&self.mount).output();
    }
}

struct Disk<H> {
    names: Vec<String>,
    files: Vec<File>,
    /// Locked until what they were asked for is done, so that they are asked in its order.
    hooks: Mutex<H>,
}

impl<H: Hooks> Disk<H> {
    fn image(&self, ino: INodeNo) -> Result<usize, Errno> {
        let image = ino.0.checked_sub(FIRST).map(|image| image as usize);
        image.filter(|image| *image < self.files.len()).ok_or(Errno::EIO)
    }

    fn attributes(&self, ino: INodeNo) -> FileAttr {
        let (kind, perm, size) = match self.image(ino) {
            Ok(image) => (FileType::RegularFile, 0o644, self.files[image].metadata().unwrap().len()),
            Err(_) => (FileType::Directory, 0o755, 0),
        };
        let (atime, mtime, ctime, crtime) = (UNIX_EPOCH, UNIX_EPOCH, UNIX_EPOCH, UNIX_EPOCH);
        let (blocks, nlink, uid, gid, rdev, flags, blksize) = (size / 512, 1, 0, 0, 0, 0, 4096);
        FileAttr { ino, size, blocks, atime, mtime, ctime, crtime, kind, perm, nlink, uid, gid, rdev, flags, blksize }
    }

    fn read_bytes(&self, ino: INodeNo, offset: u64, size: u32) -> Result<Vec<u8>, Errno> {
        let image = self.image(ino)?;
        let end = (offset + u64::from(size)).min(self.attributes(ino).size).max(offset);
        self.hooks.lock().unwrap().read(image, offset..end)?;
        let mut bytes = vec![0; (end - offset) as usize];
        self.files[image].read_exact_at(&mut bytes, offset).map_err(|_| Errno::EIO)?;
        Ok(bytes)
    }

    fn write_bytes(&self, ino: INodeNo, offset: u64, bytes: &[u8]) -> Result<(), Errno> {
        let image = self.image(ino)?;
        let mut hooks = self.hooks.lock().unwrap();
        hooks.write(image, offset, bytes)?;
        self.files[image].write_all_at(bytes, offset).unwrap();
        Ok(())
    }
}

impl<H: Hooks> Filesystem for Disk<H> {
    fn lookup(&self, _: &Request, _: INodeNo, name: &OsStr, reply: ReplyEntry) {
        match self.names.iter().position(|image| name == image.as_str()) {
            Some(image) => reply.entry(&FOREVER, &self.attributes(INodeNo(FIRST + image as u64)), Generation(0)),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        reply.attr(&FOREVER, &self.attributes(ino));
    }

    /// Past the page cache, which would read ahead, and put writes off and join them.
    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        reply.opened(FileHandle(0), if H::IS_CACHED { FopenFlags::empty() } else { FopenFlags::FOPEN_DIRECT_IO });
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
        match self.read_bytes(ino, offset, size) {
            Ok(bytes) => reply.data(&bytes),
            Err(error) => reply.error(error),
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
        match self.write_bytes(ino, offset, data) {
            Ok(()) => reply.written(data.len() as u32),
            Err(error) => reply.error(error),
        }
    }

    fn fsync(&self, _: &Request, ino: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        match self.image(ino).and_then(|image| self.hooks.lock().unwrap().barrier(image)) {
            Ok(()) => reply.ok(),
            Err(error) => reply.error(error),
        }
    }
}
