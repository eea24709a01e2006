//! Writing a batch into the directory.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, RawDir, Stat, fchmod, fremovexattr, linkat, makedev, mkdirat, mknodat,
    openat, statat, symlinkat, unlinkat,
};
use rustix::io::Errno;

use crate::error::{Error, Result};
use crate::files::{Attributes, ExtentKind, FileKind, Files};
use crate::parallel::{lock, on_threads};
use crate::progress::Progress;

use super::super::batch::Prepared;
use super::super::directories::{Directories, DirectoryNumber};
use super::super::options::{BadSectors, Options, Summary};
use super::super::problem::{ProblemKind, Reports};
use super::super::reader::{Outcome, Reader};
use super::attributes::{Keeper, Origin, Subject, is_fatal};
use super::parts::{Begun, Part, Unfinished, parts};
use super::place::{Place, Places};
use super::share::{Share, Shares};

/// Permissions of what is not finished.
const UNFINISHED_FILE: Mode = Mode::RUSR.union(Mode::WUSR);
const UNFINISHED_DIRECTORY: Mode = Mode::RWXU;

/// A directory that files are brought to.
pub struct Folder<'t> {
    path: PathBuf,
    root: OwnedFd,
    files: &'t Files<'t>,
    reports: &'t Reports<'t>,
    progress: &'t Progress,
    threads: usize,
    resume: bool,
    bad_sectors: BadSectors,
    keeper: Keeper,
    shares: Shares,
    totals: Totals,
}

#[derive(Default)]
struct Totals {
    files: AtomicU64,
    directories: AtomicU64,
    bytes: AtomicU64,
    passed_over: AtomicU64,
}

/// What one thread has.
struct Worker<'w, 't> {
    folder: &'w Folder<'t>,
    directories: &'w Directories,
    places: Places<'w>,
    reader: Reader<'w, 't>,
}

impl<'t> Folder<'t> {
    /// Opens the directory, or makes it. It has to be empty unless an earlier run is gone on with.
    ///
    /// # Errors
    ///
    /// It cannot be made or opened, or is not empty.
    pub fn open(path: &Path, files: &'t Files<'t>, options: &'t Options<'t>, reports: &'t Reports<'t>) -> Result<Self> {
        let failed = |source: io::Error| Error::Target { path: path.to_owned(), source };
        match std::fs::create_dir(path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(failed(error)),
            _ => {}
        }
        // The directory itself may be named by a symbolic link.
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = openat(CWD, path, flags, Mode::empty()).map_err(|error| failed(error.into()))?;
        if !options.resume && !is_empty(&root).map_err(failed)? {
            let problem = "is not empty".to_owned();
            return Err(Error::Unfit { path: path.to_owned(), problem });
        }
        let block = rustix::fs::fstat(&root).map_err(|error| failed(error.into()))?.st_blksize;
        Ok(Self {
            path: path.to_owned(),
            root,
            files,
            reports,
            progress: options.progress,
            threads: options.threads,
            resume: options.resume,
            bad_sectors: options.bad_sectors,
            keeper: Keeper::new(),
            shares: Shares::new(options.reflink, u64::try_from(block).unwrap_or(1)),
            totals: Totals::default(),
        })
    }

    /// Makes the directories from the number `first` on, and writes a batch of files.
    ///
    /// # Errors
    ///
    /// The directory takes no more, or the work was stopped.
    pub fn write(&self, directories: &Directories, first: usize, batch: &[Prepared]) -> Result<()> {
        let mut worker = self.worker(directories);
        for number in directories.numbers_from(first) {
            worker.make_directory(number)?;
        }
        let unfinished: Vec<Unfinished> = batch.iter().map(Unfinished::new).collect();
        let (parts, is_ended) = (Mutex::new(parts(batch)), AtomicBool::new(false));
        let results = on_threads(self.threads, || {
            let mut worker = self.worker(directories);
            while !is_ended.load(Ordering::Relaxed) {
                if self.progress.is_stopped() {
                    return Err(Error::Interrupted);
                }
                // Bound to a name so that the source is unlocked before the work begins.
                let next = lock(&parts).next();
                let Some(Part { index, range }) = next else { break };
                let done = worker.write_part(&batch[index], &unfinished[index], range);
                if done.is_err() {
                    // The others have nothing to go on with.
                    is_ended.store(true, Ordering::Relaxed);
                    return done;
                }
            }
            Ok(())
        });
        results.into_iter().collect::<Result<()>>()?;
        let is_other = |prepared: &&Prepared| prepared.kind != FileKind::File || prepared.link_to.is_some();
        for prepared in batch.iter().filter(is_other) {
            worker.make(prepared)?;
        }
        Ok(())
    }

