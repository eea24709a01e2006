//! `rbtrfs sprout`

use std::io::Write;
use std::path::PathBuf;

use clap::{ArgMatches, Args as _, FromArgMatches};
use serde::Serialize;

use crate::device::{check_sprout, sprout};
use crate::disk::fields::Uuid;

use super::exit::Exit;
use super::new_device;
use super::shifted::DeviceRecord;
use super::watch::busy;
use super::words::counted;
use super::{document, output};

#[derive(Debug, clap::Args)]
struct Args {
    /// A file or block device that the filesystem grows onto
    #[arg(long, value_name = "FILE|DEV")]
    new: PathBuf,

    #[command(flatten)]
    options: new_device::Options,

    /// Print one JSON document
    #[arg(long)]
    json: bool,

    /// Say what would be done, and write nothing
    #[arg(long)]
    dry_run: bool,

    /// Print nothing but errors
    #[arg(short, long)]
    quiet: bool,

    /// Images or block devices of one seed, in any order
    #[arg(required = true, value_name = "SEED")]
    seeds: Vec<PathBuf>,
}

pub fn parser() -> clap::Command {
    Args::augment_args(clap::Command::new("sprout").about("Grow a filesystem from a seed"))
}

pub fn manual() -> String {
    include_str!("sprout.manual").to_owned()
}

#[derive(Serialize)]
struct Document {
    schema: &'static str,
    dry_run: bool,
    fsid: Option<Uuid>,
    devices: Vec<DeviceRecord>,
}

pub fn run(_program: &str, matches: &ArgMatches) -> anyhow::Result<Exit> {
    let args = Args::from_arg_matches(matches)?;
    let prepared = args.options.prepare(&args.new, None, args.dry_run)?;
    let path = args.new.display();
    if args.dry_run {
        let devid = check_sprout(&args.seeds, &prepared.path, args.options.occupied());
        let devid = devid.map_err(new_device::with_hint)?;
        args.tell(None, Vec::new(), &format!("would grow onto device {devid} ({path})\n"))?;
        return Ok(Exit::Done);
    }
    let grow = || sprout(&args.seeds, &prepared.path, args.options.occupied());
    let grown = busy("growing", args.quiet, grow);
    prepared.settle(&grown);
    let fs = grown.map_err(new_device::with_hint)?;
    let superblock = fs.volume().superblock();
    let own = fs.volume().devices().iter().filter(|device| device.fsid() == superblock.fsid);
    let devices = own.map(|device| DeviceRecord::of(&fs, device.devid())).collect::<crate::Result<Vec<_>>>()?;
    let devices_given = counted(fs.volume().devices().len() as u64, "device");
    let text =
        format!("grew filesystem {} onto {path}; it has {devices_given} with those of its seed\n", superblock.fsid);
    output::after_change(args.tell(Some(superblock.fsid), devices, &text))?;
    Ok(Exit::Done)
}

impl Args {
    fn tell(&self, fsid: Option<Uuid>, devices: Vec<DeviceRecord>, text: &str) -> anyhow::Result<()> {
        let mut out = output::stdout()?;
        if self.json {
            let document = Document { schema: "rbtrfs.sprout/1", dry_run: self.dry_run, fsid, devices };
            document::write(&mut out, &document)?;
        } else if !self.quiet {
            out.write_all(text.as_bytes())?;
        }
        Ok(())
    }
}
