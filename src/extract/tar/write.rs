//! Writing a batch into the stream.

use std::collections::HashSet;
use std::io::Write;
use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crate::error::{Error, Result};
use crate::files::{FileKind, Files, InodeId, Xattr};
use crate::parallel::{lock, on_threads, ordered};
use crate::progress::Progress;

use super::super::batch::Prepared;
use super::super::directories::{Directories, DirectoryNumber};
use super::super::options::{BadSectors, Options, Summary};
use super::super::problem::{ProblemKind, Reports};
use super::super::reader::{Outcome, Reader};
use super::header::{self, END, Member, MemberKind};

/// Data that one job reads.
const PART: u64 = 1 << 20;

/// A tar stream that files are written to.
pub struct Tar<'t> {
    out: Box<dyn Write + Send + 't>,
    maker: Maker<'t>,
}

/// Makes the parts of the stream, on all threads.
struct Maker<'t> {
    files: &'t Files<'t>,
    reports: &'t Reports<'t>,
    progress: &'t Progress,
    threads: usize,
    bad_sectors: BadSectors,
    /// Readers that no thread uses just now.
    readers: Mutex<Vec<Reader<'t, 't>>>,
    totals: Totals,
    /// First names of inodes that are not in the stream: no name can link to them.
    left_out: HashSet<InodeId>,
}

#[derive(Default)]
struct Totals {
    files: AtomicU64,
    directories: AtomicU64,
    bytes: AtomicU64,
    sockets_left_out: AtomicU64,
}

/// What one thread makes of the stream at once.
enum Job {
    Directory(DirectoryNumber),
    /// A regular file with its data, if that is little.
    File {
        index: usize,
        has_data: bool,
    },
    /// Data of a file that has much.
    Data {
        index: usize,
        ranges: Vec<Range<u64>>,
        padding: usize,
    },
    /// What is no regular file, and links.
    Other(usize),
}

/// What is common to the jobs of a batch.
struct Batch<'b> {
    directories: &'b Directories,
    prepared: &'b [Prepared],
}

impl<'t> Tar<'t> {
    pub fn new(
        out: Box<dyn Write + Send + 't>,
        files: &'t Files<'t>,
        options: &'t Options<'t>,
        reports: &'t Reports<'t>,
    ) -> Self {
        let maker = Maker {
            files,
            reports,
            progress: options.progress,
            threads: options.threads,
            bad_sectors: options.bad_sectors,
            readers: Mutex::default(),
            totals: Totals::default(),
            left_out: HashSet::new(),
        };
        Self { out, maker }
    }

    /// Writes a batch of files, each behind the directories that were met before it, from the number `first` on: readers give a directory
    /// its time when they leave it.
    ///
    /// # Errors
    ///
    /// The stream cannot be written, or the work was stopped.
    pub fn write(&mut self, directories: &Directories, first: usize, prepared: &[Prepared]) -> Result<()> {
        let batch = Batch { directories, prepared };
        let Self { out, maker } = self;
        let bad = if maker.bad_sectors == BadSectors::SkipFile { maker.bad_files(&batch) } else { HashSet::new() };
        maker.left_out.extend(bad.iter().map(|index| prepared[*index].entry.inode));
        let mut next = first;
        let of_files = (0..prepared.len()).flat_map(|index| {
            let after = prepared[index].entry.after.max(next);
            let before = std::mem::replace(&mut next, after)..after;
            let wanted = (!bad.contains(&index)).then(|| jobs_of(index, &prepared[index]));
            directories.numbers(before).map(Job::Directory).chain(wanted.into_iter().flatten())
        });
        let last = prepared.last().map_or(first, |last| last.entry.after.max(first));
        let jobs = of_files.chain(directories.numbers_from(last).map(Job::Directory));
        let maker = &*maker;
        ordered(
            maker.threads,
            together(jobs, |job| batch.bytes_of(job)),
            |jobs, bytes: &mut Vec<u8>| {
                bytes.clear();
                for job in jobs {
                    if !maker.progress.is_stopped() {
                        maker.make(&batch, job, bytes);
                    }
                }
            },
            |bytes| {
                if maker.progress.is_stopped() {
                    return Err(Error::Interrupted);
                }
                out.write_all(bytes).map_err(Error::Output)
            },
        )
    }

