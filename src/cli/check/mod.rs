//! `rbtrfs check`

pub(super) mod advice;
pub(super) mod paths;
pub(super) mod text;

use std::io::{BufWriter, Write};
use std::time::{Duration, Instant};

use anyhow::bail;
use clap::{ArgMatches, Args as _, FromArgMatches};
use serde::Serialize;

use crate::check::{Options, Report, Totals, check, check_superblocks};
use crate::disk::fields::Uuid;
use crate::error::{Addressed, Error};
use crate::finding::Finding;
use crate::parallel::default_threads;
use crate::problem::Problem;
use crate::progress::Progress;
use crate::volume::Volume;

use super::color::Palette;
use super::exit::Exit;
use super::findings::Problems;
use super::open::{Images, mounted};
use super::repair::{self, RepairArgs, Wanted};
use super::roots::Roots;
use super::watch::{Display, watched};
use super::{document, interrupt, output, qgroups, size};

#[derive(Debug, Default, clap::Args)]
pub struct Args {
    /// Print one JSON document with all problems
    #[arg(long)]
    json: bool,

    /// Print every problem, also where there are many of one kind
    #[arg(long)]
    all: bool,

    /// Print notes too, which are no damage
    #[arg(short, long)]
    verbose: bool,

    /// Number of threads; as many as there are processors by default
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,

    /// Memory for records, more of which go to temporary files; a quarter of the machine's by default
    #[arg(long, value_name = "SIZE", value_parser = size::parse)]
    memory: Option<u64>,

    /// Tell each second how far the check has come, where there is no terminal for a bar
    #[arg(long)]
    progress: bool,

    /// Read all data and verify its checksums on every copy, and parity
    #[arg(long)]
    check_data_csum: bool,

    /// Check a filesystem that is mounted read-write; what is found may be transient
    #[arg(long)]
    force: bool,

    /// Print what each quota group stores and what was counted
    #[arg(long)]
    qgroup_report: bool,

    #[command(flatten)]
    roots: Roots,

    #[command(flatten)]
    repair: RepairArgs,

    #[command(flatten)]
    images: Images,
}

impl Args {
    /// A repair of `images`.
    pub fn repair_of(images: Images, repair: RepairArgs, verbose: bool) -> Self {
        Self { images, repair, verbose, ..Self::default() }
    }

    /// A check of `images`.
    pub fn of(images: Images, verbose: bool) -> Self {
        Self { images, verbose, ..Self::default() }
    }
}

pub fn parser() -> clap::Command {
    let command = clap::Command::new("check").about("Verify a filesystem, and repair it if that is asked for");
    Args::augment_args(command)
}

pub fn manual() -> String {
    include_str!("../check.manual").to_owned()
}

pub fn run(program: &str, matches: &ArgMatches) -> anyhow::Result<Exit> {
    run_with(program, &Args::from_arg_matches(matches)?)
}

pub fn run_with(program: &str, args: &Args) -> anyhow::Result<Exit> {
    if args.repair.is_wanted() {
        return run_repair(program, args);
    }
    let volume = match args.images.open_at(program, &args.roots.choice()) {
        Ok((volume, _)) => volume,
        Err(error) if is_of_chunk_root(&error) => return tell_lost_chunk_root(program, args),
        Err(error) => return Err(error),
    };
    refuse_mounted(program, &volume, args.force)?;
    let progress = Progress::new(interrupt::flag()?);
    let options = Options {
        threads: args.threads.map_or_else(default_threads, usize::from),
        memory: args.memory.unwrap_or_else(default_memory),
        progress: &progress,
        count_qgroups: args.qgroup_report,
        check_data_csum: args.check_data_csum,
    };
    let display = Display::choose(args.progress, args.images.quiet);
    let began = Instant::now();
    let report = watched(display, &progress, || check(&volume, &options))?;
    write_report(args, &volume, &report, began.elapsed())
}

