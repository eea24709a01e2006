//! `rbtrfs resize`

use clap::{ArgMatches, Args as _, FromArgMatches};

use crate::device::{Shifted, Size, set_size};
use crate::trans::Filesystem;

use super::change::Images;
use super::exit::Exit;
use super::shifted::{Changed, DeviceRecord, Moving, finish, refuse_balance};
use super::size;

#[derive(Debug, clap::Args)]
struct Args {
    /// The device by its number; needed where there are several
    #[arg(long, value_name = "N")]
    devid: Option<u64>,

    /// Leave so many bytes behind the last chunk, with "min"
    #[arg(long, value_name = "SIZE", value_parser = size::parse)]
    slack: Option<u64>,

    /// Leave a file as long as it is
    #[arg(long)]
    keep_file_size: bool,

    #[command(flatten)]
    moving: Moving,

    /// Bytes of the device; with a sign before them so many more or less; "max" for all of its image, "min" for the least
    #[arg(value_name = "SIZE|+N|-N|max|min", allow_hyphen_values = true)]
    size: String,

    #[command(flatten)]
    images: Images,
}

pub fn parser() -> clap::Command {
    Args::augment_args(clap::Command::new("resize").about("Make a device larger or smaller, with its file"))
}

pub fn manual() -> String {
    include_str!("resize.manual").to_owned()
}

fn parse(text: &str) -> Result<Size, String> {
    match text.split_at_checked(1) {
        Some(("+", more)) => size::parse(more).map(Size::More),
        Some(("-", less)) => size::parse(less).map(Size::Less),
        _ if text == "max" => Ok(Size::Most),
        _ if text == "min" => Ok(Size::Least { slack: 0 }),
        _ => size::parse(text).map(Size::Bytes),
    }
}

/// The device that is meant where none is named.
pub fn only_device(fs: &Filesystem, devid: Option<u64>) -> anyhow::Result<u64> {
    let chunks = fs.chunks();
    let mut all = chunks.devices.iter().map(|device| device.item.devid.get());
    match (devid, all.next(), all.next()) {
        (Some(devid), ..) | (None, Some(devid), None) => Ok(devid),
        _ => anyhow::bail!("there are several devices: --devid says which, and device list what they are"),
    }
}

pub fn run(program: &str, matches: &ArgMatches) -> anyhow::Result<Exit> {
    let args = Args::from_arg_matches(matches)?;
    let size = match (parse(&args.size).map_err(anyhow::Error::msg)?, args.slack) {
        (Size::Least { .. }, Some(slack)) => Size::Least { slack },
        (_, Some(_)) => anyhow::bail!("--slack goes with min alone"),
        (size, None) => size,
    };
    let fs = args.images.open_to_move(program)?;
    refuse_balance(&fs)?;
    let devid = only_device(&fs, args.devid)?;
    let mut device = DeviceRecord::of(&fs, devid)?;
    let mut shifted = Shifted::default();
    let job = args.moving.job(args.images.quiet)?;
    let ended = job.run(|options| set_size(fs, devid, size, args.keep_file_size, options, &mut shifted));
    let ended = ended.map(|(_, total_bytes)| device.total_bytes = total_bytes);
    finish(&args.images, &shifted, ended, |is_changed| {
        let (devices, verbs) = (Vec::from_iter(is_changed.then_some(device)), ["resized", "would resize"]);
        let changed = Changed { schema: "rbtrfs.resize/1", verbs, devices, shifted: &shifted };
        changed.tell(&args.images)
    })
}
