//! `rbtrfs check --repair`

use std::io::{self, BufRead, BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};

use anyhow::bail;
use serde::Serialize;

use crate::disk::fields::Uuid;
use crate::finding::Finding;
use crate::image::{Image, mount_of};
use crate::problem::Problem;
use crate::progress::Progress;
use crate::repair::{Fix, Force, Options, Repaired, SpaceCache, cause_of, publish, remedy, repair};
use crate::volume::{MissingDevices, RootChoice, Volume};

use super::color::{self, Palette};
use super::doubtful::{self, Doubtful};
use super::exit::Exit;
use super::findings::{Problems, Records, write_lines};
use super::watch::{Display, watched};
use super::{document, output};

/// More doubtful files than this are counted instead of printed.
const SHOWN: usize = 20;

// A documentation comment would be taken for that of the command.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Repair")]
pub struct RepairArgs {
    /// Mend what is wrong, if a check of the mended filesystem finds it better
    #[arg(long)]
    pub repair: bool,

    /// Say what a repair would do and what would be left, and write nothing
    #[arg(long)]
    dry_run: bool,

    /// Save what a repair overwrites in this new file, for rbtrfs undo
    #[arg(long, value_name = "FILE")]
    undo: Option<PathBuf>,

    /// Give up what cannot be saved without asking
    #[arg(short, long)]
    yes: bool,

    /// Repair although devices are missing
    #[arg(long)]
    degraded: bool,

    /// Build the trees of extents and free space anew
    #[arg(long)]
    init_extent_tree: bool,

    /// Make all checksums anew, of the data as it is
    #[arg(long)]
    init_csum_tree: bool,

    /// Build the cache of free space anew: the hidden files (v1) or the free space tree (v2)
    #[arg(long, value_name = "VERSION")]
    clear_space_cache: Option<CacheVersion>,

    /// Give up the log tree, with what was saved by fsync since the last commit
    #[arg(long)]
    clear_log: bool,

    /// Have the next mount build the uuid tree anew
    #[arg(long)]
    clear_uuid_tree: bool,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum CacheVersion {
    V1,
    V2,
}

impl RepairArgs {
    /// A repair that asks nothing; where it would give up anything nothing is done unless `yes`.
    pub fn unasked(yes: bool) -> Self {
        Self { repair: true, yes, ..Self::default() }
    }

    /// Whether anything but a check is asked for.
    pub fn is_wanted(&self) -> bool {
        self.repair || self.dry_run || self.is_forced()
    }

    fn is_forced(&self) -> bool {
        self.init_extent_tree
            || self.init_csum_tree
            || self.clear_log
            || self.clear_uuid_tree
            || self.clear_space_cache.is_some()
    }

    fn force(&self) -> Force {
        Force {
            extent_tree: self.init_extent_tree,
            csum_tree: self.init_csum_tree,
            clear_log: self.clear_log,
            clear_space_cache: self.clear_space_cache.map(|version| match version {
                CacheVersion::V1 => SpaceCache::V1,
                CacheVersion::V2 => SpaceCache::V2,
            }),
            uuid_tree: self.clear_uuid_tree,
        }
    }
}

/// How the caller's command wants it.
pub struct Wanted<'w> {
    pub args: &'w RepairArgs,
    pub images: &'w [PathBuf],
    pub choice: RootChoice,
    pub threads: usize,
    pub memory: u64,
    pub check_data_csum: bool,
    pub json: bool,
    pub quiet: bool,
    pub all: bool,
    /// Notes too.
    pub notes: bool,
    pub display: Display,
    pub progress: &'w Progress,
}

pub fn run(program: &str, wanted: &Wanted<'_>) -> anyhow::Result<Exit> {
    let args = wanted.args;
    if args.undo.is_some() && args.dry_run {
        bail!("--undo saves what a repair overwrites, and --dry-run writes nothing");
    }
    let staged = stage(wanted)?;
    refuse_mounted(&staged)?;
    let options = Options {
        threads: wanted.threads,
        memory: wanted.memory,
        progress: wanted.progress,
        check_data_csum: wanted.check_data_csum,
        missing: if args.degraded { MissingDevices::Skip } else { MissingDevices::Refuse },
        choice: wanted.choice,
        force: args.force(),
    };
    let repaired = watched(wanted.display, wanted.progress, || repair(&staged, &options))?;
    let (fsid, doubtful) = view(&staged, &repaired)?;
    let plan = Plan { repaired: &repaired, doubtful: &doubtful };
    let outcome = decide(program, wanted, &plan, staged)?;
    let told = tell(wanted, fsid, &plan, outcome);
    if outcome == Outcome::Published {
        output::after_change(told)?
    } else {
        told?
    };
    Ok(outcome.exit(&repaired))
}

