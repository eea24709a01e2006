//! Batch by batch, from the walk to the target.

use std::collections::HashSet;

use crate::disk::TreeId;
use crate::error::{Error, Result};
use crate::files::{FileKind, Files, InodeId};

use super::batch::{Prepared, prepare};
use super::directories::Directories;
use super::doubts::Doubts;
use super::folder::Folder;
use super::link::Links;
use super::lost::Lost;
use super::options::{Options, Summary, Target};
use super::problem::{ProblemKind, Reports};
use super::selection::Selection;
use super::tar::Tar;
use super::walker::{Found, Walker};

/// Where a batch goes.
enum Output<'t> {
    Folder(Box<Folder<'t>>),
    Tar(Box<Tar<'t>>),
}

impl Output<'_> {
    /// Writes a batch, and the directories from the number `first` on.
    fn write(&mut self, directories: &Directories, first: usize, batch: &[Prepared]) -> Result<()> {
        match self {
            Self::Folder(folder) => folder.write(directories, first, batch),
            Self::Tar(tar) => tar.write(directories, first, batch),
        }
    }
}

/// Extracts files. What cannot be read is told to [`Options::on_problem`] and counted, and the work goes on.
///
/// # Errors
///
/// The root directory cannot be read; the directory or the stream cannot be written; or the work was stopped
/// ([`Error::Interrupted`]): [`Options::resume`] goes on from there.
pub fn extract(files: &Files<'_>, target: Target<'_>, options: &Options<'_>) -> Result<Summary> {
    let reports = Reports::new(&*options.on_problem);
    let superblock = files.volume().superblock();
    let selection = Selection::new(&options.paths, &options.exclude);
    let is_all = selection.is_all();
    let total = if is_all { superblock.bytes_used.get() } else { 0 };
    options.progress.begin("files", total);
    for path in &options.paths {
        if let Err(error) = files.lookup(path) {
            reports.tell_of(ProblemKind::Missing, path.clone(), None, error);
        }
    }
    let doubts = Doubts::new(&options.doubts);
    let snapshots = if options.snapshots { HashSet::new() } else { snapshots(files) };
    let mut walker = Walker::new(files, selection, snapshots, &reports)?;
    let mut output = match target {
        Target::Directory(path) => Output::Folder(Box::new(Folder::open(path, files, options, &reports)?)),
        Target::Tar(out) => Output::Tar(Box::new(Tar::new(out, files, options, &reports))),
    };
    let mut links = Links::default();
    // What has lost its name belongs to no path.
    let mut lost = is_all.then(|| Lost::new(options.snapshots));
    // Of the root itself nothing is taken where paths are chosen.
    let first = usize::from(!is_all);
    let mut written = first;
    loop {
        if options.progress.is_stopped() {
            return Err(Error::Interrupted);
        }
        let mut entries = walker.next_batch();
        if entries.is_empty() && walker.directories.count() == written {
            match lost.as_mut().and_then(|lost| lost.next(&mut walker, &links)) {
                Some(found) => entries = found,
                None => break,
            }
        }
        let mut batch = prepare(files, entries, options.threads);
        // What its directory takes for a file, and is a directory, is entered as one.
        let (later, rest): (Vec<_>, Vec<_>) =
            batch.drain(..).partition(|prepared| prepared.kind == FileKind::Directory);
        for Prepared { entry, .. } in later {
            walker.enter_later(Found { parent: entry.directory, name: entry.name, inode: entry.inode });
        }
        batch = rest;
        links.resolve(&mut batch);
        output.write(&walker.directories, written, &batch)?;
        tell_links(&reports, &walker.directories, &batch);
        tell_doubts(&reports, &doubts, &walker.directories, written, &batch);
        written = walker.directories.count();
    }
    for text in doubts.texts(&walker.trees) {
        reports.tell_of(ProblemKind::Incomplete, Vec::new(), None, text);
    }
    let mut summary = Summary::default();
    match output {
        Output::Folder(folder) => folder.finish(&walker.directories, first, &mut summary),
        Output::Tar(tar) => tar.finish(&mut summary)?,
    }
    summary.snapshots_left_out = walker.snapshots_left_out;
    summary.problems = reports.count();
    Ok(summary)
}

/// Tells of further names of files that are not as they were.
fn tell_links(reports: &Reports<'_>, directories: &Directories, batch: &[Prepared]) {
    for prepared in batch {
        let (entry, first) = (&prepared.entry, &prepared.link_to);
        if let Some(((directory, name), kind)) = first.as_ref().zip(reports.what_of(entry.inode)) {
            let path = directories.path_of(entry.directory, &entry.name);
            let first = directories.path_of(*directory, name);
            let reason = format_args!("it is another name of {}", first.escape_ascii());
            reports.tell_of(kind, path, Some(entry.inode), reason);
        }
    }
}

/// Tells of what may not be as it was: files of a batch, and the directories from the number `first` on.
fn tell_doubts(reports: &Reports<'_>, doubts: &Doubts, directories: &Directories, first: usize, batch: &[Prepared]) {
    let tell = |path: Vec<u8>, inode: InodeId| {
        let reason = "its items are of an earlier commit, or some of them are lost";
        reports.tell_of(ProblemKind::Doubtful, path, Some(inode), reason);
    };
    for number in directories.numbers_from(first) {
        if let Some(inode) = directories.get(number).inode.filter(|inode| doubts.has(*inode)) {
            tell(directories.path(number), inode);
        }
    }
    for entry in batch.iter().map(|prepared| &prepared.entry).filter(|entry| doubts.has(entry.inode)) {
        tell(directories.path_of(entry.directory, &entry.name), entry.inode);
    }
}

/// Subvolumes that were made of others.
fn snapshots(files: &Files<'_>) -> HashSet<TreeId> {
    let all = files.subvolumes().into_iter();
    all.filter(|subvolume| subvolume.parent_uuid.is_some()).map(|subvolume| subvolume.id).collect()
}