fn run_repair(program: &str, args: &Args) -> anyhow::Result<Exit> {
    let progress = Progress::new(interrupt::flag()?);
    let wanted = Wanted {
        args: &args.repair,
        images: &args.images.images,
        choice: args.roots.choice(),
        roots: args.roots.words(),
        threads: args.threads.map_or_else(default_threads, usize::from),
        memory: args.memory.unwrap_or_else(default_memory),
        check_data_csum: args.check_data_csum,
        json: args.json,
        quiet: args.images.quiet,
        all: args.all,
        notes: args.verbose,
        display: Display::choose(args.progress, args.images.quiet),
        progress: &progress,
    };
    repair::run(program, &wanted)
}

/// Whether the filesystem cannot be opened for nothing but its chunk tree.
fn is_of_chunk_root(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(Error::Block { what: Addressed::ChunkRoot, .. } | Error::Truncated { .. }))
}

/// Reports what the superblocks say of a filesystem that lost its chunk root.
fn tell_lost_chunk_root(program: &str, args: &Args) -> anyhow::Result<Exit> {
    let volume = args.images.open_without_chunk_tree(&args.roots.choice())?;
    refuse_mounted(program, &volume, args.force)?;
    write_report(args, &volume, &check_superblocks(&volume), Duration::ZERO)
}

fn write_report(args: &Args, volume: &Volume, report: &Report, time: Duration) -> anyhow::Result<Exit> {
    let mut out = BufWriter::with_capacity(1 << 20, output::stdout()?);
    if args.json {
        document::write(&mut out, &Document::new(volume, report, args.qgroup_report))?;
    } else {
        let palette = Palette::of_stdout();
        if !args.images.quiet {
            text::write_header(volume, palette, &mut out)?;
        }
        if args.qgroup_report {
            qgroups::write_text(&report.qgroups, &mut out)?;
        }
        let wanted = text::Wanted { all: args.all, quiet: args.images.quiet, notes: args.verbose };
        text::write_problems(volume, &report.problems, wanted, palette, &mut out)?;
        if !args.images.quiet {
            text::write_summary(report, time, wanted, palette, &mut out)?;
            text::write_missing(volume, &mut out)?;
            let steps = advice::steps(&args.images, &args.roots.words(), volume, &report.problems);
            text::write_steps(&steps, palette, &mut out)?;
        }
    }
    out.flush()?;
    Ok(if report.problems.iter().any(Problem::is_damage) { Exit::Problems } else { Exit::Done })
}

/// A quarter of the machine's memory, in bytes.
fn default_memory() -> u64 {
    let total = std::fs::read_to_string("/proc/meminfo").ok().and_then(|text| {
        let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
        line.trim().trim_end_matches(" kB").parse::<u64>().ok()
    });
    total.map_or(1 << 30, |kib| kib.saturating_mul(1024 / 4))
}

fn refuse_mounted(program: &str, volume: &Volume, force: bool) -> anyhow::Result<()> {
    for (path, mount) in mounted(volume) {
        if !force {
            bail!("{} is mounted read-write at {} (--force checks it anyway)", path.display(), mount.point);
        }
        let what = "is mounted read-write: what is found may be transient";
        output::warning(program, &format_args!("{} {what}", path.display()));
    }
    Ok(())
}

#[derive(Serialize)]
struct Document<'a> {
    schema: &'static str,
    fsid: Uuid,
    clean: bool,
    totals: &'a Totals,
    #[serde(skip_serializing_if = "Option::is_none")]
    qgroups: Option<Vec<qgroups::Row>>,
    problems: Problems<'a>,
}

impl<'a> Document<'a> {
    fn new(volume: &Volume, report: &'a Report, qgroup_report: bool) -> Self {
        Self {
            schema: "rbtrfs.check/1",
            fsid: volume.superblock().fsid,
            clean: !report.problems.iter().any(Problem::is_damage),
            totals: &report.totals,
            qgroups: qgroup_report.then(|| qgroups::rows(&report.qgroups)),
            problems: Problems(&report.problems),
        }
    }
}
