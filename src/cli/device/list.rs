//! `rbtrfs device list`

use std::io::Write;

use clap::{ArgMatches, Args as _, FromArgMatches};

use crate::dump::devices::{DeviceEntry, DeviceList, Errors, ProfileBytes};

use super::super::color::{self, Palette};
use super::super::exit::Exit;
use super::super::open::{Completeness, Images};
use super::super::watch::busy;
use super::super::words::HumanBytes;
use super::super::{document, output};

#[derive(Debug, clap::Args)]
struct Args {
    /// Print one JSON document
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    images: Images,
}

pub fn parser() -> clap::Command {
    Args::augment_args(clap::Command::new("list").about("Print sizes, profiles and counted errors of devices"))
}

pub fn run(program: &str, matches: &ArgMatches) -> anyhow::Result<Exit> {
    let args = Args::from_arg_matches(matches)?;
    let (volume, completeness) = args.images.open(program)?;
    let list = busy("reading devices", args.images.quiet, || DeviceList::new(&volume))?;
    let mut out = Vec::new();
    if args.json {
        document::write(&mut out, &list)?;
    } else {
        write_text(&list, Palette::of_stdout(), &mut out)?;
    }
    output::stdout()?.write_all(&out)?;
    Ok(if completeness == Completeness::Whole { Exit::Done } else { Exit::Failed })
}

fn write_text(list: &DeviceList, palette: Palette, out: &mut impl Write) -> std::io::Result<()> {
    writeln!(out, "filesystem {}", list.fsid)?;
    for device in &list.devices {
        let DeviceEntry { devid, uuid, path, seed, total_bytes, used, profiles, errors, .. } = device;
        let heading = palette.paint(color::HEADING, format!("device {devid}:"));
        let seed = if *seed { ", a seed" } else { "" };
        match path {
            Some(path) => writeln!(out, "{heading} {path}{seed}")?,
            None => writeln!(out, "{heading} {}", palette.paint(color::ERROR, "missing"))?,
        }
        writeln!(out, "  uuid {uuid}")?;
        writeln!(out, "  size {}, {} of it allocated", HumanBytes(*total_bytes), HumanBytes(*used))?;
        for ProfileBytes { r#type, profile, bytes, .. } in profiles {
            writeln!(out, "  {type} {profile} {}", HumanBytes(*bytes))?;
        }
        for (name, count) in errors.iter().flat_map(Errors::named).filter(|(_, count)| *count > 0) {
            writeln!(out, "  {} {count}", palette.paint(color::ERROR, name))?;
        }
    }
    match list.replacing {
        Some(devid) => writeln!(out, "device {devid} is being replaced"),
        None => Ok(()),
    }
}