    /// Sets the attributes of directories from the number `first` on, which writing into them has changed.
    pub fn finish(self, directories: &Directories, first: usize, summary: &mut Summary) {
        let mut places = Places::new(self.root.as_fd());
        // Those below come first: a directory that this process may not search any more ends what can be done there.
        for number in directories.numbers_from(first).rev() {
            let Some(inode) = directories.get(number).inode else { continue };
            let path = || directories.path(number);
            // That it could not be made was told.
            let Ok(place) = places.open(directories, number) else { continue };
            match self.files.attributes(inode) {
                Ok(attributes) => {
                    let origin = Origin { files: self.files, reports: self.reports, inode, path: &path };
                    self.keeper.set(&Subject::Open(place), &attributes, true, &origin);
                }
                Err(error) => self.reports.tell_of(ProblemKind::Attribute, path(), Some(inode), error),
            }
        }
        let Totals { files, directories, bytes, passed_over } = self.totals;
        summary.files = files.into_inner();
        summary.directories = directories.into_inner();
        summary.bytes = bytes.into_inner();
        summary.passed_over = passed_over.into_inner();
        summary.shared_bytes = self.shares.bytes.into_inner();
        summary.owners_left_out = self.keeper.owners_left_out.into_inner();
        summary.properties_left_out = self.keeper.properties_left_out.into_inner();
    }

    fn worker<'w>(&'w self, directories: &'w Directories) -> Worker<'w, 't> {
        Worker {
            folder: self,
            directories,
            places: Places::new(self.root.as_fd()),
            reader: Reader::new(self.files, self.reports, self.bad_sectors),
        }
    }
}

fn is_empty(directory: &OwnedFd) -> io::Result<bool> {
    let mut buffer = Vec::with_capacity(4096);
    let mut names = RawDir::new(directory, buffer.spare_capacity_mut());
    while let Some(name) = names.next() {
        if ![&b"."[..], b".."].contains(&name?.file_name().to_bytes()) {
            return Ok(false);
        }
    }
    Ok(true)
}

impl Worker<'_, '_> {
    fn path_of(&self, prepared: &Prepared) -> Vec<u8> {
        self.directories.path_of(prepared.entry.directory, &prepared.entry.name)
    }

    /// Tells that something was not extracted; fails if nothing can be.
    fn missing(&self, prepared: &Prepared, error: impl Into<io::Error>) -> Result<()> {
        self.fail_at(self.path_of(prepared), Some(prepared.entry.inode), error.into())
    }

    fn fail_at(&self, path: Vec<u8>, inode: Option<crate::files::InodeId>, error: io::Error) -> Result<()> {
        if is_fatal(&error) {
            let path = self.folder.path.join(std::ffi::OsStr::from_bytes(&path));
            return Err(Error::Target { path, source: error });
        }
        self.folder.reports.tell_of(ProblemKind::Missing, path, inode, error);
        Ok(())
    }

    fn make_directory(&mut self, number: DirectoryNumber) -> Result<()> {
        let directory = self.directories.get(number);
        let made = self.places.open(self.directories, directory.parent).and_then(|parent| {
            if number == DirectoryNumber::ROOT {
                return Ok(());
            }
            match mkdirat(&parent, &*directory.name, UNFINISHED_DIRECTORY) {
                Err(Errno::EXIST) if self.folder.resume => renew(&parent, &directory.name),
                made => Ok(made?),
            }
        });
        match made {
            Ok(()) => {
                self.folder.totals.directories.fetch_add(1, Ordering::Relaxed);
                Ok(())
            }
            Err(error) => self.fail_at(self.directories.path(number), directory.inode, error),
        }
    }

