//! Know, decide, prove: the order of a repair.

use std::sync::Arc;

use crate::check::{self, Report, check_survey};
use crate::disk::objectid;
use crate::error::{AddressProblem, Addressed, Error, Result};
use crate::extract::DoubtfulInodes;
use crate::finding::Finding;
use crate::image::Image;
use crate::problem::Problem;
use crate::survey::{self, Survey, gather};
use crate::tree::{TreeRoot, stale_devices};
use crate::volume::{Notice, RootChoice, Volume, WritableVolume};

use super::apply::{apply, note_free_space};
use super::bare;
use super::chunk_root::newest_chunk_root;
use super::copies::{write_copies, write_data};
use super::decide::{Begin, decide, decide_copies};
use super::draft::Draft;
use super::fix::Fix;
use super::free::FreeBlocks;
use super::options::{Force, Options};
use super::plan::{Plan, Space};
use super::sharers::doubtful_inodes;
use super::space::Rebuild;

/// Steps at the most: each but the last makes something better, or the repair ends.
pub(super) const MAX_STEPS: usize = 64;

/// What a repair came to. Nothing of it is on the images yet: all is staged.
pub struct Repaired {
    /// What was found at first.
    pub before: Report,
    /// What was done, in order.
    pub fixes: Vec<Fix>,
    /// What may not be as it was.
    pub doubts: Vec<DoubtfulInodes>,
    /// What a check of the staged filesystem finds.
    pub after: Report,
    /// Why the repair went no further, if an error kept it from that.
    pub stopped: Option<Error>,
}

impl Repaired {
    /// Whether the staged filesystem is better than it was: less is wrong with it, and nothing that was not before.
    pub fn is_better(&self) -> bool {
        let codes = |report: &Report| -> std::collections::BTreeSet<&'static str> {
            damage(&report.problems).map(Finding::code).collect()
        };
        let count = |report: &Report| damage(&report.problems).count();
        !self.fixes.is_empty()
            && (count(&self.after) == 0
                || count(&self.after) < count(&self.before) && codes(&self.after).is_subset(&codes(&self.before)))
    }

    /// Whether nothing is wrong with it that was not before.
    pub fn is_no_worse(&self) -> bool {
        damage(&self.after.problems).count() <= damage(&self.before.problems).count()
    }

    /// Whether nothing is wrong any more.
    pub fn is_clean(&self) -> bool {
        is_clean(&self.after)
    }

    /// What is given up.
    pub fn given_up(&self) -> impl Iterator<Item = &Fix> {
        self.fixes.iter().filter(|fix| fix.gives_up())
    }
}

fn is_clean(report: &Report) -> bool {
    damage(&report.problems).next().is_none()
}

fn damage(problems: &[Problem]) -> impl Iterator<Item = &Problem> {
    problems.iter().filter(|problem| problem.is_damage())
}

