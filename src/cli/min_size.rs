//! `rbtrfs min-size`

use std::io::Write;
use std::path::PathBuf;

use clap::{ArgMatches, Args as _, FromArgMatches};
use serde::Serialize;

use crate::device::{Shifted, Size, set_size};
use crate::trans::Filesystem;
use crate::volume::MissingDevices;

use super::exit::Exit;
use super::resize::only_device;
use super::shifted::{DeviceRecord, Moving, refuse_balance};
use super::{document, output, size};

#[derive(Debug, clap::Args)]
struct Args {
    /// The device by its number; needed where there are several
    #[arg(long, value_name = "N")]
    devid: Option<u64>,

    /// Leave so many bytes behind the last chunk
    #[arg(long, value_name = "SIZE", value_parser = size::parse, default_value = "0", hide_default_value = true)]
    slack: u64,

    #[command(flatten)]
    moving: Moving,

    /// Go on although other devices are missing or stale
    #[arg(long)]
    degraded: bool,

    /// Print one JSON document
    #[arg(long)]
    json: bool,

    /// Images or block devices of one filesystem, in any order
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<PathBuf>,
}

pub fn parser() -> clap::Command {
    Args::augment_args(clap::Command::new("min-size").about("Print the least size that resize can give a device"))
}

pub fn manual() -> String {
    include_str!("min_size.manual").to_owned()
}

#[derive(Serialize)]
struct Document {
    schema: &'static str,
    devid: u64,
    total_bytes: u64,
    min_bytes: u64,
}

pub fn run(_program: &str, matches: &ArgMatches) -> anyhow::Result<Exit> {
    let args = Args::from_arg_matches(matches)?;
    let missing = if args.degraded { MissingDevices::Skip } else { MissingDevices::Refuse };
    let fs = Filesystem::rehearse(&args.images, missing)?;
    refuse_balance(&fs)?;
    let devid = only_device(&fs, args.devid)?;
    let total_bytes = DeviceRecord::of(&fs, devid)?.total_bytes;
    let job = args.moving.job(false)?;
    let size = Size::Least { slack: args.slack };
    let (_, min_bytes) = job.run(|options| set_size(fs, devid, size, true, options, &mut Shifted::default()))?;
    let mut out = output::stdout()?;
    if args.json {
        let document = Document { schema: "rbtrfs.min-size/1", devid, total_bytes, min_bytes };
        document::write(&mut out, &document)?;
    } else {
        out.write_all(format!("{min_bytes}\n").as_bytes())?;
    }
    Ok(Exit::Done)
}
