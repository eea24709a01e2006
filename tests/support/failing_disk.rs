//! A disk with unreadable places: one image, served read-only through FUSE, that answers EIO for chosen ranges.

use std::ffi::OsStr;
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use fuser::{
    BackgroundSession, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo,
    LockOwner, MountOption, OpenFlags, ReplyAttr, ReplyData, ReplyEntry, ReplyOpen, Request,
};

use super::Scratch;

const NAME: &str = "failing.img";
const IMAGE: INodeNo = INodeNo(2);
const FOREVER: Duration = Duration::from_secs(3600);

/// The mounted disk; unmounted when dropped.
pub struct FailingDisk {
    image: PathBuf,
    _session: BackgroundSession,
}

impl FailingDisk {
    /// Serves `image`, of which the bytes in `unreadable` cannot be read.
    pub fn new(image: &Path, unreadable: Vec<Range<u64>>, scratch: &Scratch) -> Result<Self, String> {
        let file = File::open(image).unwrap();
        let mount = scratch.path(&format!("mount-of-{:?}", unreadable));
        std::fs::create_dir(&mount).unwrap();
        let size = file.metadata().unwrap().len();
        let mut config = Config::default();
        config.mount_options.extend([MountOption::RO, MountOption::FSName("failing-disk".to_owned())]);
        let session = fuser::spawn_mount(Disk { file, size, unreadable }, &mount, &config);
        let session = session.map_err(|error| format!("no FUSE: {error}"))?;
        Ok(Self { image: mount.join(NAME), _session: session })
    }

    pub fn image(&self) -> PathBuf {
        self.image.clone()
    }
}

struct Disk {
    file: File,
    size: u64,
    unreadable: Vec<Range<u64>>,
}

impl Disk {
    fn attributes(&self, ino: INodeNo) -> FileAttr {
        let (kind, perm, size) = match ino {
            IMAGE => (FileType::RegularFile, 0o444, self.size),
            _ => (FileType::Directory, 0o555, 0),
        };
        let (atime, mtime, ctime, crtime) = (UNIX_EPOCH, UNIX_EPOCH, UNIX_EPOCH, UNIX_EPOCH);
        let (blocks, nlink, uid, gid, rdev, flags, blksize) = (size / 512, 1, 0, 0, 0, 0, 4096);
        FileAttr { ino, size, blocks, atime, mtime, ctime, crtime, kind, perm, nlink, uid, gid, rdev, flags, blksize }
    }
}

impl Filesystem for Disk {
    fn lookup(&self, _: &Request, _: INodeNo, name: &OsStr, reply: ReplyEntry) {
        match name == NAME {
            true => reply.entry(&FOREVER, &self.attributes(IMAGE), Generation(0)),
            false => reply.error(Errno::ENOENT),
        }
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        reply.attr(&FOREVER, &self.attributes(ino));
    }

    /// Past the page cache, which would read ahead into what is unreadable.
    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        reply.opened(FileHandle(0), FopenFlags::FOPEN_DIRECT_IO);
    }

    fn read(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let end = (offset + u64::from(size)).min(self.size).max(offset);
        if self.unreadable.iter().any(|range| range.start < end && offset < range.end) {
            return reply.error(Errno::EIO);
        }
        let mut bytes = vec![0; (end - offset) as usize];
        match self.file.read_exact_at(&mut bytes, offset) {
            Ok(()) => reply.data(&bytes),
            Err(_) => reply.error(Errno::EIO),
        }
    }
}