    /// Ends the stream.
    ///
    /// # Errors
    ///
    /// It cannot be written.
    pub fn finish(mut self, summary: &mut Summary) -> Result<()> {
        self.out.write_all(&END).and_then(|()| self.out.flush()).map_err(Error::Output)?;
        let Totals { files, directories, bytes, sockets_left_out } = self.maker.totals;
        summary.files = files.into_inner();
        summary.directories = directories.into_inner();
        summary.bytes = bytes.into_inner();
        summary.sockets_left_out = sockets_left_out.into_inner();
        Ok(())
    }
}

impl<'t> Maker<'t> {
    fn with_reader<R>(&self, work: impl FnOnce(&mut Reader<'t, 't>) -> R) -> R {
        let kept = lock(&self.readers).pop();
        let mut reader = kept.unwrap_or_else(|| Reader::new(self.files, self.reports, self.bad_sectors));
        let result = work(&mut reader);
        lock(&self.readers).push(reader);
        result
    }

    /// Files of a batch that have a range which cannot be read: what they are has to be known before their headers.
    fn bad_files(&self, batch: &Batch<'_>) -> HashSet<usize> {
        let (next, bad) = (AtomicUsize::new(0), Mutex::new(HashSet::new()));
        on_threads(self.threads, || {
            loop {
                let index = next.fetch_add(1, Ordering::Relaxed);
                let Some(prepared) = batch.prepared.get(index) else { return };
                if prepared.kind != FileKind::File || prepared.link_to.is_some() || self.progress.is_stopped() {
                    continue;
                }
                let path = || batch.path_of(prepared);
                let is_sound = !prepared.tell_lost(self.reports, &path, true)
                    && self.with_reader(|reader| {
                        if let Err(error) = reader.open(prepared) {
                            self.reports.tell_of(ProblemKind::Missing, path(), Some(prepared.entry.inode), error);
                            return false;
                        }
                        prepared.layout.data.iter().all(|range| {
                            let read = reader.read(range.clone(), &path, &mut |_, _| Ok(()));
                            read.is_ok_and(|outcome| outcome == Outcome::Sound)
                        })
                    });
                if !is_sound {
                    lock(&bad).insert(index);
                }
            }
        });
        bad.into_inner().unwrap_or_default()
    }

    fn make(&self, batch: &Batch<'_>, job: Job, out: &mut Vec<u8>) {
        match job {
            Job::Directory(number) => self.make_directory(batch, number, out),
            Job::File { index, has_data } => self.make_file(batch, &batch.prepared[index], has_data, out),
            Job::Data { index, ranges, padding } => {
                self.make_data(batch, &batch.prepared[index], &ranges, out);
                out.resize(out.len() + padding, 0);
            }
            Job::Other(index) => self.make_other(batch, &batch.prepared[index], out),
        }
    }

    fn make_directory(&self, batch: &Batch<'_>, number: DirectoryNumber, out: &mut Vec<u8>) {
        let directory = batch.directories.get(number);
        let mut path = batch.directories.path(number);
        let told_path = path.clone();
        if path.is_empty() {
            path.push(b'.');
        }
        path.push(b'/');
        let attributes = directory.inode.map(|inode| (inode, self.files.attributes(inode)));
        let attributes = attributes.and_then(|(inode, attributes)| {
            let tell = |error| self.reports.tell_of(ProblemKind::Attribute, told_path.clone(), Some(inode), error);
            attributes.map_err(tell).ok()
        });
        let xattrs = directory.inode.map(|inode| self.xattrs(inode, &told_path)).unwrap_or_default();
        let kind = MemberKind::Directory;
        header::put(&Member { path: &path, kind, attributes: attributes.as_ref(), xattrs: &xattrs }, out);
        self.totals.directories.fetch_add(1, Ordering::Relaxed);
    }

