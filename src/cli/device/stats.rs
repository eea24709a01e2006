//! `rbtrfs device stats`

use std::io::Write;

use clap::{ArgMatches, Args as _, FromArgMatches};
use serde::Serialize;

use crate::device::reset_stats;
use crate::dump::devices::{DeviceList, Errors};
use crate::volume::Volume;

use super::super::change;
use super::super::exit::Exit;
use super::super::open::with_hint;
use super::super::watch::busy;
use super::super::{document, output};
use crate::image::Image;

#[derive(Debug, clap::Args)]
struct Args {
    /// Print the counts, and set them to zero
    #[arg(long, short = 'z')]
    reset: bool,

    #[command(flatten)]
    images: change::Images,
}

pub fn parser() -> clap::Command {
    Args::augment_args(clap::Command::new("stats").about("Print the errors that were counted on devices"))
}

#[derive(Serialize)]
struct Document {
    schema: &'static str,
    dry_run: bool,
    reset: bool,
    devices: Vec<Record>,
}

#[derive(Serialize)]
struct Record {
    devid: u64,
    path: Option<String>,
    errors: Errors,
}

pub fn run(program: &str, matches: &ArgMatches) -> anyhow::Result<Exit> {
    let args = Args::from_arg_matches(matches)?;
    if !args.reset {
        let images = args.images.paths().iter().map(|path| Image::open(path)).collect::<crate::Result<_>>()?;
        let volume = Volume::open(images)?;
        for notice in volume.notices().iter().filter(|_| !args.images.quiet) {
            output::warning(program, &with_hint(notice, args.images.paths(), &volume));
        }
        args.tell(&DeviceList::new(&volume)?)?;
        return Ok(Exit::Done);
    }
    let mut fs = args.images.open_for_change(program)?;
    let list = DeviceList::new(fs.volume())?;
    if args.images.dry_run {
        args.tell(&list)?;
        return Ok(Exit::Done);
    }
    list.devices.iter().try_for_each(|device| reset_stats(&fs, device.devid))?;
    busy("writing", args.images.quiet, || fs.commit())?;
    output::after_change(args.tell(&list))?;
    Ok(Exit::Done)
}

impl Args {
    fn tell(&self, list: &DeviceList) -> anyhow::Result<()> {
        let record = |device: &crate::dump::devices::DeviceEntry| Record {
            devid: device.devid,
            path: device.path.clone(),
            errors: device.errors.unwrap_or_default(),
        };
        let devices: Vec<Record> = list.devices.iter().map(record).collect();
        let mut out = output::stdout()?;
        if self.images.json {
            let (dry_run, reset) = (self.images.dry_run, self.reset);
            document::write(&mut out, &Document { schema: "rbtrfs.device-stats/1", dry_run, reset, devices })?;
            return Ok(());
        }
        let mut text = String::new();
        for Record { devid, path, errors } in &devices {
            let name = path.clone().unwrap_or_else(|| format!("devid:{devid}"));
            text.extend(errors.named().map(|(what, count)| format!("[{name}].{what:<17} {count}\n")));
        }
        if !self.images.quiet {
            out.write_all(text.as_bytes())?;
        }
        Ok(())
    }
}
