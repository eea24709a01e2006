//! What of `mkfs` fills a filesystem from a directory.

use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use anyhow::bail;
use serde::Serialize;

use crate::disk::objectid;
use crate::mkfs::content::{Method, Transfer, estimate, fill};
use crate::mkfs::options::Options;
use crate::mkfs::source::{self, FlagRequest, Request, Source, SubvolumeRequest};
use crate::mkfs::{Estimate, Maker};
use crate::parallel::default_threads;
use crate::progress::Progress;
use crate::table::Room;

use super::super::size;
use super::super::watch::Display;

// A documentation comment would be taken for that of the command.
#[derive(Debug, clap::Args)]
pub struct Filling {
    /// Copy what is in this directory into the filesystem
    #[arg(short, long, value_name = "DIR")]
    rootdir: Option<PathBuf>,

    /// Compress files: "zstd[:1-15]", "zlib[:1-9]", "lzo" or "no"
    #[arg(long, value_name = "ALGORITHM[:LEVEL]", value_parser = parse_method, requires = "rootdir")]
    compress: Option<Compress>,

    /// Make a directory a subvolume: "ro:" before its path makes it read-only, "default:" or "default-ro:" what a mount
    /// shows
    #[arg(short = 'u', long, value_name = "[KIND:]PATH", requires = "rootdir")]
    subvol: Vec<OsString>,

    /// Give a file or a directory inode flags: "nodatacow", "nodatasum" or both with a comma
    #[arg(long, value_name = "FLAGS:PATH", requires = "rootdir")]
    inode_flags: Vec<OsString>,

    /// Share the data with the files in the directory instead of copying it
    #[arg(long, requires = "rootdir")]
    reflink: bool,

    /// Cut the device behind the content
    #[arg(long, requires = "rootdir")]
    shrink: bool,

    /// Bytes to leave behind the content
    #[arg(long, value_name = "SIZE", value_parser = size::parse, requires = "shrink")]
    shrink_slack_size: Option<u64>,

    /// Number of threads; as many as there are processors by default
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,

    /// Tell each second how far the work has come, where there is no terminal for a bar
    #[arg(long)]
    progress: bool,
}

/// A method, or none.
#[derive(Clone, Copy, Debug)]
struct Compress(Option<Method>);

fn parse_method(text: &str) -> Result<Compress, String> {
    let (name, level) = match text.split_once(':') {
        Some((name, level)) => (name, level.parse::<u8>().map_err(|error| format!("level {level}: {error}"))?),
        None => (text, 0),
    };
    // Level 0 is the default, as the kernel and btrfs-progs have it.
    let level_up_to = |most: u8| match level {
        0 => Ok(3),
        level if level <= most => Ok(level),
        _ => Err(format!("level {level} is above {most}, the highest of {name}")),
    };
    Ok(Compress(match name {
        "no" | "none" => None,
        "zlib" => Some(Method::Zlib { level: level_up_to(9)?.into() }),
        "zstd" => Some(Method::Zstd { level: level_up_to(15)?.into() }),
        "lzo" if level == 0 => Some(Method::Lzo),
        "lzo" => return Err("lzo has no levels".to_owned()),
        _ => return Err("expected zstd, zlib, lzo or no".to_owned()),
    }))
}

/// A path with `name:` before it, if `name` is one of those that are known.
fn split_kind(text: &OsStr) -> (Option<&[u8]>, &[u8]) {
    let bytes = text.as_bytes();
    match bytes.iter().position(|byte| *byte == b':') {
        Some(colon) => (Some(&bytes[..colon]), &bytes[colon + 1..]),
        None => (None, bytes),
    }
}

fn path(bytes: &[u8]) -> PathBuf {
    PathBuf::from(OsString::from_vec(bytes.to_vec()))
}

fn subvolume(text: &OsStr) -> anyhow::Result<SubvolumeRequest> {
    let (kind, name) = split_kind(text);
    let (read_only, is_default) = match kind {
        None | Some(b"rw") => (false, false),
        Some(b"ro") => (true, false),
        Some(b"default") => (false, true),
        Some(b"default-ro") => (true, true),
        Some(other) => bail!("--subvol {}: {} is no kind of subvolume", text.display(), other.escape_ascii()),
    };
    Ok(SubvolumeRequest { path: path(name), read_only, is_default })
}

fn flags(text: &OsStr) -> anyhow::Result<FlagRequest> {
    let (Some(names), name) = split_kind(text) else { bail!("--inode-flags {}: a colon is missing", text.display()) };
    let mut request = FlagRequest { path: path(name), nodatacow: false, nodatasum: false };
    for name in names.split(|byte| *byte == b',') {
        match name {
            b"nodatacow" => request.nodatacow = true,
            b"nodatasum" => request.nodatasum = true,
            _ => bail!("--inode-flags {}: unknown flag {}", text.display(), name.escape_ascii()),
        }
    }
    Ok(request)
}

