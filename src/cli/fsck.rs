//! `fsck.rbtrfs`, as fsck(8) calls it, and what `fsck.btrfs` is elsewhere.

use std::io::Write;

use anyhow::bail;
use clap::{ArgMatches, Args as _, FromArgMatches};

use super::exit::Exit;
use super::open::Images;
use super::repair::RepairArgs;
use super::{check, output};

#[derive(Debug, clap::Args)]
struct Args {
    /// Verify, and change nothing
    #[arg(short = 'n')]
    no_changes: bool,

    /// Repair without asking, as at boot
    #[arg(short = 'a', short_alias = 'A', visible_short_alias = 'p', conflicts_with = "no_changes")]
    automatic: bool,

    /// Repair, and take every answer for yes
    #[arg(short = 'y', conflicts_with = "no_changes")]
    yes: bool,

    /// Print notes too, which are no damage
    #[arg(short, long)]
    verbose: bool,

    #[command(flatten)]
    images: Images,
}

pub fn parser() -> clap::Command {
    Args::augment_args(clap::Command::new("fsck").about("Verify a filesystem, as fsck(8) has it done"))
}

pub fn manual() -> String {
    include_str!("fsck.manual").to_owned()
}

/// The name of the system's program, which leaves checks to be asked for.
const OF_THE_SYSTEM: &str = "fsck.btrfs";

pub fn run(program: &str, matches: &ArgMatches) -> anyhow::Result<Exit> {
    let args = Args::from_arg_matches(matches)?;
    if program == OF_THE_SYSTEM {
        return as_the_system(&args);
    }
    if !args.automatic && !args.yes {
        return check::run_with(program, &check::Args::of(args.images, args.verbose));
    }
    check::run_with(program, &check::Args::repair_of(args.images, RepairArgs::unasked(args.yes), args.verbose))
}

/// Nothing but that the devices must exist: a mount does all that a boot needs, and scripts rely on it.
fn as_the_system(args: &Args) -> anyhow::Result<Exit> {
    if let Some(missing) = args.images.images.iter().find(|image| !image.exists()) {
        bail!("{} does not exist", missing.display());
    }
    if !args.automatic && !args.yes && !args.images.quiet {
        output::stdout()?.write_all(b"Nothing is checked under this name: rbtrfs check verifies a filesystem.\n")?;
    }
    Ok(Exit::Done)
}

/// The bits of fsck(8).
pub fn code(exit: Exit) -> u8 {
    match exit {
        Exit::Done => 0,
        Exit::Mended => 1,
        Exit::Problems => 4,
        Exit::Failed | Exit::Partly => 8,
        Exit::Usage => 16,
    }
}
