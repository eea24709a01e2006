//! `rbtrfs dump-super`

use std::io::Write;
use std::path::PathBuf;

use clap::{ArgMatches, Args as _, FromArgMatches};

use crate::disk::Physical;
use crate::disk::superblock::{SUPER_INFO_SIZE, SUPER_OFFSETS};
use crate::dump::put::put;
use crate::dump::superblock::{put_json, put_superblock};
use crate::image::Image;
use crate::volume::{SuperblockCopy, identify};

use super::document::Document;
use super::exit::Exit;
use super::{hint, output};

#[derive(Debug, clap::Args)]
struct Args {
    /// Print the system chunk array and the backup roots too
    #[arg(short, long)]
    full: bool,

    /// Print all superblocks of each device
    #[arg(short, long)]
    all: bool,

    /// Print this copy: 0, 1 or 2
    #[arg(short = 's', long = "super", value_name = "N", conflicts_with = "all")]
    copy: Option<u64>,

    /// Print what stands at this byte offset
    #[arg(long, value_name = "OFFSET", conflicts_with_all = ["all", "copy"])]
    bytenr: Option<u64>,

    /// Print a superblock even if its magic is wrong
    #[arg(short = 'F', long)]
    force: bool,

    /// Print one JSON document
    #[arg(long)]
    json: bool,

    /// Images or block devices
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<PathBuf>,
}

pub fn parser() -> clap::Command {
    let command = clap::Command::new("dump-super").about("Print superblocks as text or JSON");
    Args::augment_args(command)
}

pub fn manual() -> String {
    include_str!("dump_super.manual").to_owned()
}

pub fn run(program: &str, matches: &ArgMatches) -> anyhow::Result<Exit> {
    let args = Args::from_arg_matches(matches)?;
    let (mut found, mut failed) = (Vec::new(), Vec::new());
    for path in &args.images {
        let image = match Image::open(path) {
            Ok(image) => image,
            Err(error) => {
                failed.push(error.to_string());
                continue;
            }
        };
        for offset in args.offsets() {
            match read(&image, offset, &args) {
                Ok(copy) => found.extend(copy.map(|copy| (path.display().to_string(), copy))),
                Err(error) => failed.push(error.to_string()),
            }
        }
    }
    // Of the copy that was asked for alone nothing follows.
    let is_first = args.bytenr.is_none() && args.copy.unwrap_or_default() == 0;
    if let Some(last) = failed.last_mut().filter(|_| is_first)
        && let Some(hint) = hint::of_superblocks(&args.images, false)
    {
        last.push_str(&format!("; {hint}"));
    }
    failed.iter().for_each(|error| output::error(program, error));
    let mut exit = if failed.is_empty() { Exit::Done } else { Exit::Failed };
    let mut out = Vec::new();
    if args.json {
        put!(&mut out, "{\"schema\":\"rbtrfs.dump-super/1\",\"superblocks\":[");
        for (index, (device, copy)) in found.iter().enumerate() {
            put!(&mut out, if index == 0 { "\n" } else { ",\n" });
            put_json(device, copy.offset, &copy.superblock, &mut out);
        }
        put!(&mut out, "]}\n");
    } else {
        for (device, copy) in &found {
            put!(&mut out, "superblock: bytenr=", copy.offset, ", device=", device.as_str(), "\n");
            put!(&mut out, "---------------------------------------------------------\n");
            if let Err(bad) = put_superblock(&copy.superblock, args.full, &mut out) {
                let place = format_args!("{device}: superblock at {}: sys_chunk_array", copy.offset);
                let message = format_args!("{place}: {} at offset {}", bad.problem, bad.offset);
                // With --force any bytes are printed.
                if args.force {
                    output::warning(program, &message);
                } else {
                    exit = Exit::Failed;
                    output::error(program, &message);
                }
            }
        }
    }
    let mut stdout = output::stdout()?;
    match args.json {
        true => Document::new(stdout).write_all(&out)?,
        false => stdout.write_all(&out)?,
    }
    Ok(exit)
}

impl Args {
    fn offsets(&self) -> Vec<Physical> {
        match (self.all, self.bytenr, self.copy) {
            (true, _, _) => SUPER_OFFSETS.to_vec(),
            (_, Some(bytenr), _) => vec![Physical(bytenr)],
            // A number that is no copy is an offset, as it was in old btrfs-progs.
            (_, _, Some(copy)) => vec![
                usize::try_from(copy).ok().and_then(|copy| SUPER_OFFSETS.get(copy).copied()).unwrap_or(Physical(copy)),
            ],
            _ => vec![SUPER_OFFSETS[0]],
        }
    }
}

/// The superblock at `offset`; nothing for a mirror that the device is too short for, as btrfs-progs prints nothing.
fn read(image: &Image, offset: Physical, args: &Args) -> anyhow::Result<Option<SuperblockCopy>> {
    let (path, size) = (image.path().display(), image.size());
    let fits = offset.checked_add(SUPER_INFO_SIZE as u64).is_some_and(|end| end.0 <= size);
    if !fits && SUPER_OFFSETS[1..].contains(&offset) && args.bytenr.is_none() {
        return Ok(None);
    }
    if !fits {
        anyhow::bail!("{path}: ends at {size}, has no superblock at {offset}");
    }
    let copy = SuperblockCopy::read(image, offset)?;
    if !copy.has_magic() && !args.force {
        // That a place cannot be read does not matter here: it would only add to the message.
        let found = identify(image).ok().flatten().map(|found| format!(", the image holds {found}"));
        anyhow::bail!("{path}: bad magic at {offset}{} (--force prints it anyway)", found.unwrap_or_default());
    }
    Ok(Some(copy))
}