    fn make_file(&self, batch: &Batch<'_>, prepared: &Prepared, has_data: bool, out: &mut Vec<u8>) {
        let path = batch.path_of(prepared);
        let attributes = prepared.attributes.as_ref().ok();
        self.tell_attributes(prepared, &path);
        prepared.tell_lost(self.reports, &|| path.clone(), false);
        // Of a file that cannot be read at all nothing comes out.
        if attributes.is_none()
            && let Err(error) = self.files.file_by_extents(prepared.entry.inode)
        {
            self.reports.tell_of(ProblemKind::Missing, path, Some(prepared.entry.inode), error);
            return;
        }
        let data = &prepared.layout.data;
        let is_whole = data.len() == 1 && data[0] == (0..prepared.size) || prepared.size == 0;
        let sparse = (!is_whole).then_some(&data[..]);
        let xattrs = self.xattrs(prepared.entry.inode, &path);
        let kind = MemberKind::File { size: prepared.size, sparse };
        header::put(&Member { path: &path, kind, attributes, xattrs: &xattrs }, out);
        if has_data {
            self.make_data(batch, prepared, data, out);
            header::pad(out);
        }
        self.count_file();
    }

    /// Appends as many bytes as the ranges have.
    fn make_data(&self, batch: &Batch<'_>, prepared: &Prepared, ranges: &[Range<u64>], out: &mut Vec<u8>) {
        let path = || batch.path_of(prepared);
        self.with_reader(|reader| {
            if reader.file().is_none_or(|file| file.id() != prepared.entry.inode)
                && let Err(error) = reader.open(prepared)
            {
                self.reports.tell_of(ProblemKind::Zeroed, path(), Some(prepared.entry.inode), error);
                out.resize(out.len() + bytes_in(ranges) as usize, 0);
                return;
            }
            for range in ranges {
                let begin = out.len();
                let read = reader.read(range.clone(), &path, &mut |offset, data| {
                    // What lies between is zeroes.
                    out.resize(begin + (offset - range.start) as usize, 0);
                    out.extend_from_slice(data);
                    Ok(())
                });
                // Nothing fails in memory.
                debug_assert!(read.is_ok());
                out.resize(begin + (range.end - range.start) as usize, 0);
                self.totals.bytes.fetch_add(range.end - range.start, Ordering::Relaxed);
                self.progress.add(range.end - range.start);
            }
        });
    }

    fn make_other(&self, batch: &Batch<'_>, prepared: &Prepared, out: &mut Vec<u8>) {
        let (path, inode) = (batch.path_of(prepared), prepared.entry.inode);
        let missing = |path, reason: &dyn std::fmt::Display| {
            self.reports.tell_of(ProblemKind::Missing, path, Some(inode), reason)
        };
        let target;
        let kind = match (&prepared.link_to, prepared.kind) {
            (Some(_), _) if self.left_out.contains(&inode) => return missing(path, &"its file was left out"),
            (Some((directory, name)), _) => {
                target = batch.directories.path_of(*directory, name);
                MemberKind::Link(&target)
            }
            (None, FileKind::Symlink) => match self.files.read_link(inode) {
                Ok(read) => {
                    target = read;
                    MemberKind::Symlink(&target)
                }
                Err(error) => return missing(path, &error),
            },
            (None, FileKind::Socket) => {
                self.totals.sockets_left_out.fetch_add(1, Ordering::Relaxed);
                return;
            }
            (None, kind @ (FileKind::CharDevice | FileKind::BlockDevice | FileKind::Fifo))
                if prepared.attributes.is_ok() || kind == FileKind::Fifo =>
            {
                MemberKind::Special(kind)
            }
            _ => match &prepared.attributes {
                Err(error) => return missing(path, error),
                Ok(_) => return missing(path, &"the kind of file is not known"),
            },
        };
        self.tell_attributes(prepared, &path);
        let xattrs = self.xattrs(inode, &path);
        let attributes = prepared.attributes.as_ref().ok();
        header::put(&Member { path: &path, kind, attributes, xattrs: &xattrs }, out);
        self.count_file();
    }

