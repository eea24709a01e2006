//! `rbtrfs tune`

use std::io::Write;
use std::path::PathBuf;

use anyhow::bail;
use clap::{ArgMatches, Args as _, FromArgMatches};
use serde::Serialize;

use crate::device::set_seeding;
use crate::volume::Seeding;

use super::exit::Exit;
use super::watch::busy;
use super::{document, output};

#[derive(Debug, clap::Args)]
struct Args {
    /// Make the filesystem a seed, or none
    #[arg(long, value_name = "on|off")]
    seed: State,

    /// Clear the flag of a seed, although what has grown from it may be lost with that
    #[arg(short, long)]
    force: bool,

    /// Print one JSON document
    #[arg(long)]
    json: bool,

    /// Say what would be done, and write nothing
    #[arg(long)]
    dry_run: bool,

    /// Print nothing but errors
    #[arg(short, long)]
    quiet: bool,

    /// Images or block devices of one filesystem, in any order
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum State {
    On,
    Off,
}

pub fn parser() -> clap::Command {
    Args::augment_args(clap::Command::new("tune").about("Make a filesystem a seed, or none"))
}

pub fn manual() -> String {
    include_str!("tune.manual").to_owned()
}

#[derive(Serialize)]
struct Document {
    schema: &'static str,
    dry_run: bool,
    seed: bool,
    changed: bool,
}

pub fn run(program: &str, matches: &ArgMatches) -> anyhow::Result<Exit> {
    let args = Args::from_arg_matches(matches)?;
    let (seeding, word) = match args.seed {
        State::On => (Seeding::On, "a seed"),
        State::Off => (Seeding::Off, "no seed"),
    };
    let is_seed = !args.dry_run && seeding == Seeding::Off && set_seeding(&args.images, seeding, true)?;
    if is_seed && !args.force {
        bail!(
            "filesystems that have grown from this seed cannot be mounted once it was written to: --force clears the flag"
        );
    }
    if is_seed && !args.quiet {
        output::warning(
            program,
            &"filesystems that have grown from this seed cannot be mounted once it was written to",
        );
    }
    let is_changed = busy("writing", args.quiet, || set_seeding(&args.images, seeding, args.dry_run))?;
    let told = args.tell(is_changed, word);
    if is_changed && !args.dry_run { output::after_change(told) } else { told }?;
    Ok(Exit::Done)
}

impl Args {
    fn tell(&self, is_changed: bool, word: &str) -> anyhow::Result<()> {
        let mut out = output::stdout()?;
        if self.json {
            let (dry_run, seed) = (self.dry_run, self.seed == State::On);
            let document = Document { schema: "rbtrfs.tune/1", dry_run, seed, changed: is_changed };
            document::write(&mut out, &document)?;
        } else if !self.quiet {
            let text = match (is_changed, self.dry_run) {
                (false, _) => format!("nothing to do: the filesystem is {word}\n"),
                (true, true) => format!("the filesystem would be {word}\n"),
                (true, false) => format!("the filesystem is {word} now\n"),
            };
            out.write_all(text.as_bytes())?;
        }
        Ok(())
    }
}
