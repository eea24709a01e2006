//! What of `mkfs` fills a filesystem from a directory.

use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use anyhow::bail;
use serde::Serialize;

use crate::disk::objectid;
use crate::mkfs::content::{Method, Transfer};
use crate::mkfs::source::{FlagRequest, Request, SubvolumeRequest};
use crate::mkfs::{Builder, LocalDirectory};

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
    /// shows; "/" is the top level
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

impl Filling {
    pub fn display(&self, quiet: bool) -> Display {
        Display::choose(self.progress, quiet)
    }

    /// The directory, if there is one.
    pub fn source(&self) -> Option<LocalDirectory> {
        self.rootdir.as_ref().map(LocalDirectory::new)
    }

    /// Adds what is said of the content.
    pub fn add_to(&self, builder: Builder) -> anyhow::Result<Builder> {
        if self.reflink && self.method().is_some() {
            bail!("--reflink shares data as it is, and --compress would change it: leave out one of them");
        }
        let shrunk = self.shrink.then(|| self.shrink_slack_size.unwrap_or_default());
        let builder = builder.transfer(self.transfer()).shrink(shrunk).threads(self.threads.map(usize::from));
        let builder = self.subvolume_requests()?.into_iter().fold(builder, Builder::subvolume);
        Ok(self.flag_requests()?.into_iter().fold(builder, Builder::inode_flags))
    }

    fn subvolume_requests(&self) -> anyhow::Result<Vec<SubvolumeRequest>> {
        self.subvol.iter().map(|text| subvolume(text)).collect()
    }

    fn flag_requests(&self) -> anyhow::Result<Vec<FlagRequest>> {
        self.inode_flags.iter().map(|text| flags(text)).collect()
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

    /// What was done, as btrfs-progs tells it.
    pub fn describe(&self) -> anyhow::Result<String> {
        let Some(directory) = &self.rootdir else { return Ok(String::new()) };
        let mut text = format!("Rootdir from:       {}\n", directory.display());
        let compress = match self.method() {
            None => "no".to_owned(),
            Some(Method::Lzo) => "lzo".to_owned(),
            Some(Method::Zlib { level }) => format!("zlib:{level}"),
            Some(Method::Zstd { level }) => format!("zstd:{level}"),
        };
        text += &format!("  Compress:         {compress}\n");
        for subvolume in self.subvolume_requests()? {
            let default = if subvolume.is_default { "d" } else { "" };
            let kind = format!("({default}{}):", if subvolume.read_only { "ro" } else { "rw" });
            // Writing to a string does not fail.
            let _ = writeln!(text, "  Subvolume {kind:<7} {}", subvolume.path.display());
        }
        for flags in self.flag_requests()? {
            let names = [(flags.nodatacow, "NODATACOW"), (flags.nodatasum, "NODATASUM")];
            let names: Vec<&str> = names.into_iter().filter(|(is_set, _)| *is_set).map(|(_, name)| name).collect();
            let _ = writeln!(text, "  Inode flags ({}):  {}", names.join(", "), flags.path.display());
        }
        text += &format!("  Reflink:          {}\n", if self.reflink { "yes" } else { "no" });
        text += &format!("  Shrink:           {}\n", if self.shrink { "yes" } else { "no" });
        Ok(text)
    }

    /// The subvolumes that were named.
    pub fn subvolumes(&self) -> anyhow::Result<Vec<SubvolumeRecord>> {
        let request = Request { subvolumes: self.subvolume_requests()?, ..Request::default() };
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
        let top_level = request.top_level().map(|subvolume| (objectid::FS_TREE, subvolume));
        Ok(top_level.chain(request.new_subvolumes()).map(record).collect())
    }
}
