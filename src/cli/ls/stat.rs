//! `rbtrfs stat`: inodes as stat(1) prints them, with what btrfs has besides.

use std::io::{BufWriter, Write};

use clap::{ArgMatches, Args as _, FromArgMatches};

use crate::disk::flags;
use crate::dump::put::put;
use crate::dump::text::clock::Clock;
use crate::files::{Attributes, ExtentKind, FileExtent, FileKind, Files, Timestamp};

use super::super::document::Document;
use super::super::exit::Exit;
use super::super::files::{FileArgs, Notices};
use super::super::output;
use super::json::{Json, Style, kind_name};
use super::names::{Errors, Form, Named, named};
use super::text::mode;

#[derive(Debug, clap::Args)]
struct Args {
    /// Print one JSON document, as ls --json does
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    files: FileArgs,
}

pub fn parser() -> clap::Command {
    let command =
        clap::Command::new("stat").about("Print what an inode says of files, and their extents, without a mount");
    Args::augment_args(command).mut_arg("paths", |paths| paths.required(true))
}

pub fn manual() -> String {
    include_str!("stat.manual").to_owned()
}

pub fn run(program: &str, matches: &ArgMatches) -> anyhow::Result<Exit> {
    let args = Args::from_arg_matches(matches)?;
    let mut out = BufWriter::with_capacity(1 << 16, output::stdout()?);
    let volume = args.files.open_for_some(program)?;
    let notices = Notices::new(program, args.files.images.quiet);
    let files = args.files.open(&volume, &notices)?;
    let mut errors = Errors { program, met: false };
    let found: Vec<Named> = args
        .files
        .paths()
        .filter_map(|path| Some(named(&files, path.to_vec(), path.to_vec(), errors.told(path, files.lookup(path))?)))
        .collect();
    let (mut document, mut json, mut text);
    let form: &mut dyn Form = if args.json {
        document = Document::new(&mut out);
        json = Json::new(&files, Style::Document, &mut document);
        &mut json
    } else {
        text = Stat::new(&mut out);
        &mut text
    };
    form.list(&files, None, &found, &mut errors)?;
    form.end()?;
    out.flush()?;
    Ok(if errors.met { Exit::Problems } else { Exit::Done })
}

pub struct Stat<'o, W> {
    out: &'o mut W,
    clock: Clock,
}

impl<'o, W: Write> Stat<'o, W> {
    pub fn new(out: &'o mut W) -> Self {
        Self { out, clock: Clock::default() }
    }

    fn put_time(&mut self, name: &str, time: Timestamp, text: &mut Vec<u8>) {
        put!(text, name, ": ");
        self.clock.put_seconds(time.sec as u64, text);
        put!(text, format!(".{:09}\n", time.nsec).as_str());
    }

    fn put_attributes(&mut self, attributes: &Attributes, text: &mut Vec<u8>) {
        put!(text, "  Mode: ", format!("{:04o}", attributes.mode & 0o7777).as_str());
        put!(text, " ", mode(attributes).as_str(), "  Uid: ", attributes.uid, "  Gid: ", attributes.gid, "\n");
        for (name, time) in [
            ("Access", attributes.atime),
            ("Modify", attributes.mtime),
            ("Change", attributes.ctime),
            (" Birth", attributes.otime),
        ] {
            self.put_time(name, time, text);
        }
        let set = flags::inode::NAMES.iter().filter(|(bit, _)| attributes.flags & bit != 0);
        let set: Vec<&str> = set.map(|(_, name)| *name).collect();
        put!(text, " Flags: ", if set.is_empty() { "none".to_owned() } else { set.join("|") }.as_str(), "\n");
        put!(text, " Since: generation ", attributes.generation.0, ", changed in ", attributes.transid.0);
        put!(text, ", sequence ", attributes.sequence, "\n");
    }
}

impl<W: Write> Form for Stat<'_, W> {
    fn list(
        &mut self,
        files: &Files<'_>,
        _heading: Option<&[u8]>,
        names: &[Named],
        errors: &mut Errors<'_>,
    ) -> anyhow::Result<()> {
        for Named { path, inode, kind, is_subvolume, .. } in names {
            let mut text = Vec::new();
            let attributes = errors.told(path, files.attributes(*inode));
            let kind = attributes.as_ref().map_or(*kind, Attributes::kind);
            put!(&mut text, "  File: ", path.escape_ascii().to_string().as_str());
            if kind == FileKind::Symlink
                && let Some(target) = errors.told(path, files.read_link(*inode))
            {
                put!(&mut text, " -> ", target.escape_ascii().to_string().as_str());
            }
            put!(&mut text, "\n  Kind: ", kind_name(kind));
            if *is_subvolume {
                put!(&mut text, ", root of a subvolume");
            }
            if let Some(attributes) = &attributes {
                if matches!(kind, FileKind::CharDevice | FileKind::BlockDevice) {
                    let (major, minor) = attributes.device();
                    put!(&mut text, ", ", major, ":", minor);
                }
                put!(&mut text, "\n  Size: ", attributes.size, "  Bytes: ", attributes.nbytes);
                put!(&mut text, "  Links: ", attributes.nlink);
            }
            put!(&mut text, "\n Inode: ", inode.ino.0, "  Subvolume: ", inode.tree.0, "\n");
            if let Some(attributes) = &attributes {
                self.put_attributes(attributes, &mut text);
            }
            for xattr in errors.told(path, files.xattrs(*inode)).unwrap_or_default() {
                if let Some(xattr) = errors.told(path, xattr) {
                    put!(&mut text, " Xattr: ", xattr.name.escape_ascii().to_string().as_str());
                    put!(&mut text, "=\"", xattr.value.escape_ascii().to_string().as_str(), "\"\n");
                }
            }
            if kind == FileKind::File
                && let Some(mut file) = errors.told(path, files.file(*inode))
            {
                let first = file.extent_at(0);
                let next = |extent: &FileExtent| file.extent_at(extent.offset.saturating_add(extent.length));
                std::iter::successors(first, next).for_each(|extent| put_extent(&extent, &mut text));
            }
            self.out.write_all(&text)?;
        }
        Ok(())
    }

    fn end(&mut self) -> anyhow::Result<()> {
        Ok(())
    }
}

fn put_extent(extent: &FileExtent, text: &mut Vec<u8>) {
    put!(text, "Extent: offset ", extent.offset, " length ", extent.length);
    let compression = match &extent.kind {
        ExtentKind::Hole => {
            put!(text, " hole");
            None
        }
        ExtentKind::Prealloc => {
            put!(text, " preallocated");
            None
        }
        ExtentKind::Inline { compression } => {
            put!(text, " inline");
            *compression
        }
        ExtentKind::Disk(disk) => {
            put!(text, " at ", disk.logical.0, " of ", disk.disk_num_bytes, " bytes");
            if disk.offset > 0 {
                put!(text, ", from byte ", disk.offset);
            }
            disk.compression
        }
        ExtentKind::Damaged(problem) => {
            put!(text, " damaged: ", problem.to_string().as_str());
            None
        }
    };
    if let Some(method) = compression {
        put!(text, ", ", method.name());
    }
    put!(text, "\n");
}
