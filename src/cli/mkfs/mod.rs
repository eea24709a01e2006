//! `rbtrfs mkfs`, and what `mkfs.btrfs` is elsewhere.

mod report;
mod rootdir;

use std::ffi::OsString;
use std::io::Write;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use anyhow::{Context as _, bail};
use clap::{ArgAction, ArgMatches, Args as _, FromArgMatches};

use crate::disk::fields::Uuid;
use crate::disk::{CsumType, Profile};
use crate::mkfs::features::{Features, available};
use crate::mkfs::{Builder, Made};
use crate::progress::Progress;

use super::exit::Exit;
use super::watch::watched;
use super::{interrupt, output, profile, size};

/// Asks for the names of all features, in the place of a list of them.
const LIST_ALL: &str = "list-all";

#[derive(Debug, clap::Args)]
struct Args {
    /// How data is replicated
    #[arg(short, long, value_name = "PROFILE", value_parser = profile::parse)]
    data: Option<Profile>,

    /// How metadata is replicated; on one device DUP by default, on several RAID1
    #[arg(short, long, value_name = "PROFILE", value_parser = profile::parse)]
    metadata: Option<Profile>,

    /// Data and metadata in the same block groups
    #[arg(short = 'M', long)]
    mixed: bool,

    /// Checksums: "crc32c", "xxhash", "sha256" or "blake2"
    #[arg(long = "csum", visible_alias = "checksum", value_name = "TYPE", value_parser = parse_csum_type)]
    csum_type: Option<CsumType>,

    /// Bytes of a tree block
    #[arg(short, long, value_name = "SIZE", value_parser = parse_u32_size)]
    nodesize: Option<u32>,

    /// Another name of --nodesize
    #[arg(short, long, value_name = "SIZE", value_parser = parse_u32_size)]
    leafsize: Option<u32>,

    /// Bytes of a block of data
    #[arg(short, long, value_name = "SIZE", value_parser = parse_u32_size)]
    sectorsize: Option<u32>,

    /// Features to add, or with a caret before their names to leave out; "list-all" prints those that there are
    #[arg(short = 'O', long, value_name = "LIST")]
    features: Vec<String>,

    /// The same as --features
    #[arg(short = 'R', long, value_name = "LIST")]
    runtime_features: Vec<String>,

    /// Name of the filesystem
    #[arg(short = 'L', long, value_name = "LABEL", default_value = "", hide_default_value = true)]
    label: OsString,

    /// UUID of the filesystem
    #[arg(short = 'U', long, value_name = "UUID", value_parser = parse_uuid)]
    uuid: Option<Uuid>,

    /// UUID of the one device
    #[arg(long, value_name = "UUID", value_parser = parse_uuid)]
    device_uuid: Option<Uuid>,

    /// Bytes of the filesystem on each device; a file is made as large
    #[arg(short, long, value_name = "SIZE", value_parser = size::parse)]
    byte_count: Option<u64>,

    /// Size of a file that is missing or empty; 1G by default, or what the content of --rootdir needs
    #[arg(long, value_name = "SIZE", value_parser = size::parse)]
    size: Option<u64>,

    #[command(flatten)]
    rootdir: rootdir::Filling,

    /// Has no effect
    #[arg(short = 'A', long, value_name = "OFFSET", value_parser = size::parse)]
    alloc_start: Option<u64>,

    /// Do not discard what the devices hold
    #[arg(short = 'K', long)]
    nodiscard: bool,

    /// Overwrite other filesystems and partition tables
    #[arg(short, long)]
    force: bool,

    /// Print one JSON document
    #[arg(long)]
    json: bool,

    /// Print nothing but errors
    #[arg(short, long)]
    quiet: bool,

    /// Has no effect
    #[arg(short, long, action = ArgAction::Count)]
    verbose: u8,

    /// Images or block devices; a missing file is created
    #[arg(value_name = "IMAGE", required_unless_present_any = ["features", "runtime_features"])]
    images: Vec<PathBuf>,
}

pub fn parser() -> clap::Command {
    let command = clap::Command::new("mkfs").about("Make a filesystem");
    // As with btrfs-progs, the last of an option that is repeated counts.
    let command = command.args_override_self(true);
    Args::augment_args(command)
}

pub fn manual() -> String {
    include_str!("mkfs.manual").to_owned()
}