    /// Writes a part of a regular file, and finishes the file with the last of its parts.
    fn write_part(&mut self, prepared: &Prepared, unfinished: &Unfinished, range: Range<u64>) -> Result<()> {
        let place = match self.places.open(self.directories, prepared.entry.directory) {
            Ok(place) => place,
            Err(error) => return if range.start == 0 { self.missing(prepared, error) } else { Ok(()) },
        };
        let mut begun = lock(&unfinished.begun);
        let mut made = None;
        let state = match *begun {
            Some(begun) => begun,
            None => {
                let (state, file) = self.begin(&place, prepared)?;
                made = file;
                *begun.insert(state)
            }
        };
        drop(begun);
        let file = match (state, made) {
            (Begun::Made, Some(file)) => Ok(file),
            (Begun::Made, None) => open_file(&place, &prepared.entry.name, OFlags::WRONLY),
            (Begun::PassedOver | Begun::Failed, _) => return Ok(()),
        };
        let file = match file {
            Ok(file) => file,
            Err(error) => return self.missing(prepared, error),
        };
        match self.write_range(prepared, &file, range) {
            Ok(Outcome::Sound) => {}
            Ok(Outcome::Bad) => unfinished.is_bad.store(true, Ordering::Relaxed),
            Err(Error::Target { source, .. }) if !is_fatal(&source) => {
                unfinished.is_bad.store(true, Ordering::Relaxed);
                self.missing(prepared, source)?;
            }
            Err(error) => return Err(error),
        }
        if unfinished.parts_left.fetch_sub(1, Ordering::AcqRel) > 1 {
            return Ok(());
        }
        let is_bad = self.tell_lost(prepared) || unfinished.is_bad.load(Ordering::Relaxed);
        if is_bad && self.folder.bad_sectors == BadSectors::SkipFile {
            drop(file);
            return match unlinkat(&place, &*prepared.entry.name, AtFlags::empty()) {
                Ok(()) => Ok(()),
                Err(error) => self.missing(prepared, error),
            };
        }
        // Without the time of the file it is written again by a run that goes on.
        self.set_attributes(&Subject::Open(&file), prepared, !is_bad);
        self.folder.totals.files.fetch_add(1, Ordering::Relaxed);
        self.folder.progress.add_files(1);
        Ok(())
    }

    /// Tells of ranges that the items of a file do not tell of; whether there are any.
    fn tell_lost(&self, prepared: &Prepared) -> bool {
        let path = || self.path_of(prepared);
        prepared.tell_lost(self.folder.reports, &path, self.folder.bad_sectors == BadSectors::SkipFile)
    }

    /// Makes a regular file, unless an earlier run has written it.
    fn begin(&mut self, place: &Place<'_>, prepared: &Prepared) -> Result<(Begun, Option<File>)> {
        let name = &prepared.entry.name[..];
        if let Err(error) = self.reader.open(prepared) {
            let path = self.path_of(prepared);
            self.folder.reports.tell_of(ProblemKind::Missing, path, Some(prepared.entry.inode), error);
            return Ok((Begun::Failed, None));
        }
        if self.folder.resume {
            match self.is_passed_over(place, prepared) {
                Ok(true) => {
                    self.folder.totals.passed_over.fetch_add(1, Ordering::Relaxed);
                    return Ok((Begun::PassedOver, None));
                }
                Ok(false) => {}
                Err(error) => {
                    self.missing(prepared, error)?;
                    return Ok((Begun::Failed, None));
                }
            }
        }
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let made = openat(place, name, flags, UNFINISHED_FILE).map(File::from).map_err(io::Error::from);
        let made = made.and_then(|file| {
            // Of a length that the target cannot have nothing is left.
            match file.set_len(prepared.size) {
                Err(error) => {
                    unlinkat(place, name, AtFlags::empty())?;
                    Err(error)
                }
                Ok(()) => Ok(file),
            }
        });
        match made {
            Ok(file) => Ok((Begun::Made, Some(file))),
            Err(error) => {
                self.missing(prepared, error)?;
                Ok((Begun::Failed, None))
            }
        }
    }

