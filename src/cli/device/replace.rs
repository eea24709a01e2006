//! `rbtrfs device replace`

use std::path::PathBuf;

use clap::{ArgMatches, Args as _, FromArgMatches};

use crate::device::{Shifted, replace};

use super::super::change::Images;
use super::super::exit::Exit;
use super::super::new_device;
use super::super::shifted::{Changed, DeviceRecord, Moving, finish, refuse_balance};
use super::which::{self, Which};

#[derive(Debug, clap::Args)]
struct Args {
    /// The device by its number, or "missing" for the first that is missing
    #[arg(long, value_name = "N|missing", value_parser = which::parse)]
    devid: Which,

    /// A file or block device that takes its place; a missing file is made as large
    #[arg(long, value_name = "FILE|DEV")]
    new: PathBuf,

    #[command(flatten)]
    options: new_device::Options,

    #[command(flatten)]
    moving: Moving,

    #[command(flatten)]
    images: Images,
}

pub fn parser() -> clap::Command {
    Args::augment_args(clap::Command::new("replace").about("Give the place of a device to another one"))
}

pub fn run(program: &str, matches: &ArgMatches) -> anyhow::Result<Exit> {
    let args = Args::from_arg_matches(matches)?;
    let fs = args.images.open_to_move(program)?;
    refuse_balance(&fs)?;
    let devid = args.devid.devid(&fs)?;
    let mut device = DeviceRecord::of(&fs, devid)?;
    let prepared = args.options.prepare(&args.new, Some(device.total_bytes), args.images.dry_run)?;
    let mut shifted = Shifted::default();
    let job = args.moving.job(args.images.quiet)?;
    let occupied = args.options.occupied();
    let ended = job.run(|options| replace(fs, devid, &prepared.path, occupied, options, &mut shifted));
    prepared.settle(&ended);
    let ended = match ended {
        Ok((fs, total_bytes)) => {
            let path = Some(args.new.display().to_string());
            device = DeviceRecord { path, total_bytes, ..DeviceRecord::of(&fs, devid)? };
            Ok(())
        }
        Err(error @ crate::Error::Occupied { .. }) => return Err(new_device::with_hint(error)),
        Err(error) => Err(error),
    };
    finish(&args.images, &shifted, ended, |is_changed| {
        let (devices, verbs) = (Vec::from_iter(is_changed.then_some(device)), ["replaced", "would replace"]);
        let changed = Changed { schema: "rbtrfs.device-replace/1", verbs, devices, shifted: &shifted };
        changed.tell(&args.images)
    })
}