fn parse_csum_type(name: &str) -> Result<CsumType, String> {
    match name.to_ascii_lowercase().as_str() {
        "crc32c" => Ok(CsumType::Crc32c),
        "xxhash" | "xxhash64" => Ok(CsumType::Xxhash),
        "sha256" => Ok(CsumType::Sha256),
        "blake2" | "blake2b" => Ok(CsumType::Blake2),
        _ => Err("expected crc32c, xxhash, sha256 or blake2".to_owned()),
    }
}

fn parse_u32_size(text: &str) -> Result<u32, String> {
    u32::try_from(size::parse(text)?).map_err(|_| format!("{text} is too large"))
}

fn parse_uuid(text: &str) -> Result<Uuid, String> {
    uuid::Uuid::parse_str(text).map(|uuid| Uuid(uuid.into_bytes())).map_err(|error| error.to_string())
}

pub fn run(program: &str, matches: &ArgMatches) -> anyhow::Result<Exit> {
    let args = Args::from_arg_matches(matches)?;
    if args.feature_lists().any(|list| list == LIST_ALL) {
        list_features()?;
        return Ok(Exit::Done);
    }
    let new = args.builder()?.build(&args.images)?;
    for dropped in new.options().dropped.iter().filter(|_| !args.quiet) {
        output::warning(program, dropped);
    }
    let source = args.rootdir.source();
    let progress = Progress::new(interrupt::flag()?);
    let made = watched(args.rootdir.display(args.quiet), &progress, || match &source {
        Some(source) => new.make(source, &progress),
        None => new.make_empty(&progress),
    });
    let made = made.map_err(with_hint)?;
    for (path, error) in &made.unregistered {
        output::warning(program, &format_args!("{}: the kernel does not know the device yet: {error}", path.display()));
    }
    output::after_change(args.tell(&made))?;
    Ok(Exit::Done)
}

/// What a person may do about an error.
fn with_hint(error: crate::Error) -> anyhow::Error {
    match error {
        crate::Error::Occupied { .. } => anyhow::Error::msg(format!("{error}, -f overwrites it")),
        crate::Error::NotShared { .. } => anyhow::Error::msg(format!("{error}; without --reflink it is copied")),
        crate::Error::NoSpace { .. } => anyhow::Error::msg(format!("too small for such a filesystem: {error}")),
        other => other.into(),
    }
}

fn list_features() -> anyhow::Result<()> {
    let mut text = "Filesystem features available:\n".to_owned();
    for feature in available() {
        text += &format!("{:<20}- {} ({})\n", feature.name, feature.about, feature.versions);
    }
    Ok(output::stdout()?.write_all(text.as_bytes())?)
}

impl Args {
    fn feature_lists(&self) -> impl Iterator<Item = &String> {
        self.features.iter().chain(&self.runtime_features)
    }

    fn tell(&self, made: &Made) -> anyhow::Result<()> {
        if self.json {
            report::json(made, &self.images, self.rootdir.subvolumes()?)?;
        } else if !self.quiet {
            let mut out = output::stdout()?;
            out.write_all(self.rootdir.describe()?.as_bytes())?;
            out.write_all(report::text(made, &self.images).as_bytes())?;
        }
        Ok(())
    }

    fn builder(&self) -> anyhow::Result<Builder> {
        let mut features = Features::default();
        self.feature_lists().try_for_each(|list| features.apply_list(list))?;
        if let (Some(nodesize), Some(leafsize)) = (self.nodesize, self.leafsize)
            && nodesize != leafsize
        {
            bail!("--leafsize {leafsize} is not --nodesize {nodesize}");
        }
        let builder = Builder::new()
            .label(self.label.clone().into_vec())
            .data(self.data)
            .metadata(self.metadata)
            .mixed(self.mixed)
            .csum_type(self.csum_type)
            .nodesize(self.nodesize.or(self.leafsize))
            .sectorsize(self.sectorsize)
            .features(features)
            .fsid(self.uuid)
            .device_uuid(self.device_uuid)
            .time(source_date_epoch()?)
            .byte_count(self.byte_count)
            .size(self.size)
            .force(self.force)
            .discard(!self.nodiscard);
        self.rootdir.add_to(builder)
    }
}

/// The time that reproducible builds ask for (reproducible-builds.org/specs/source-date-epoch).
fn source_date_epoch() -> anyhow::Result<Option<u64>> {
    const NAME: &str = "SOURCE_DATE_EPOCH";
    let Some(value) = std::env::var_os(NAME) else { return Ok(None) };
    let seconds = value.to_str().and_then(|value| value.parse().ok());
    seconds.map(Some).with_context(|| format!("{NAME} is {value:?}, no number of seconds"))
}
