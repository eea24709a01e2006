//! `rbtrfs ls`

mod json;
mod names;
pub mod stat;
mod subvolumes;
mod text;

use std::collections::{HashSet, VecDeque};
use std::io::{BufWriter, Write};

use clap::{ArgMatches, Args as _, FromArgMatches};

use crate::error::{Error, FileProblem};
use crate::files::{FileKind, Files, InodeId};
use crate::progress::Progress;

use super::document::Document;
use super::exit::Exit;
use super::files::{FileArgs, Notices};
use super::output;
use super::watch::{Counted, Display, watched};
use names::{Errors, Form, Named, join, named};

#[derive(Debug, clap::Args)]
struct Args {
    /// Mode, links, owner, group, size, time, and what a link points to
    #[arg(short = 'l', long)]
    long: bool,

    /// All that is below the directories
    #[arg(short = 'R', long)]
    recursive: bool,

    /// Names that begin with a dot too
    #[arg(short = 'a', long)]
    all: bool,

    /// Numbers of inodes
    #[arg(short = 'i', long)]
    inode: bool,

    /// Directories themselves, and not what is in them
    #[arg(short = 'd', long)]
    directory: bool,

    /// List the subvolumes and snapshots of the filesystem
    #[arg(long, conflicts_with_all = ["long", "recursive", "all", "inode", "directory", "paths", "json_lines"])]
    subvolumes: bool,

    /// Print one JSON document
    #[arg(long)]
    json: bool,

    /// Print a JSON object for each inode
    #[arg(long, conflicts_with = "json")]
    json_lines: bool,

    #[command(flatten)]
    files: FileArgs,
}

pub fn parser() -> clap::Command {
    let command = clap::Command::new("ls").about("List files and subvolumes, without a mount");
    Args::augment_args(command)
}

pub fn manual() -> String {
    include_str!("ls.manual").to_owned()
}

pub fn run(program: &str, matches: &ArgMatches) -> anyhow::Result<Exit> {
    let args = Args::from_arg_matches(matches)?;
    let progress = Progress::default();
    progress.begin("names", 0);
    let out = output::stdout()?;
    let display = Display::beside_output(&out, args.files.images.quiet);
    let out = Counted { out, progress: &progress };
    let mut out = BufWriter::with_capacity(1 << 16, out);
    let volume = args.files.open_for_some(program)?;
    let notices = Notices::new(program, args.files.images.quiet);
    let files = args.files.open(&volume, &notices)?;
    let mut errors = Errors { program, met: false };
    watched(display, &progress, || {
        args.print(&files, &mut out, &mut errors)?;
        Ok::<_, anyhow::Error>(out.flush()?)
    })?;
    Ok(if errors.met { Exit::Problems } else { Exit::Done })
}

impl Args {
    fn print(&self, files: &Files<'_>, out: &mut impl Write, errors: &mut Errors<'_>) -> anyhow::Result<()> {
        if self.subvolumes {
            return Ok(subvolumes::print(files, self.json, out)?);
        }
        if self.json || self.json_lines {
            let style = if self.json { json::Style::Document } else { json::Style::Lines };
            let mut out = Document::new(out);
            return self.list(files, &mut json::Json::new(files, style, &mut out), errors);
        }
        self.list(files, &mut text::Text::new(self.long, self.inode, out), errors)
    }

    fn list(&self, files: &Files<'_>, form: &mut dyn Form, errors: &mut Errors<'_>) -> anyhow::Result<()> {
        let mut paths: Vec<&[u8]> = self.files.paths().collect();
        if paths.is_empty() {
            paths.push(b".");
        }
        let found = paths.iter().filter_map(|path| {
            let inode = errors.told(path, files.lookup(path))?;
            Some(named(files, path.to_vec(), path.to_vec(), inode))
        });
        let (directories, others): (Vec<Named>, Vec<Named>) =
            found.partition(|named| named.kind == FileKind::Directory && !self.directory);
        let mut directories = VecDeque::from(directories);
        if !others.is_empty() {
            form.list(files, None, &others, errors)?;
        }
        let has_headings = self.recursive || directories.len() + others.len() > 1;
        let mut entered = HashSet::new();
        while let Some(directory) = directories.pop_front() {
            if !entered.insert(directory.inode) && self.recursive && !directory.inode.is_placeholder() {
                let InodeId { tree, ino } = directory.inode;
                errors.tell(&directory.path, &Error::File { tree, ino, problem: Box::new(FileProblem::Loop) });
                continue;
            }
            let names = self.names_in(files, &directory, errors);
            form.list(files, has_headings.then_some(&directory.path), &names, errors)?;
            if self.recursive {
                let is_below = |named: &Named| named.kind == FileKind::Directory && !is_dots(&named.name);
                names.into_iter().filter(is_below).rev().for_each(|below| directories.push_front(below));
            }
        }
        form.end()
    }

    /// The names in a directory, sorted.
    fn names_in(&self, files: &Files<'_>, directory: &Named, errors: &mut Errors<'_>) -> Vec<Named> {
        let mut names = Vec::new();
        if self.all {
            let dots = [&b"."[..], b".."].map(|name| (name, join(&directory.path, name)));
            let dots = dots.into_iter().filter_map(|(name, path)| {
                let inode = errors.told(&path, files.lookup(&path))?;
                Some(named(files, path, name.to_vec(), inode))
            });
            names.extend(dots);
        }
        for entry in errors.told(&directory.path, files.read_dir(directory.inode)).into_iter().flatten() {
            let Some(entry) = errors.told(&directory.path, entry) else { continue };
            if self.all || !entry.name.starts_with(b".") {
                let is_subvolume = entry.inode.tree != directory.inode.tree;
                let path = join(&directory.path, &entry.name);
                names.push(Named { path, name: entry.name, inode: entry.inode, kind: entry.kind, is_subvolume });
            }
        }
        names.sort_by(|one, other| one.name.cmp(&other.name));
        names
    }
}

fn is_dots(name: &[u8]) -> bool {
    name == b"." || name == b".."
}