/// A subvolume, for programs.
#[derive(Debug, Serialize)]
pub struct SubvolumeRecord {
    id: u64,
    path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    path_bytes: Option<Vec<u8>>,
    read_only: bool,
    default: bool,
}

/// A directory that was walked, and how to fill a filesystem with it.
pub struct Content {
    request: Request,
    source: Source,
    transfer: Transfer,
    threads: usize,
}

impl Filling {
    pub fn display(&self, quiet: bool) -> Display {
        Display::choose(self.progress, quiet)
    }

    /// Bytes to leave behind the content; nothing if the devices keep their size.
    pub fn slack(&self) -> Option<u64> {
        self.shrink.then(|| self.shrink_slack_size.unwrap_or_default())
    }

    /// What was asked for and cannot be had together.
    pub fn contradiction(&self) -> Option<&'static str> {
        let is_contradiction = self.reflink && self.method().is_some();
        is_contradiction
            .then_some("--reflink shares data as it is, and --compress would change it: leave out one of them")
    }

    fn method(&self) -> Option<Method> {
        self.compress.and_then(|compress| compress.0)
    }

    fn transfer(&self) -> Transfer {
        match self.method() {
            Some(method) => Transfer::Compressed(method),
            None if self.reflink => Transfer::Shared,
            None => Transfer::Copied,
        }
    }

    /// Walks the directory, if there is one.
    pub fn walk(
        &self,
        images: &[PathBuf],
        options: &Options,
        room: &Room,
        progress: &Progress,
    ) -> anyhow::Result<Option<Content>> {
        let Some(directory) = &self.rootdir else { return Ok(None) };
        let request = Request {
            directory: directory.clone(),
            subvolumes: self.subvol.iter().map(|text| subvolume(text)).collect::<Result<_, _>>()?,
            flags: self.inode_flags.iter().map(|text| flags(text)).collect::<Result<_, _>>()?,
            images: images.to_vec(),
        };
        if request.subvolumes.iter().filter(|subvolume| subvolume.is_default).count() > 1 {
            bail!("more than one subvolume is to be the default");
        }
        if self.shrink && images.len() > 1 {
            bail!("a filesystem on several devices cannot be shrunk");
        }
        let threads = self.threads.map_or_else(default_threads, usize::from);
        let walk = source::Options { threads, room, progress, sectorsize: options.sectorsize };
        let source = Source::walk(&request, walk)?;
        Ok(Some(Content { request, source, transfer: self.transfer(), threads }))
    }

    /// What was done, as btrfs-progs tells it.
    pub fn describe(&self, content: &Content) -> String {
        let mut text = format!("Rootdir from:       {}\n", content.request.directory.display());
        let compress = match content.transfer.method() {
            None => "no".to_owned(),
            Some(Method::Lzo) => "lzo".to_owned(),
            Some(Method::Zlib { level }) => format!("zlib:{level}"),
            Some(Method::Zstd { level }) => format!("zstd:{level}"),
        };
        text += &format!("  Compress:         {compress}\n");
        for subvolume in &content.request.subvolumes {
            let default = if subvolume.is_default { "d" } else { "" };
            let kind = format!("({default}{}):", if subvolume.read_only { "ro" } else { "rw" });
            // Writing to a string does not fail.
            let _ = writeln!(text, "  Subvolume {kind:<7} {}", subvolume.path.display());
        }
        for flags in &content.request.flags {
            let names = [(flags.nodatacow, "NODATACOW"), (flags.nodatasum, "NODATASUM")];
            let names: Vec<&str> = names.into_iter().filter(|(is_set, _)| *is_set).map(|(_, name)| name).collect();
            let _ = writeln!(text, "  Inode flags ({}):  {}", names.join(", "), flags.path.display());
        }
        text += &format!("  Reflink:          {}\n", if self.reflink { "yes" } else { "no" });
        text += &format!("  Shrink:           {}\n", if self.shrink { "yes" } else { "no" });
        text
    }
}

impl Content {
    pub fn subvolumes(&self) -> Vec<SubvolumeRecord> {
        let record = |(id, subvolume): (u64, &SubvolumeRequest)| {
            let bytes = subvolume.path.as_os_str().as_bytes();
            SubvolumeRecord {
                id,
                path: subvolume.path.display().to_string(),
                path_bytes: subvolume.path.to_str().is_none().then(|| bytes.to_vec()),
                read_only: subvolume.read_only,
                default: subvolume.is_default,
            }
        };
        (objectid::FIRST_FREE..).zip(&self.request.subvolumes).map(record).collect()
    }

    /// The directory whose files are to share their data with the images.
    pub fn shared(&self) -> Option<&Path> {
        (self.transfer == Transfer::Shared).then_some(&self.request.directory)
    }

    pub fn estimate(&self, options: &Options) -> Estimate {
        estimate(&self.source.totals, options, self.transfer.method())
    }

    pub fn fill(&self, maker: &Maker<'_>, progress: &Progress) -> crate::Result<()> {
        fill(maker, &self.source, self.transfer, self.threads, progress)
    }
}