/// Repairs the filesystem that the staged `images` are the devices of. Nothing reaches the images.
///
/// # Errors
/// The filesystem cannot be opened, a log is pending, work that was stopped, temporary files that cannot be used.
pub fn repair(images: &[Image], options: &Options<'_>) -> Result<Repaired> {
    let mut original: Option<(Report, Arc<Survey>)> = None;
    let (mut fixes, mut doubts): (Vec<Fix>, Vec<DoubtfulInodes>) = (Vec::new(), Vec::new());
    let mut stopped = None;
    let mut last_fixes = 0..0;
    if !options.copies_only {
        fixes.extend(bare::superblock::stage(images, options.progress)?);
        fixes.extend(bare::device::stage(images)?);
    }
    let has_new_superblock = !fixes.is_empty();
    let first_choice = match options.copies_only {
        true => options.choice,
        false => first_choice(images, options, &mut fixes)?,
    };
    let (mut step, mut is_last, mut are_csums_due) = (0, false, options.force.csum_tree);
    let after = loop {
        let is_first = step == 0;
        let choice = if is_first { first_choice } else { RootChoice::default() };
        let volume = Volume::open_at(again(images)?, &choice)?;
        // Only a plan needs a record of each block.
        let is_end = is_last && !are_csums_due;
        let (mut survey, mut report) = know(&volume, options, !is_end)?;
        if is_end && !is_clean(&report) {
            (survey, report) = know(&volume, options, true)?;
        }
        if is_end && is_clean(&report) {
            break report;
        }
        let survey = Arc::new(survey);
        let force = if is_first { options.force } else { Force { csum_tree: are_csums_due, ..Force::default() } };
        let begin = match is_first {
            true if is_other_root(&choice) => Begin::OtherRoot,
            true if has_new_superblock => Begin::Superblock,
            _ => Begin::AsIs,
        };
        let plan = match options.copies_only {
            true => decide_copies(&volume, &survey),
            false => decide(&volume, &survey, &report.problems, &force, begin, (options.threads, options.progress))?,
        };
        let is_again = !is_first && fixes[last_fixes.clone()] == plan.fixes;
        if plan.is_empty() || is_again || stopped.is_some() || step == MAX_STEPS {
            break report;
        }
        step += 1;
        is_last = plan.space != Space::Sound;
        are_csums_due &= plan.csums.is_none();
        let begun =
            Step { images, options, choice, survey: &survey, original: original.as_ref().map(|(_, survey)| &**survey) };
        match begun.stage(&plan) {
            Ok(()) => {
                last_fixes = fixes.len()..fixes.len() + plan.fixes.len();
                doubts.extend(doubtful_inodes(&plan));
                fixes.extend(plan.fixes);
            }
            Err(error @ (Error::Interrupted | Error::Temporary(_))) => return Err(error),
            Err(error) => stopped = Some(error),
        }
        if original.is_none() {
            original = Some((report, survey));
        }
    };
    let before = original.map_or_else(|| after.clone(), |(before, _)| before);
    Ok(Repaired { before, fixes, doubts, after, stopped })
}

/// Where to begin: at the newest chunk root that can be found, if the one of the superblock is lost, or at a chunk tree that is made
/// anew, if a former one does not lead to the root tree.
pub(super) fn first_choice(images: &[Image], options: &Options<'_>, fixes: &mut Vec<Fix>) -> Result<RootChoice> {
    let choice = options.choice;
    let lost = match Volume::open_at(again(images)?, &choice) {
        Err(error @ Error::Block { what: Addressed::ChunkRoot, .. }) if choice.chunk_root.is_none() => Some(error),
        Err(error) => return Err(error),
        Ok(volume) if choice.chunk_root.is_some() || is_root_tree_mapped(&volume) => return Ok(choice),
        Ok(_) => None,
    };
    let newest = match lost {
        Some(_) => newest_chunk_root(&Volume::open_without_chunk_tree(again(images)?, &choice)?),
        None => None,
    };
    let former = newest.map(|(block, _)| RootChoice { chunk_root: Some(block), ..choice });
    let is_whole = match &former {
        Some(former) => is_whole(images, former)?,
        None => false,
    };
    let made = if is_whole { Err(String::new()) } else { bare::chunk_tree::stage(images, &choice, options)? };
    match (made, newest.zip(former), lost) {
        (Ok(made), ..) => {
            fixes.push(made);
            Ok(choice)
        }
        (Err(_), Some(((block, generation), former)), _) => {
            fixes.push(Fix::Root { tree: objectid::CHUNK_TREE, block, generation });
            Ok(former)
        }
        (Err(reason), None, Some(Error::Block { what, logical, problem: AddressProblem::Unreadable(bad) })) => {
            Err(Error::Block { what, logical, problem: AddressProblem::NoChunkTree { bad, reason } })
        }
        (Err(_), None, Some(error)) => Err(error),
        // What can be read is.
        (Err(_), None, None) => Ok(choice),
    }
}

