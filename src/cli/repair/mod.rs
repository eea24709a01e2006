//! `rbtrfs check --repair`

mod args;
mod report;

use std::io::{self, BufRead, IsTerminal, Write};
use std::path::PathBuf;

use anyhow::bail;

use crate::image::{Image, mount_of};
use crate::repair::{Options, publish, repair};
use crate::volume::{MissingDevices, RootChoice, Volume};

use super::exit::Exit;
use super::watch::watched;
use super::{doubtful, hint, output};

pub use args::{RepairArgs, Wanted};
use report::{Outcome, Plan, Text};

pub fn run(program: &str, wanted: &Wanted<'_>) -> anyhow::Result<Exit> {
    let args = wanted.args;
    if args.undo.is_some() && args.dry_run {
        bail!("--undo saves what a repair overwrites, and --dry-run writes nothing");
    }
    let mut staged = stage(wanted)?;
    refuse_mounted(&staged)?;
    let options = Options {
        threads: wanted.threads,
        memory: wanted.memory,
        progress: wanted.progress,
        check_data_csum: wanted.check_data_csum,
        missing: if args.degraded { MissingDevices::Skip } else { MissingDevices::Refuse },
        choice: wanted.choice,
        force: args.force(),
        copies_only: false,
    };
    let mut repaired = watched(wanted.display, wanted.progress, || repair(&staged, &options))
        .map_err(|error| hint::after_search(error.into()))?;
    if args.is_sparing && repaired.given_up().next().is_some() {
        // What was staged stays where it is, and goes with its handles.
        let anew = staged.iter().map(|image| image.again().map(Image::staged)).collect::<crate::Result<Vec<_>>>()?;
        let options = Options { copies_only: true, ..options };
        // What cannot be opened has no copies either.
        if let Ok(copies) = watched(wanted.display, wanted.progress, || repair(&anew, &options))
            && copies.is_better()
        {
            (staged, repaired) = (anew, copies);
        }
    }
    let volume = view(&staged, if repaired.fixes.is_empty() { wanted.choice } else { RootChoice::default() })?;
    let doubtful = doubtful::files(&volume, &repaired.doubts);
    let plan = Plan { repaired: &repaired, doubtful: &doubtful };
    // The view of what is staged ends with the publication.
    let text = (!wanted.json && !wanted.quiet).then(|| Text::new(wanted, &plan, &volume)).transpose()?;
    let fsid = volume.superblock().fsid;
    drop(volume);
    let outcome = decide(program, wanted, &plan, staged)?;
    let told = match text {
        Some(text) => text.tell(wanted, &plan, outcome),
        None => report::tell_document(wanted, fsid, &plan, outcome),
    };
    if outcome == Outcome::Published {
        output::after_change(told)?
    } else {
        told?
    };
    Ok(outcome.exit(&repaired))
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

/// The repaired filesystem; what of it is known where it cannot be opened.
fn view(staged: &[Image], choice: RootChoice) -> crate::Result<Volume> {
    let again = || staged.iter().map(Image::again).collect::<crate::Result<Vec<_>>>();
    Volume::open_at(again()?, &choice).or_else(|_| Volume::open_without_chunk_tree(again()?, &choice))
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
    if wanted.args.is_sparing
        || wanted.json
        || wanted.quiet
        || !io::stdin().is_terminal()
        || !io::stderr().is_terminal()
    {
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