    fn count_file(&self) {
        self.totals.files.fetch_add(1, Ordering::Relaxed);
        self.progress.add_files(1);
    }

    fn tell_attributes(&self, prepared: &Prepared, path: &[u8]) {
        if let Some(reason) = prepared.attributes_problem() {
            let inode = Some(prepared.entry.inode);
            self.reports.tell_of(ProblemKind::Attribute, path.to_vec(), inode, reason);
        }
    }

    fn xattrs(&self, inode: InodeId, path: &[u8]) -> Vec<Xattr> {
        let tell = |error| self.reports.tell_of(ProblemKind::Attribute, path.to_vec(), Some(inode), error);
        let xattrs = self.files.xattrs(inode).map_err(tell).unwrap_or_default();
        xattrs.into_iter().filter_map(|xattr| xattr.map_err(tell).ok()).collect()
    }
}

impl Batch<'_> {
    /// How many bytes a job makes, about.
    fn bytes_of(&self, job: &Job) -> u64 {
        let data = match job {
            Job::File { index, has_data: true } => {
                self.prepared.get(*index).map_or(0, |prepared| bytes_in(&prepared.layout.data))
            }
            Job::Data { ranges, .. } => bytes_in(ranges),
            _ => 0,
        };
        data.saturating_add(header::BLOCK as u64)
    }

    fn path_of(&self, prepared: &Prepared) -> Vec<u8> {
        self.directories.path_of(prepared.entry.directory, &prepared.entry.name)
    }
}

fn bytes_in(ranges: &[Range<u64>]) -> u64 {
    ranges.iter().fold(0, |sum, range| range.end.saturating_sub(range.start).saturating_add(sum))
}

/// Jobs that come one after the other, as many as make a part of the stream.
fn together(jobs: impl Iterator<Item = Job>, bytes_of: impl Fn(&Job) -> u64) -> impl Iterator<Item = Vec<Job>> {
    let mut jobs = jobs.peekable();
    std::iter::from_fn(move || {
        let mut together = vec![jobs.next()?];
        let mut bytes = bytes_of(&together[0]);
        while let Some(next) = jobs.next_if(|next| bytes.saturating_add(bytes_of(next)) <= PART) {
            bytes = bytes.saturating_add(bytes_of(&next));
            together.push(next);
        }
        Some(together)
    })
}

/// The jobs of a name: one if it has little data, or else one more for each part of it.
fn jobs_of(index: usize, prepared: &Prepared) -> impl Iterator<Item = Job> {
    let is_file = prepared.kind == FileKind::File && prepared.link_to.is_none();
    let data = if is_file { &prepared.layout.data[..] } else { &[] };
    let total = bytes_in(data);
    let has_data = total <= PART;
    // The range that comes next, what of it is done, and what of all is.
    let (mut at, mut skip, mut done) = (if has_data { data.len() } else { 0 }, 0, 0);
    let parts = std::iter::from_fn(move || {
        let (mut ranges, mut left) = (Vec::new(), PART);
        while left > 0
            && let Some(range) = data.get(at)
        {
            let start = range.start + skip;
            let end = range.end.min(start + left);
            ranges.push(start..end);
            left -= end - start;
            done += end - start;
            (at, skip) = if end == range.end { (at + 1, 0) } else { (at, end - range.start) };
        }
        let padding = if done == total { header::padding(total) } else { 0 };
        (!ranges.is_empty()).then_some(Job::Data { index, ranges, padding })
    });
    let first = if is_file { Job::File { index, has_data } } else { Job::Other(index) };
    std::iter::once(first).chain(parts)
}