/// What is to be done, and what may come of it.
struct Plan<'p> {
    repaired: &'p Repaired,
    /// Files that may not be as they were.
    doubtful: &'p [Doubtful],
}

/// What became of a repair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// Nothing is wrong.
    Clean,
    /// It was to be told only.
    Planned,
    /// It is on the images.
    Published,
    /// It is not: it would give up something, and the person did not agree to that.
    Unasked,
    /// It is not: it made nothing better.
    NotBetter,
}

impl Outcome {
    fn exit(self, repaired: &Repaired) -> Exit {
        match self {
            Self::Clean => Exit::Done,
            Self::Published if repaired.is_clean() => Exit::Mended,
            Self::Planned if repaired.is_clean() => Exit::Done,
            Self::Published => Exit::Problems,
            Self::Planned if repaired.is_better() => Exit::Problems,
            Self::Planned | Self::Unasked | Self::NotBetter => Exit::Failed,
        }
    }
}

/// Opens the images so that all that is written is staged beside them. For a plan alone they are not held for writing.
fn stage(wanted: &Wanted<'_>) -> anyhow::Result<Vec<Image>> {
    if wanted.args.dry_run {
        let open = |path: &PathBuf| Image::open(path).map(Image::staged);
        return Ok(wanted.images.iter().map(open).collect::<Result<_, _>>()?);
    }
    // Before they are held: one that is named twice would be found in use by itself.
    let peek = wanted.images.iter().map(|path| Image::open_unmapped(path)).collect::<Result<Vec<_>, _>>()?;
    // What has no superblock is found to have none again, where that matters.
    let seeds = crate::volume::seeds_among(peek).unwrap_or_else(|_| vec![false; wanted.images.len()]);
    let open = |(path, is_seed): (&PathBuf, bool)| match is_seed {
        true => Image::open_unmapped(path),
        false => Image::open_for_writing(path),
    };
    Ok(wanted.images.iter().zip(seeds).map(open).map(|image| image.map(Image::staged)).collect::<Result<_, _>>()?)
}

/// The uuid of the repaired filesystem, and files of it that may not be as they were.
fn view(staged: &[Image], repaired: &Repaired) -> anyhow::Result<(Uuid, Vec<Doubtful>)> {
    let again = || staged.iter().map(Image::again).collect::<Result<Vec<_>, _>>();
    let fsid = Volume::open_without_chunk_tree(again()?, &RootChoice::default())?.superblock().fsid;
    if repaired.doubts.is_empty() {
        return Ok((fsid, Vec::new()));
    }
    // What still cannot be opened has no files.
    let volume = Volume::open(again()?).ok();
    Ok((fsid, volume.map(|volume| doubtful::files(&volume, &repaired.doubts)).unwrap_or_default()))
}

fn refuse_mounted(images: &[Image]) -> anyhow::Result<()> {
    for path in images.iter().map(Image::path) {
        if let Some(mount) = mount_of(path).filter(|mount| mount.read_write) {
            bail!("{} is mounted read-write at {}", path.display(), mount.point);
        }
    }
    Ok(())
}

/// Publishes the repair, if it is to be, and if it is worth it.
fn decide(program: &str, wanted: &Wanted<'_>, plan: &Plan<'_>, staged: Vec<Image>) -> anyhow::Result<Outcome> {
    let (args, repaired) = (wanted.args, plan.repaired);
    if repaired.fixes.is_empty() && repaired.is_clean() && repaired.stopped.is_none() {
        return Ok(Outcome::Clean);
    }
    if args.dry_run {
        return Ok(Outcome::Planned);
    }
    if !repaired.is_better() && (!args.is_forced() || !repaired.is_no_worse()) {
        return Ok(Outcome::NotBetter);
    }
    if repaired.given_up().next().is_some() && !args.yes && !agrees(program, wanted, plan)? {
        return Ok(Outcome::Unasked);
    }
    let publish = || publish(staged, args.undo.as_deref(), wanted.progress);
    watched(wanted.display, wanted.progress, publish)?.wholly()?;
    Ok(Outcome::Published)
}

/// Lists what would be given up, and asks for it on a terminal.
fn agrees(program: &str, wanted: &Wanted<'_>, plan: &Plan<'_>) -> anyhow::Result<bool> {
    if wanted.json || wanted.quiet || !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return Ok(false);
    }
    for fix in plan.repaired.given_up() {
        output::error(program, &format_args!("to be given up: {fix}"));
    }
    for file in plan.doubtful {
        output::error(program, &format_args!("may be of an earlier commit, or lack something: {file}"));
    }
    let _ = write!(io::stderr(), "{program}: go on and give this up? [y/N] ");
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

