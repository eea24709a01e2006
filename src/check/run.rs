//! The order of a check.

use crate::disk::objectid;
use crate::error::{Error, Result};
use crate::parallel::default_threads;
use crate::problem::Problem;
use crate::progress::Progress;
use crate::survey::files::Rules;
use crate::survey::verify::Amounts;
use crate::survey::{self, Job, Survey, gather};
use crate::tree::Tree;
use crate::volume::Volume;

use super::findings::Findings;
use super::prealloc::Written;
use super::quotas::QgroupReport;
use super::report::{Report, Totals, bad_copies};
use super::{backup_roots, blocks, csums, data, extents, files, log_trees, quotas, structure, subvolumes, superblocks};

/// How to check.
pub struct Options<'a> {
    /// How many threads read.
    pub threads: usize,
    /// Bytes that records may take of the memory; what has no room is kept in temporary files. Not in this: one
    /// record of 16 bytes for each tree block, and the problems.
    pub memory: u64,
    /// Told of the work, and able to stop it.
    pub progress: &'a Progress,
    /// Count for quota groups also where the filesystem says that its own counts are not right.
    pub count_qgroups: bool,
    /// Verify data, too.
    pub check_data_csum: bool,
}

impl<'a> Options<'a> {
    /// A check without data, on as many threads as the machine runs at once, whose records may take 256 MiB of the memory.
    pub fn new(progress: &'a Progress) -> Self {
        let (memory, count_qgroups, check_data_csum) = (256 << 20, false, false);
        Self { threads: default_threads(), memory, progress, count_qgroups, check_data_csum }
    }
}

/// Checks the filesystem. Fails only where it is stopped, or where temporary files cannot be written.
///
/// # Errors
/// [`Error::Interrupted`] or [`Error::Temporary`]: damage is no error, but a problem in the report.
pub fn check(volume: &Volume, options: &Options<'_>) -> Result<Report> {
    volume.undisturbed(|| check_once(volume, options))
}

fn check_once(volume: &Volume, options: &Options<'_>) -> Result<Report> {
    let Options { threads, memory, progress, count_qgroups, .. } = *options;
    let gathering = survey::Options { threads, memory, progress, count_qgroups, keep_blocks: false };
    let mut survey = gather(volume, &gathering)?;
    check_survey(volume, &mut survey, options)
}

/// Compares the facts of a survey. What it tells of faulty inodes is taken out of it.
///
/// # Errors
/// As those of [`check`].
pub fn check_survey(volume: &Volume, survey: &mut Survey, options: &Options<'_>) -> Result<Report> {
    let Options { threads, progress, .. } = *options;
    let findings = Findings::default();
    let job = Job { volume, threads, progress };
    let (totals, qgroups) = compare(&job, survey, options.check_data_csum, &findings)?;
    let problems = findings.into_sorted();
    let bad_copies = bad_copies(&problems);
    Ok(Report { problems, totals: Totals { bad_copies, ..totals }, qgroups })
}

/// What is wrong below the trees of files: superblocks, chunks, devices, block groups, free space and log trees.
pub fn check_structure(volume: &Volume, survey: &Survey) -> Vec<Problem> {
    let findings = Findings::default();
    structure::check(volume, survey, &findings);
    findings.into_sorted()
}

/// Checks a volume that was opened without its chunk tree: reports what its superblocks say, and that the root of the chunk
/// tree is lost.
pub fn check_superblocks(volume: &Volume) -> Report {
    let findings = Findings::default();
    superblocks::check_alone(volume, &findings);
    backup_roots::check(volume.stored_superblock(), &findings);
    blocks::check_chunk_root(volume, &findings);
    Report { problems: findings.into_sorted(), totals: Totals::default(), qgroups: Vec::new() }
}

fn compare(
    job: &Job<'_>,
    survey: &mut Survey,
    check_data_csum: bool,
    findings: &Findings,
) -> Result<(Totals, Vec<QgroupReport>)> {
    let Job { volume, progress, .. } = *job;
    blocks::check(volume, &survey.blocks, findings);
    structure::check(volume, survey, findings);
    stop(progress)?;

    let unread = &survey.blocks.unread;
    // Where extents are noted in another way, what the items lack may stand elsewhere.
    let are_extents_known = survey.trees.extent_tree.is_some() && survey.structure.is_some();
    csums::check_overlaps(&survey.csums, findings);
    let logged = log_trees::added(&survey.logs);
    if are_extents_known {
        csums::check_extents(&survey.csums, &survey.claims.extents, &logged, unread, findings);
    }
    subvolumes::check(volume, &survey.file_trees, &survey.subvolumes, &mut survey.files, unread, findings);
    let rules = Rules::new(volume, &survey.csums);
    let file_trees: Vec<Tree> =
        survey.trees.others.iter().filter(|tree| objectid::is_fs_tree(tree.id())).copied().collect();
    let written = Written { trees: &file_trees, logged };
    files::check(job, &rules, &survey.file_trees, &written, &mut survey.files, findings);
    stop(progress)?;

    let is_unread = survey.is_unread();
    let qgroups = quotas::check(&survey.quotas, &survey.counted, &survey.trees.others, is_unread, findings);
    let amounts = match check_data_csum {
        true => {
            let verified = survey.verify(job, &());
            let amounts = verified.amounts;
            data::check(verified, findings);
            amounts
        }
        false => Amounts::default(),
    };
    stop(progress)?;

    progress.begin("references", 0);
    if are_extents_known {
        extents::check(job, survey, findings).map_err(Error::Temporary)?;
    }
    stop(progress)?;
    if let Some(failure) = survey.failure() {
        return Err(Error::Temporary(failure));
    }
    let extents = &survey.claims.extents;
    let totals = Totals {
        bytes_used: extents.iter().fold(0, |sum: u64, extent| sum.saturating_add(extent.length)),
        extents: extents.count(),
        inodes: survey.files.inodes(),
        subvolumes: survey.file_trees.iter().filter(|tree| objectid::is_fs_tree(tree.id())).count() as u64,
        blocks: survey.blocks.count,
        copies: survey.blocks.copies,
        data_bytes: amounts.data,
        data_copies_bytes: amounts.copies,
        parity_bytes: amounts.parity,
        bad_copies: Vec::new(),
    };
    Ok((totals, qgroups))
}

/// A phase that was stopped has not seen everything: what it found is not to be told.
fn stop(progress: &Progress) -> Result<()> {
    if progress.is_stopped() { Err(Error::Interrupted) } else { Ok(()) }
}