/// Whether the chunks of a filesystem lead to its root tree, as far as its chunk tree tells.
fn is_root_tree_mapped(volume: &Volume) -> bool {
    let is_lost = |notice: &Notice| matches!(notice, Notice::ChunkTreeBlock { .. });
    !volume.notices().iter().any(is_lost) || volume.chunks().find(volume.superblock().root()).is_some()
}

/// Whether a former root of the chunk tree leads to all of a tree that is as high as the lost one, and by that to the root tree.
fn is_whole(images: &[Image], former: &RootChoice) -> Result<bool> {
    let volume = match Volume::open_at(again(images)?, former) {
        Ok(volume) => volume,
        Err(Error::Block { .. }) => return Ok(false),
        Err(error) => return Err(error),
    };
    let is_lost = |notice: &Notice| matches!(notice, Notice::ChunkTreeBlock { .. });
    let is_high = volume.superblock().chunk_root_level >= volume.stored_superblock().chunk_root_level;
    let root = TreeRoot::root_tree(&volume).expected();
    Ok(is_high && !volume.notices().iter().any(is_lost) && volume.read_block(&root, &mut Vec::new()).is_ok())
}

pub(super) fn is_other_root(choice: &RootChoice) -> bool {
    choice.backup || choice.tree_root.is_some() || choice.chunk_root.is_some() || choice.mirror.is_some()
}

/// One step, and what it begins with.
pub(super) struct Step<'s> {
    pub images: &'s [Image],
    pub options: &'s Options<'s>,
    pub choice: RootChoice,
    pub survey: &'s Arc<Survey>,
    /// What the images themselves hold, where an earlier step staged something.
    pub original: Option<&'s Survey>,
}

impl Step<'_> {
    pub fn stage(&self, plan: &Plan<'_>) -> Result<()> {
        let surveys: Vec<&Survey> = self.original.into_iter().chain([&**self.survey]).collect();
        if !plan.copies.is_empty() || !plan.data.is_empty() {
            let volume = self.open(&self.choice)?;
            write_copies(&volume, &plan.copies)?;
            write_data(&volume, &plan.data)?;
        }
        let has_changes = plan.changes_trees() || plan.is_superblock_due;
        if !has_changes && !plan.devices && plan.space == Space::Sound {
            return Ok(());
        }
        let is_alone = self.original.is_none();
        let free = match has_changes {
            true => apply(plan, self.open(&self.choice)?, &surveys, self.options)?,
            false => FreeBlocks::new(plan.volume, &surveys)?,
        };
        match plan.space {
            Space::Sound if !plan.devices => Ok(()),
            // A survey tells what is in use in its own state alone.
            Space::Groups if is_alone && !has_changes && !plan.devices => {
                note_free_space(self.open(&self.choice)?, Arc::clone(self.survey))
            }
            _ => {
                let choice = if has_changes { RootChoice::default() } else { self.choice };
                let Options { threads, memory, progress, .. } = *self.options;
                let (extents, with_devices) = (&self.survey.claims.extents, plan.devices);
                let draft = Draft::new(self.open(&choice)?, free)?;
                Rebuild { threads, progress, memory, extents, with_devices }.run(draft)
            }
        }
    }

    fn open(&self, choice: &RootChoice) -> Result<WritableVolume> {
        WritableVolume::of_images(again(self.images)?, choice, self.options.missing, stale_devices)
    }
}

pub(super) fn again(images: &[Image]) -> Result<Vec<Image>> {
    images.iter().map(Image::again).collect()
}

fn know(volume: &Volume, options: &Options<'_>, keep_blocks: bool) -> Result<(Survey, Report)> {
    let Options { threads, memory, progress, check_data_csum, .. } = *options;
    let gathering = survey::Options { threads, memory, progress, count_qgroups: false, keep_blocks };
    let mut survey = gather(volume, &gathering)?;
    let checking = check::Options { threads, memory, progress, count_qgroups: false, check_data_csum };
    let report = check_survey(volume, &mut survey, &checking)?;
    Ok((survey, report))
}