fn tell(wanted: &Wanted<'_>, fsid: Uuid, plan: &Plan<'_>, outcome: Outcome) -> anyhow::Result<()> {
    let mut out = BufWriter::new(output::stdout()?);
    if wanted.json {
        document::write(&mut out, &Document::new(wanted, fsid, plan, outcome))?;
    } else if !wanted.quiet {
        write_text(wanted, plan, outcome, &mut out)?;
    }
    out.flush()?;
    Ok(())
}

fn damage(problems: &[Problem]) -> impl Iterator<Item = &Problem> {
    problems.iter().filter(|problem| problem.is_damage())
}

fn write_text(wanted: &Wanted<'_>, plan: &Plan<'_>, outcome: Outcome, out: &mut impl Write) -> io::Result<()> {
    let (all, palette, repaired) = (wanted.all, Palette::of_stdout(), plan.repaired);
    let is_wanted = |problem: &&Problem| wanted.notes || problem.is_damage();
    write_lines(repaired.before.problems.iter().filter(is_wanted), all, out, |problem| {
        let severity = palette.paint(color::of_severity(problem.severity()), problem.severity());
        format!("{severity}: {}: {problem}", problem.code())
    })?;
    if let Some(cause) = cause_of(&repaired.before.problems) {
        writeln!(out, "likely cause: {cause}")?;
    }
    let verb = match outcome {
        Outcome::Published => "mended",
        _ => "to mend",
    };
    write_lines(repaired.fixes.iter(), all, out, |fix| {
        let (verb, style) = if fix.gives_up() { ("given up", color::WARNING) } else { (verb, color::GOOD) };
        let verb = palette.paint(style, verb);
        format!("{verb}: {}: {fix}", fix.code())
    })?;
    let shown = if all { usize::MAX } else { SHOWN };
    for file in plan.doubtful.iter().take(shown) {
        let doubtful = palette.paint(color::WARNING, "doubtful");
        writeln!(out, "{doubtful}: {file}: may be of an earlier commit, or lack something")?;
    }
    if let Some(more) = plan.doubtful.len().checked_sub(shown).filter(|more| *more > 0) {
        writeln!(out, "doubtful: {more} more (--all shows them)")?;
    }
    if repaired.fixes.iter().any(Fix::is_of_flipped_bit) {
        writeln!(out, "bits had flipped: test the memory (memtest86+) before more is written with it")?;
    }
    if let Some(error) = &repaired.stopped {
        writeln!(out, "the repair went no further: {error}")?;
    }
    if outcome == Outcome::Clean {
        return writeln!(out, "no problems found");
    }
    write_lines(damage(&repaired.after.problems), all, out, |problem| {
        let left = palette.paint(color::ERROR, "left");
        format!("{left}: {}: {problem}; {}", problem.code(), remedy(problem.code()))
    })?;
    let left = damage(&repaired.after.problems).count();
    let rest = match left {
        0 => "nothing is wrong".to_owned(),
        1 => "1 problem is left".to_owned(),
        count => format!("{count} problems are left"),
    };
    match outcome {
        Outcome::Published => writeln!(out, "repaired, {rest}"),
        Outcome::Planned => writeln!(out, "nothing was written; after the repair {rest}"),
        Outcome::Unasked => writeln!(out, "nothing was written: --yes gives up what cannot be saved; then {rest}"),
        Outcome::NotBetter | Outcome::Clean => writeln!(out, "nothing was written: no repair makes it better"),
    }
}

#[derive(Serialize)]
struct Document<'a> {
    schema: &'static str,
    fsid: Uuid,
    dry_run: bool,
    published: bool,
    clean: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    cause: Option<&'static str>,
    problems: Problems<'a>,
    fixes: Records<'a, Fix>,
    left: Problems<'a>,
    /// Files that may not be as they were, a thousand at the most.
    #[serde(skip_serializing_if = "<[Doubtful]>::is_empty")]
    doubtful: &'a [Doubtful],
    #[serde(skip_serializing_if = "Option::is_none")]
    stopped: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    undo: Option<&'a Path>,
}

impl<'a> Document<'a> {
    fn new(wanted: &'a Wanted<'_>, fsid: Uuid, plan: &Plan<'a>, outcome: Outcome) -> Self {
        let repaired = plan.repaired;
        Self {
            schema: "rbtrfs.repair/1",
            fsid,
            dry_run: wanted.args.dry_run,
            published: outcome == Outcome::Published,
            clean: repaired.is_clean(),
            cause: cause_of(&repaired.before.problems),
            problems: Problems(&repaired.before.problems),
            fixes: Records(&repaired.fixes),
            left: Problems(&repaired.after.problems),
            doubtful: plan.doubtful,
            stopped: repaired.stopped.as_ref().map(ToString::to_string),
            undo: wanted.args.undo.as_deref(),
        }
    }
}
