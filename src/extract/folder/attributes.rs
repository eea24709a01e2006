//! Owners, modes, times and extended attributes of what was written.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rustix::fs::{
    AtFlags, CWD, Gid, Mode, OFlags, Timespec, Timestamps, Uid, XattrFlags, chmodat, chownat, fchmod, fchown,
    fsetxattr, futimens, lsetxattr, openat, utimensat,
};
use rustix::io::Errno;

use crate::files::{Attributes, Files, InodeId, Timestamp};

use super::super::problem::{ProblemKind, Reports};

/// Permissions and the bits before them.
const PERMISSIONS: u32 = 0o7777;
/// Those that have programs run with the rights of the owner: another owner does not get them.
const SET_ID: u32 = 0o6000;
/// No owner: a call that gets it leaves the owner as it is.
const NO_OWNER: u32 = u32::MAX;

/// What has its attributes set.
pub enum Subject<'s, Fd> {
    /// An open file or directory.
    Open(Fd),
    /// A device, pipe or socket of this name in an open directory.
    Named(Fd, &'s [u8]),
    /// A symbolic link.
    Link(Fd, &'s [u8]),
}

/// A path by which the kernel finds what is open, whatever its name is by now.
fn path_of(fd: &impl AsFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd()))
}

/// Sets attributes, and notes what this process may not set.
pub struct Keeper {
    is_root: bool,
    pub owners_left_out: AtomicBool,
    pub properties_left_out: AtomicU64,
}

/// The inode that has its attributes set, for messages.
pub struct Origin<'o> {
    pub files: &'o Files<'o>,
    pub reports: &'o Reports<'o>,
    pub inode: InodeId,
    pub path: &'o dyn Fn() -> Vec<u8>,
}

impl Origin<'_> {
    pub fn tell(&self, reason: impl std::fmt::Display) {
        self.reports.tell_of(ProblemKind::Attribute, (self.path)(), Some(self.inode), reason);
    }
}

impl<Fd: AsFd> Subject<'_, Fd> {
    fn set_owner(&self, uid: u32, gid: u32) -> rustix::io::Result<()> {
        let (uid, gid) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
        match self {
            Self::Open(fd) => fchown(fd, uid, gid),
            Self::Named(fd, name) | Self::Link(fd, name) => chownat(fd, *name, uid, gid, AtFlags::SYMLINK_NOFOLLOW),
        }
    }

    fn set_times(&self, times: &Timestamps) -> rustix::io::Result<()> {
        match self {
            Self::Open(fd) => futimens(fd, times),
            Self::Named(fd, name) | Self::Link(fd, name) => utimensat(fd, *name, times, AtFlags::SYMLINK_NOFOLLOW),
        }
    }

    fn set_xattr(&self, name: &[u8], value: &[u8]) -> rustix::io::Result<()> {
        match self {
            Self::Open(fd) => fsetxattr(fd, name, value, XattrFlags::empty()),
            Self::Named(fd, own_name) | Self::Link(fd, own_name) => {
                let path = path_of(fd).join(OsStr::from_bytes(own_name));
                lsetxattr(path, name, value, XattrFlags::empty())
            }
        }
    }

    fn set_mode(&self, mode: Mode) -> rustix::io::Result<()> {
        match self {
            Self::Open(fd) => fchmod(fd, mode),
            Self::Named(fd, name) => {
                let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let own = openat(fd, *name, flags, Mode::empty())?;
                chmodat(CWD, path_of(&own), mode, AtFlags::empty())
            }
            // It has none of its own.
            Self::Link(..) => Ok(()),
        }
    }
}

impl Keeper {
    pub fn new() -> Self {
        let is_root = rustix::process::geteuid().is_root();
        Self { is_root, owners_left_out: AtomicBool::new(false), properties_left_out: AtomicU64::new(0) }
    }

    /// Sets all attributes, the times last and only if `has_times`.
    pub fn set<Fd: AsFd>(
        &self,
        subject: &Subject<'_, Fd>,
        attributes: &Attributes,
        has_times: bool,
        origin: &Origin<'_>,
    ) {
        let has_owner = self.set_owner(subject, attributes, origin);
        self.set_xattrs(subject, origin);
        let bits = if has_owner { PERMISSIONS } else { PERMISSIONS & !SET_ID };
        if let Err(error) = subject.set_mode(Mode::from_raw_mode(attributes.mode & bits)) {
            origin.tell(format_args!("the mode {:o}: {error}", attributes.mode & PERMISSIONS));
        }
        if has_times {
            let time = |time: Timestamp| Timespec { tv_sec: time.sec, tv_nsec: time.nanoseconds().into() };
            let times = Timestamps { last_access: time(attributes.atime), last_modification: time(attributes.mtime) };
            if let Err(error) = subject.set_times(&times) {
                origin.tell(format_args!("the times: {error}"));
            }
        }
    }

    fn set_owner<Fd: AsFd>(&self, subject: &Subject<'_, Fd>, attributes: &Attributes, origin: &Origin<'_>) -> bool {
        let Attributes { uid, gid, .. } = *attributes;
        if [uid, gid].contains(&NO_OWNER) {
            origin.tell(format_args!("no file can have the owner {uid} and the group {gid}"));
            return false;
        }
        match subject.set_owner(uid, gid) {
            Ok(()) => true,
            Err(Errno::PERM) if !self.is_root => {
                self.owners_left_out.store(true, Ordering::Relaxed);
                false
            }
            Err(error) => {
                origin.tell(format_args!("the owner {uid} and the group {gid}: {error}"));
                false
            }
        }
    }

    fn set_xattrs<Fd: AsFd>(&self, subject: &Subject<'_, Fd>, origin: &Origin<'_>) {
        let xattrs = match origin.files.xattrs(origin.inode) {
            Ok(xattrs) => xattrs,
            Err(error) => return origin.tell(error),
        };
        for xattr in xattrs {
            let xattr = match xattr {
                Ok(xattr) => xattr,
                Err(error) => {
                    origin.tell(error);
                    continue;
                }
            };
            let is_roots = [&b"trusted."[..], b"security."].iter().any(|prefix| xattr.name.starts_with(prefix));
            match subject.set_xattr(&xattr.name, &xattr.value) {
                Ok(()) => {}
                Err(Errno::PERM) if !self.is_root && is_roots => self.owners_left_out.store(true, Ordering::Relaxed),
                Err(Errno::NOTSUP) if xattr.name.starts_with(b"btrfs.") => {
                    self.properties_left_out.fetch_add(1, Ordering::Relaxed);
                }
                Err(error) => origin.tell(format_args!("the attribute {}: {error}", xattr.name.escape_ascii())),
            }
        }
    }
}

/// Errors that end the work: what comes after would meet them too.
pub fn is_fatal(error: &io::Error) -> bool {
    let fatal = [Errno::NOSPC, Errno::DQUOT, Errno::ROFS, Errno::IO, Errno::MFILE, Errno::NFILE];
    Errno::from_io_error(error).is_some_and(|errno| fatal.contains(&errno))
}