    /// Whether an earlier run has written a file; what else has its name is removed.
    fn is_passed_over(&self, place: &Place<'_>, prepared: &Prepared) -> io::Result<bool> {
        let name = &prepared.entry.name[..];
        let stat = match statat(place, name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => return Ok(false),
            stat => stat?,
        };
        let is_same = prepared.attributes.as_ref().is_ok_and(|attributes| is_finished(&stat, attributes));
        if !is_same {
            unlinkat(place, name, AtFlags::empty())?;
        }
        Ok(is_same)
    }

    /// Writes what of a range is no hole.
    fn write_range(&mut self, prepared: &Prepared, file: &File, range: Range<u64>) -> Result<Outcome> {
        let (directories, directory, name) = (self.directories, prepared.entry.directory, &prepared.entry.name);
        let path = || directories.path_of(directory, name);
        if self.reader.file().is_none_or(|open| open.id() != prepared.entry.inode) {
            self.reader.open(prepared)?;
        }
        let data = &prepared.layout.data;
        let first = data.partition_point(|data| data.end <= range.start);
        let mut outcome = Outcome::Sound;
        for data in data.iter().skip(first).take_while(|data| data.start < range.end) {
            let mut offset = data.start.max(range.start);
            let end = data.end.min(range.end);
            while offset < end {
                let (piece_end, piece) = self.write_extent(prepared, file, offset..end, &path)?;
                if piece == Outcome::Bad {
                    outcome = Outcome::Bad;
                    if self.folder.bad_sectors == BadSectors::SkipFile {
                        return Ok(outcome);
                    }
                }
                self.folder.totals.bytes.fetch_add(piece_end - offset, Ordering::Relaxed);
                self.folder.progress.add(piece_end - offset);
                offset = piece_end;
            }
        }
        Ok(outcome)
    }

    /// Writes the beginning of a range of data, up to the end of its extent where blocks may be shared. Returns where that is.
    fn write_extent(
        &mut self,
        prepared: &Prepared,
        file: &File,
        range: Range<u64>,
        path: &dyn Fn() -> Vec<u8>,
    ) -> Result<(u64, Outcome)> {
        let (folder, directories) = (self.folder, self.directories);
        let (directory, name) = (prepared.entry.directory, &prepared.entry.name);
        let (mut end, mut from, mut claim) = (range.end, range.start, None);
        if folder.shares.is_possible()
            && let Some(found) = self.reader.file().and_then(|open| open.extent_at(range.start))
        {
            end = end.min(found.offset.saturating_add(found.length));
            if let ExtentKind::Disk(disk) = found.kind {
                let places = &mut self.places;
                let share = folder.shares.share(&disk, file, range.start, end - range.start, |directory, name| {
                    open_file(&places.open(directories, directory).ok()?, name, OFlags::RDONLY).ok()
                });
                match share {
                    Share::Bytes(bytes) => from += bytes,
                    Share::First(first) => claim = Some(first),
                    Share::Nothing => {}
                }
            }
        }
        if from == end {
            return Ok((end, Outcome::Sound));
        }
        let mut write = |at: u64, data: &[u8]| {
            file.write_all_at(data, at).map_err(|source| {
                let path = folder.path.join(std::ffi::OsStr::from_bytes(&path()));
                Error::Target { path, source }
            })
        };
        let outcome = self.reader.read(from..end, path, &mut write)?;
        if let Some(claim) = claim.filter(|_| outcome == Outcome::Sound) {
            claim.written(directory, name, range.start, end - range.start);
        }
        Ok((end, outcome))
    }

