//! `rbtrfs device list`

use std::io::Write;

use clap::{ArgMatches, Args as _, FromArgMatches};

use crate::dump::devices::DeviceList;

use super::super::exit::Exit;
use super::super::open::{Completeness, Images};
use super::super::watch::busy;
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
        list.put_text(&mut out);
    }
    output::stdout()?.write_all(&out)?;
    Ok(if completeness == Completeness::Whole { Exit::Done } else { Exit::Failed })
}
