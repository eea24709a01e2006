//! `rbtrfs device remove`

use std::collections::BTreeSet;

use anyhow::anyhow;
use clap::{ArgMatches, Args as _, FromArgMatches};

use crate::device::{Shifted, refusal, remove_used};
use crate::disk::Profile;
use crate::disk::flags::block_group::{DATA, METADATA};
use crate::error::Error;
use crate::trans::Filesystem;

use super::super::change::Images;
use super::super::exit::Exit;
use super::super::shifted::{Changed, DeviceRecord, Moving, finish, refuse_balance};
use super::which::{self, Which};

#[derive(Debug, clap::Args)]
struct Args {
    /// The device by its number, or "missing" for the first that is missing
    #[arg(long, value_name = "N|missing", value_parser = which::parse)]
    devid: Which,

    #[command(flatten)]
    moving: Moving,

    #[command(flatten)]
    images: Images,
}

pub fn parser() -> clap::Command {
    Args::augment_args(clap::Command::new("remove").about("Move all that lies on a device to others, and remove it"))
}

pub fn run(program: &str, matches: &ArgMatches) -> anyhow::Result<Exit> {
    let args = Args::from_arg_matches(matches)?;
    let fs = args.images.open_to_move(program)?;
    refuse_balance(&fs)?;
    let devid = args.devid.devid(&fs)?;
    if let Some(error) = refusal(&fs, devid).filter(|error| !matches!(error, Error::DeviceInUse { .. })) {
        return Err(with_advice(&fs, error));
    }
    let device = DeviceRecord::of(&fs, devid)?;
    let mut shifted = Shifted::default();
    let job = args.moving.job(args.images.quiet)?;
    let ended = job.run(|options| remove_used(fs, devid, options, &mut shifted)).map(drop);
    finish(&args.images, &shifted, ended, |is_changed| {
        let (devices, verbs) = (Vec::from_iter(is_changed.then_some(device)), ["removed", "would remove"]);
        let changed = Changed { schema: "rbtrfs.device-remove/1", verbs, devices, shifted: &shifted };
        changed.tell(&args.images)
    })
}

/// Adds to the refusal of a device that profiles need which balance they would have to go through before.
fn with_advice(fs: &Filesystem, error: Error) -> anyhow::Error {
    let Error::TooFewDevices { .. } = error else { return error.into() };
    let left = fs.chunks().devices.len().saturating_sub(1);
    let fits = |profile: Profile| usize::from(profile.geometry().devs_min) <= left;
    let groups: BTreeSet<(u64, Profile)> = {
        let space = fs.space();
        let kinds = space.groups().filter_map(|group| Some((group.flags.type_bits(), group.flags.profile()?)));
        kinds.filter(|(_, profile)| !fits(*profile)).collect()
    };
    let (mut options, mut lowers_metadata) = (BTreeSet::new(), false);
    for (type_bits, _) in groups {
        let on_one = if type_bits == DATA { Profile::Single } else { Profile::Dup };
        let target = [Profile::Raid1c3, Profile::Raid1].into_iter().find(|profile| fits(*profile)).unwrap_or(on_one);
        let target = target.name().to_lowercase();
        lowers_metadata |= type_bits != DATA;
        if type_bits & DATA != 0 {
            options.insert(format!("-dconvert={target},soft"));
        }
        if type_bits != DATA {
            let letter = if type_bits & METADATA != 0 { 'm' } else { 's' };
            options.insert(format!("-{letter}convert={target},soft"));
        }
    }
    let options = options.into_iter().collect::<Vec<_>>().join(" ");
    let force = if lowers_metadata { " --force" } else { "" };
    anyhow!("{error}; first convert them (rbtrfs balance {options}{force}), or add a device")
}
