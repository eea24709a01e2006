//! `rbtrfs check`

use std::collections::BTreeMap;
use std::io::Write;

use anyhow::bail;
use clap::{ArgMatches, Args as _, FromArgMatches};
use serde::Serialize;

use crate::check::{Problem, check};
use crate::disk::fields::Uuid;
use crate::finding::{Finding, Severity};
use crate::image::mount_of;
use crate::parallel::default_threads;
use crate::volume::Volume;

use super::open::Images;
use super::{Exit, output};

#[derive(Debug, clap::Args)]
struct Args {
    /// Print one JSON document with all problems
    #[arg(long)]
    json: bool,

    /// Print every problem, also where there are many of one kind
    #[arg(long)]
    all: bool,

    /// Number of threads; as many as there are processors by default
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,

    /// Check a filesystem that is mounted read-write; what is found may be transient
    #[arg(long)]
    force: bool,

    #[command(flatten)]
    images: Images,
}

pub fn parser() -> clap::Command {
    let command = clap::Command::new("check").about("Verify a filesystem without changing it");
    Args::augment_args(command)
}

/// The manual, with the codes of all kinds of problems.
pub fn manual() -> String {
    let mut manual = include_str!("check.manual").to_owned();
    manual += "\n# PROBLEMS\n";
    for kind in Problem::kinds() {
        manual += &format!("- {} ({}): {}\n", kind.code, kind.severity, kind.meaning);
    }
    manual
}

/// More problems of one kind than this are counted instead of printed.
const SHOWN_OF_A_KIND: usize = 20;

pub fn run(program: &str, matches: &ArgMatches) -> anyhow::Result<Exit> {
    let args = Args::from_arg_matches(matches)?;
    let (volume, _) = args.images.open(program)?;
    refuse_mounted(program, &volume, args.force)?;
    let threads = args.threads.map_or_else(default_threads, usize::from);
    let problems = check(&volume, threads);
    let mut out = Vec::new();
    if args.json {
        serde_json::to_writer(&mut out, &Document::new(&volume, &problems))?;
        out.push(b'\n');
    } else {
        write_text(&problems, &args, &mut out)?;
    }
    output::stdout()?.write_all(&out)?;
    Ok(if problems.iter().any(is_damage) { Exit::Problems } else { Exit::Done })
}

/// Notes are worth knowing, and no damage.
fn is_damage(problem: &Problem) -> bool {
    problem.severity() > Severity::Note
}

fn refuse_mounted(program: &str, volume: &Volume, force: bool) -> anyhow::Result<()> {
    for device in volume.devices() {
        let path = device.image().path();
        let Some(mount) = mount_of(path, &device.fsid().to_string()).filter(|mount| mount.read_write) else { continue };
        if !force {
            bail!("{} is mounted read-write at {} (--force checks it anyway)", path.display(), mount.point);
        }
        let what = "is mounted read-write: what is found may be transient";
        output::warning(program, &format_args!("{} {what}", path.display()));
    }
    Ok(())
}

fn write_text(problems: &[Problem], args: &Args, out: &mut Vec<u8>) -> std::io::Result<()> {
    let mut shown: BTreeMap<&str, usize> = BTreeMap::new();
    for problem in problems.iter().filter(|problem| !args.images.quiet || is_damage(problem)) {
        let count = shown.entry(problem.code()).or_default();
        *count += 1;
        if args.all || *count <= SHOWN_OF_A_KIND {
            writeln!(out, "{}: {}: {problem}", problem.severity(), problem.code())?;
        }
    }
    for (code, count) in shown.into_iter().filter(|(_, count)| !args.all && *count > SHOWN_OF_A_KIND) {
        writeln!(out, "{code}: {} more (--all shows them)", count - SHOWN_OF_A_KIND)?;
    }
    if !args.images.quiet {
        match problems.iter().filter(|problem| is_damage(problem)).count() {
            0 => writeln!(out, "no problems found")?,
            1 => writeln!(out, "1 problem found")?,
            count => writeln!(out, "{count} problems found")?,
        }
    }
    Ok(())
}

#[derive(Serialize)]
struct Document<'a> {
    schema: &'static str,
    fsid: Uuid,
    clean: bool,
    problems: Vec<ProblemRecord<'a>>,
}

#[derive(Serialize)]
struct ProblemRecord<'a> {
    code: &'static str,
    severity: Severity,
    message: String,
    values: &'a Problem,
}

impl<'a> Document<'a> {
    fn new(volume: &Volume, problems: &'a [Problem]) -> Self {
        let record = |problem: &'a Problem| ProblemRecord {
            code: problem.code(),
            severity: problem.severity(),
            message: problem.to_string(),
            values: problem,
        };
        Self {
            schema: "rbtrfs.check/1",
            fsid: volume.superblock().fsid,
            clean: !problems.iter().any(is_damage),
            problems: problems.iter().map(record).collect(),
        }
    }
}