    fn set_attributes<Fd: AsFd>(&self, subject: &Subject<'_, Fd>, prepared: &Prepared, has_times: bool) {
        let inode = prepared.entry.inode;
        let path = || self.path_of(prepared);
        let (files, reports) = (self.folder.files, self.folder.reports);
        let origin = Origin { files, reports, inode, path: &path };
        if let Ok(attributes) = &prepared.attributes {
            self.folder.keeper.set(subject, attributes, has_times, &origin);
        }
        if let Some(problem) = prepared.attributes_problem() {
            origin.tell(problem);
        }
    }

    /// Makes what is no regular file, and links to files that were made before.
    fn make(&mut self, prepared: &Prepared) -> Result<()> {
        if self.folder.progress.is_stopped() {
            return Err(Error::Interrupted);
        }
        let name = &prepared.entry.name[..];
        let made = self.places.open(self.directories, prepared.entry.directory).and_then(|place| {
            let made = self.make_in(&place, prepared);
            match made {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && self.folder.resume => {
                    unlinkat(&place, name, AtFlags::empty())?;
                    self.make_in(&place, prepared)
                }
                made => made,
            }
        });
        match made {
            Ok(()) => {
                self.folder.totals.files.fetch_add(1, Ordering::Relaxed);
                self.folder.progress.add_files(1);
                Ok(())
            }
            Err(error) => self.missing(prepared, error),
        }
    }

    fn make_in(&mut self, place: &Place<'_>, prepared: &Prepared) -> io::Result<()> {
        let name = &prepared.entry.name[..];
        if let Some((directory, first)) = &prepared.link_to {
            let old = self.places.open(self.directories, *directory)?;
            return Ok(linkat(&old, &**first, place, name, AtFlags::empty())?);
        }
        let attributes = prepared.attributes.as_ref().ok();
        let (file_type, device) = match prepared.kind {
            FileKind::Symlink => {
                let target = self.folder.files.read_link(prepared.entry.inode).map_err(io::Error::other)?;
                symlinkat(&target[..], place, name)?;
                self.set_attributes(&Subject::Link(place, name), prepared, true);
                return Ok(());
            }
            FileKind::CharDevice | FileKind::BlockDevice => {
                let kind = if prepared.kind == FileKind::CharDevice {
                    FileType::CharacterDevice
                } else {
                    FileType::BlockDevice
                };
                let (major, minor) = attributes.map(Attributes::device).ok_or_else(|| {
                    io::Error::other("the inode item is missing, and with it the numbers of the device")
                })?;
                (kind, makedev(major, minor))
            }
            FileKind::Fifo => (FileType::Fifo, 0),
            FileKind::Socket => (FileType::Socket, 0),
            FileKind::File | FileKind::Directory | FileKind::Unknown => {
                let reason = prepared.attributes.as_ref().err().map_or("the kind of file is not known", String::as_str);
                return Err(io::Error::other(reason.to_owned()));
            }
        };
        mknodat(place, name, file_type, UNFINISHED_FILE, device)?;
        self.set_attributes(&Subject::Named(place, name), prepared, true);
        Ok(())
    }
}

/// Has a directory that an earlier run made be as a new one, so that nothing in it inherits anything.
fn renew(parent: &Place<'_>, name: &[u8]) -> io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let directory = openat(parent, name, flags, Mode::empty())?;
    match fremovexattr(&directory, "system.posix_acl_default") {
        Ok(()) | Err(Errno::NODATA | Errno::NOTSUP) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(fchmod(&directory, UNFINISHED_DIRECTORY)?)
}

fn open_file(place: &Place<'_>, name: &[u8], access: OFlags) -> io::Result<File> {
    let flags = access | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    Ok(File::from(openat(place, name, flags, Mode::empty())?))
}

/// Whether a file has the size and the time that it has when it is finished.
fn is_finished(stat: &Stat, attributes: &Attributes) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
        && u64::try_from(stat.st_size) == Ok(attributes.size)
        && stat.st_mtime == attributes.mtime.sec
        && u32::try_from(stat.st_mtime_nsec) == Ok(attributes.mtime.nanoseconds())
}
