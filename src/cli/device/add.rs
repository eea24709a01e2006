//! `rbtrfs device add`

use std::path::PathBuf;

use clap::{ArgMatches, Args as _, FromArgMatches};

use crate::device::{Shifted, add};
use crate::trans::Filesystem;

use super::super::change::Images;
use super::super::exit::Exit;
use super::super::new_device::{self, Prepared};
use super::super::output;
use super::super::shifted::{Changed, DeviceRecord};
use super::super::watch::busy;

#[derive(Debug, clap::Args)]
struct Args {
    /// A file or block device that is to become a device; may be given several times
    #[arg(long, value_name = "FILE|DEV", required = true)]
    new: Vec<PathBuf>,

    #[command(flatten)]
    options: new_device::Options,

    #[command(flatten)]
    images: Images,
}

pub fn parser() -> clap::Command {
    Args::augment_args(clap::Command::new("add").about("Add devices"))
}

pub fn run(program: &str, matches: &ArgMatches) -> anyhow::Result<Exit> {
    let args = Args::from_arg_matches(matches)?;
    let mut fs = args.images.open_for_change(program)?;
    let mut prepared: Vec<Prepared> = Vec::new();
    for path in &args.new {
        let one = args.options.prepare(path, None, args.images.dry_run);
        match one {
            Ok(one) => prepared.push(one),
            Err(error) => {
                let given_up = Err::<(), _>(crate::Error::Interrupted);
                prepared.iter().for_each(|one| one.settle(&given_up));
                return Err(error);
            }
        }
    }
    let added = args.add(&mut fs, &prepared);
    prepared.iter().for_each(|one| one.settle(&added));
    let devices = added.map_err(new_device::with_hint)?;
    let shifted = Shifted::default();
    let verbs = ["added", "would add"];
    let changed = Changed { schema: "rbtrfs.device-add/1", verbs, devices, shifted: &shifted };
    let told = changed.tell(&args.images);
    if args.images.dry_run { told } else { output::after_change(told) }?;
    Ok(Exit::Done)
}

impl Args {
    fn add(&self, fs: &mut Filesystem, prepared: &[Prepared]) -> crate::Result<Vec<DeviceRecord>> {
        let mut devices = Vec::new();
        for (one, path) in prepared.iter().zip(&self.new) {
            let devid = add(fs, &one.path, self.options.occupied())?;
            let path = Some(path.display().to_string());
            devices.push(DeviceRecord { path, ..DeviceRecord::of(fs, devid)? });
        }
        if !self.images.dry_run {
            busy("writing", self.images.quiet, || fs.commit())?;
        }
        Ok(devices)
    }
}
