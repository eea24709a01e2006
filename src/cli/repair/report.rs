//! What a repair found, did and left, as text and as a document.

use std::collections::BTreeSet;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use serde::Serialize;

use crate::disk::fields::Uuid;
use crate::finding::Finding;
use crate::problem::Problem;
use crate::repair::{Fix, Repaired, cause_of, remedy};
use crate::volume::Volume;

use super::super::check::advice::{Step, files_of};
use super::super::check::paths::Paths;
use super::super::check::text;
use super::super::color::{self, Palette};
use super::super::doubtful::Doubtful;
use super::super::exit::Exit;
use super::super::findings::{Problems, Records, write_lines};
use super::super::words::command;
use super::super::{document, output};
use super::args::Wanted;

/// More doubtful files than this are counted instead of printed.
const SHOWN: usize = 20;

/// What is to be done, and what may come of it.
pub struct Plan<'p> {
    pub repaired: &'p Repaired,
    /// Files that may not be as they were.
    pub doubtful: &'p [Doubtful],
}

/// What became of a repair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
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
    pub fn exit(self, repaired: &Repaired) -> Exit {
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

fn damage(problems: &[Problem]) -> impl Iterator<Item = &Problem> {
    problems.iter().filter(|problem| problem.is_damage())
}

/// Lines for a person. Those that name files are made while the repaired filesystem can be read.
pub struct Text {
    palette: Palette,
    found: Vec<u8>,
    left: Vec<u8>,
}

impl Text {
    /// `volume` is the filesystem as it is after the repair.
    pub fn new(wanted: &Wanted<'_>, plan: &Plan<'_>, volume: &Volume) -> io::Result<Self> {
        let (palette, repaired) = (Palette::of_stdout(), plan.repaired);
        let (mut found, mut left) = (Vec::new(), Vec::new());
        text::write_header(volume, palette, &mut found)?;
        let shown = text::Wanted { all: wanted.all, quiet: false, notes: wanted.notes };
        text::write_problems(volume, &repaired.before.problems, shown, palette, &mut found)?;
        let mut paths = Paths::new(volume);
        write_lines(damage(&repaired.after.problems), wanted.all, &mut left, |problem| {
            let label = palette.paint(color::ERROR, "left");
            let line = format!("{label}: {}: {problem}; {}", problem.code(), remedy(problem.code()));
            text::with_file(line, paths.of(problem), palette)
        })?;
        Ok(Self { palette, found, left })
    }

    pub fn tell(&self, wanted: &Wanted<'_>, plan: &Plan<'_>, outcome: Outcome) -> anyhow::Result<()> {
        let mut out = BufWriter::new(output::stdout()?);
        self.write(wanted, plan, outcome, &mut out)?;
        out.flush()?;
        Ok(())
    }

    fn write(&self, wanted: &Wanted<'_>, plan: &Plan<'_>, outcome: Outcome, out: &mut impl Write) -> io::Result<()> {
        let (palette, repaired) = (self.palette, plan.repaired);
        out.write_all(&self.found)?;
        writeln!(out)?;
        if outcome == Outcome::Clean {
            return writeln!(out, "{}", palette.paint(color::GOOD, "no problems found"));
        }
        if let Some(cause) = cause_of(&repaired.before.problems) {
            writeln!(out, "Likely cause: {cause}.\n")?;
        }
        let (heading, verb) = match outcome {
            Outcome::Published => ("What was done:", "mended"),
            _ => ("What a repair does:", "to mend"),
        };
        if !repaired.fixes.is_empty() {
            writeln!(out, "{}", palette.paint(color::HEADING, heading))?;
        }
        let mut told = BTreeSet::new();
        // Each step writes superblocks, and may build the trees of space.
        let fixes = repaired.fixes.iter().filter(|fix| told.insert(fix.to_string()));
        write_lines(fixes, wanted.all, out, |fix| {
            let (verb, style) = if fix.gives_up() { ("given up", color::WARNING) } else { (verb, color::GOOD) };
            let verb = palette.paint(style, verb);
            format!("{verb}: {}: {fix}", fix.code())
        })?;
        write_doubtful(plan.doubtful, wanted.all, palette, out)?;
        if repaired.fixes.iter().any(Fix::is_of_flipped_bit) {
            writeln!(out, "bits had flipped: test the memory (memtest86+) before more is written with it")?;
        }
        if let Some(error) = &repaired.stopped {
            writeln!(out, "the repair went no further: {error}")?;
        }
        if !self.left.is_empty() {
            writeln!(out, "{}", palette.paint(color::HEADING, "What is left:"))?;
            out.write_all(&self.left)?;
        }
        let left = damage(&repaired.after.problems).count();
        let rest = match left {
            0 => "nothing is wrong".to_owned(),
            1 => "1 problem is left".to_owned(),
            count => format!("{count} problems are left"),
        };
        let verdict = match outcome {
            Outcome::Published => format!("repaired, {rest}"),
            Outcome::Planned => format!("nothing was written; after the repair {rest}"),
            Outcome::Unasked => format!("nothing was written: --yes gives up what cannot be saved; then {rest}"),
            Outcome::NotBetter | Outcome::Clean => "nothing was written: no repair makes it better".to_owned(),
        };
        writeln!(out, "\n{}", palette.paint(if left == 0 { color::GOOD } else { color::ERROR }, verdict))?;
        text::write_steps(&steps(wanted, repaired, outcome), palette, out)
    }
}

fn write_doubtful(doubtful: &[Doubtful], all: bool, palette: Palette, out: &mut impl Write) -> io::Result<()> {
    let shown = if all { usize::MAX } else { SHOWN };
    let label = palette.paint(color::WARNING, "doubtful");
    for file in doubtful.iter().take(shown) {
        writeln!(out, "{label}: {file}: may be of an earlier commit, or lack something")?;
    }
    match doubtful.len().checked_sub(shown).filter(|more| *more > 0) {
        Some(more) => writeln!(out, "{label}: {more} more (--all shows them)"),
        None => Ok(()),
    }
}

/// What to do next, where the repair is not on the images.
fn steps(wanted: &Wanted<'_>, repaired: &Repaired, outcome: Outcome) -> Vec<Step> {
    let roots: Vec<&str> = wanted.roots.iter().map(String::as_str).collect();
    let words = wanted.words();
    let mut options: Vec<&str> = words.iter().map(String::as_str).collect();
    let files = files_of(&roots, wanted.images);
    match outcome {
        Outcome::Clean | Outcome::Published => Vec::new(),
        Outcome::Planned | Outcome::Unasked if repaired.is_better() => {
            options.extend(["--undo UNDO"]);
            let (has_loss, mut text) = (repaired.given_up().next().is_some(), "Repair it".to_owned());
            if has_loss {
                options.extend(["--yes"]);
                text += ", if what is given up is as good as lost; before that get the files out";
            }
            let repair = command("check --repair", &options, wanted.images);
            let mut steps = if has_loss { vec![files] } else { Vec::new() };
            let undo = command("undo UNDO", &[], wanted.images);
            steps.push(Step {
                text: format!("{text}. The second command takes it back."),
                commands: vec![repair, undo],
            });
            steps
        }
        _ => vec![files],
    }
}

/// Prints the document of a repair, if documents are printed.
pub fn tell_document(wanted: &Wanted<'_>, fsid: Uuid, plan: &Plan<'_>, outcome: Outcome) -> anyhow::Result<()> {
    let out = output::stdout()?;
    if wanted.json {
        document::write(out, &Document::new(wanted, fsid, plan, outcome))?;
    }
    Ok(())
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
