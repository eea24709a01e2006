//! Reading a filesystem with what can be put in the place of its lost blocks, and without a repair.

use std::sync::Arc;

use crate::error::Result;
use crate::extract::DoubtfulInodes;
use crate::image::Image;
use crate::survey::{self, Survey, gather};
use crate::volume::{RootChoice, Volume};

use super::bare;
use super::decide::decide_blocks;
use super::fix::Fix;
use super::options::Options;
use super::run::{MAX_STEPS, Step, again, first_choice, is_other_root};
use super::sharers::doubtful_inodes;

/// What was put in the place of lost blocks. All of it is staged.
#[derive(Clone, Debug, Default)]
pub struct Recovered {
    /// What was done, in order. Nothing if no block is lost, or none can be replaced: the images are as they were then.
    pub fixes: Vec<Fix>,
    /// What may not be as it was.
    pub doubts: Vec<DoubtfulInodes>,
    /// Where the images are to be opened.
    pub choice: RootChoice,
}

/// Puts into the staged `images` what can take the place of tree blocks that are lost: blocks with one flipped bit put back, blocks
/// that the disk has written elsewhere, blocks that hung below lost nodes, and earlier versions. What is still lost stays so, for
/// the reader to meet, and nothing that can be read changes but for flipped bits. A log is no hindrance.
///
/// # Errors
/// The filesystem cannot be opened, no space for the new blocks, work that was stopped, temporary files that cannot be used.
pub fn recover(images: &[Image], options: &Options<'_>) -> Result<Recovered> {
    let mut recovered = Recovered::default();
    let mut original: Option<Arc<Survey>> = None;
    recovered.fixes.extend(bare::superblock::stage(images, options.progress)?);
    recovered.fixes.extend(bare::device::stage(images)?);
    recovered.choice = first_choice(images, options, &mut recovered.fixes)?;
    let mut last_fixes = Vec::new();
    for _ in 0..MAX_STEPS {
        let choice = recovered.choice;
        let volume = Volume::open_at(again(images)?, &choice)?;
        let Some(survey) = survey_of_damage(&volume, options, original.is_some())?.map(Arc::new) else { break };
        let plan = decide_blocks(&volume, &survey, is_other_root(&choice), (options.threads, options.progress))?;
        if plan.is_empty() || plan.fixes == last_fixes {
            break;
        }
        Step { images, options, choice, survey: &survey, original: original.as_deref() }.stage(&plan)?;
        recovered.choice = RootChoice::default();
        recovered.doubts.extend(doubtful_inodes(&plan));
        // Superblocks are staged, too, and written nowhere.
        let fixes = plan.fixes.iter().filter(|fix| **fix != Fix::Superblocks {});
        recovered.fixes.extend(fixes.cloned());
        last_fixes = plan.fixes;
        original.get_or_insert(survey);
    }
    Ok(recovered)
}

/// What is known of a filesystem some of whose blocks are lost, or in which bits may have flipped; nothing of another.
fn survey_of_damage(volume: &Volume, options: &Options<'_>, is_expected: bool) -> Result<Option<Survey>> {
    let Options { threads, memory, progress, .. } = *options;
    let gathering = survey::Options { threads, memory, progress, count_qgroups: false, keep_blocks: is_expected };
    let survey = gather(volume, &gathering)?;
    let blocks = &survey.blocks;
    if blocks.unread.is_empty() && blocks.items.is_empty() && blocks.misfits.is_empty() {
        return Ok(None);
    }
    if is_expected {
        return Ok(Some(survey));
    }
    // Only a plan needs a record of each block.
    gather(volume, &survey::Options { keep_blocks: true, ..gathering }).map(Some)
}
