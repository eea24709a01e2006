//! Every extent item against the references that really exist.
//!
//! Claims of the extent tree and references of the trees are compared as sums. Only where sums differ records are asked
//! for, and compared one by one.

use std::io;

use crate::block::reference::Reference;
use crate::disk::flags::extent::{DATA, FULL_BACKREF, TREE_BLOCK};
use crate::disk::{Key, KeyType, Logical, Transid, objectid};
use crate::problem::ExtentProblem;
use crate::survey::{
    BackrefFlag, Buckets, Cursor, Extent, ExtentList, ExtentReferences, Job, Mismatch, ReferenceRecord, Shape, Survey,
    Unread,
};

use super::findings::Findings;

/// Compares what extent items claim with what was found. `job` is asked for records. Fails if temporary files cannot be used.
pub fn check(job: &Job<'_>, survey: &Survey, findings: &Findings) -> io::Result<()> {
    check_overlaps(&survey.claims.extents, findings);
    for mismatch in &survey.found.mismatches {
        findings.report(problem_of(mismatch));
    }
    for BackrefFlag { tree, extent: Extent { logical: extent, flags: have, .. }, header_flags } in
        survey.found.backref_flags.iter().copied()
    {
        findings.report(ExtentProblem::BackrefFlag { extent, tree, have, header_flags });
    }
    let details = Details { job, survey, findings };
    if let Some(buckets) = survey.claims.unequal_totals() {
        details.report_totals(&buckets);
    }
    if let Some(buckets) = survey.claims.unequal_references(&survey.found) {
        details.report_references(&buckets)?;
    }
    Ok(())
}

fn problem_of(mismatch: &Mismatch) -> ExtentProblem {
    let Mismatch { extent, reference, shape } = *mismatch;
    let Extent { logical: extent, length, generation, flags, level_or_owner: level, .. } = extent;
    match shape {
        Shape::TreeBlock { .. } if flags & TREE_BLOCK == 0 => ExtentProblem::Kind { extent, have: flags, reference },
        Shape::Data { .. } if flags & DATA == 0 => ExtentProblem::Kind { extent, have: flags, reference },
        Shape::TreeBlock { level: expect, .. } if level != u64::from(expect) => {
            ExtentProblem::Level { extent, have: level, expect: expect.into(), reference }
        }
        Shape::TreeBlock { .. } if flags & FULL_BACKREF != 0 && !is_of_files(reference) => {
            ExtentProblem::FullBackref { extent, have: flags, reference }
        }
        Shape::TreeBlock { generation: expect, .. } => {
            let Transid(expect) = expect.unwrap_or_default();
            ExtentProblem::Generation { extent, have: generation, expect, reference }
        }
        Shape::Data { length: expect } => ExtentProblem::Length { extent, have: length, expect, reference },
    }
}

/// Whether blocks of the tree that refers may be shared.
fn is_of_files(reference: Reference) -> bool {
    !matches!(reference, Reference::TreeBlock { root } if !objectid::may_share_blocks(root))
}

fn check_overlaps(extents: &ExtentList, findings: &Findings) {
    let mut last: Option<Extent> = None;
    for extent in extents.iter() {
        if let Some(other) = last
            && other.end() > extent.logical
        {
            let (length, other) = (extent.length, other.logical);
            findings.report(ExtentProblem::Overlap { extent: extent.logical, length, other });
        }
        if last.is_none_or(|last| last.end() < extent.end()) {
            last = Some(extent);
        }
    }
}

/// The second look at what did not add up.
struct Details<'a> {
    job: &'a Job<'a>,
    survey: &'a Survey,
    findings: &'a Findings,
}

impl Details<'_> {
    fn report_totals(&self, buckets: &Buckets) {
        let Survey { claims, blocks, .. } = self.survey;
        let listed = self.survey.listed_references(self.job, buckets);
        for extent in claims.extents.iter().filter(|extent| buckets.contain(extent.logical)) {
            let expect = listed.get(&extent.logical).copied().unwrap_or_default();
            if expect != extent.refs && !blocks.may_hide_extent(extent.logical) {
                let (extent, have) = (extent.logical, extent.refs);
                self.findings.report(ExtentProblem::Refs { extent, have, expect });
            }
        }
    }

    fn report_references(&self, buckets: &Buckets) -> io::Result<()> {
        let all = self.survey.references(self.job, buckets)?;
        for ExtentReferences { extent, references, is_uncertain } in all.iter() {
            if !self.survey.blocks.may_hide_extent(extent) && !is_uncertain {
                self.report_extent(extent, &references);
            }
        }
        all.failure().map_or(Ok(()), Err)
    }

    /// Reports what is wrong with the references to one extent.
    fn report_extent(&self, extent: Logical, records: &[ReferenceRecord]) {
        let Some(Extent { refs, .. }) = self.survey.claims.extents.find(extent, &mut Cursor::default()) else {
            if let Some(ReferenceRecord { reference, .. }) = records.iter().find(|record| record.found > 0) {
                self.findings.report(ExtentProblem::MissingItem { extent, reference: *reference });
            }
            return;
        };
        let is_gone = |record: &ReferenceRecord| record.found == 0 && !self.may_be_unread(record.reference);
        if records.iter().all(is_gone) {
            self.findings.report(ExtentProblem::Unreferenced { extent, have: refs });
            return;
        }
        for ReferenceRecord { reference, claimed, found } in records.iter().copied() {
            if claimed == found || (found < claimed && self.may_be_unread(reference)) {
                continue;
            }
            self.findings.report(match (claimed, found) {
                (0, expect) => ExtentProblem::MissingReference { extent, reference, expect },
                (have, 0) => ExtentProblem::UnfoundedReference { extent, reference, have },
                (have, expect) => ExtentProblem::ReferenceCount { extent, reference, have, expect },
            });
        }
    }

    /// Whether the reference may stand in a part of a tree that could not be read, or in a tree whose root item does.
    fn may_be_unread(&self, reference: Reference) -> bool {
        // Blocks of file trees are shared, so that any of them may be what refers.
        let is_file_tree = |tree: u64| objectid::is_fs_tree(tree) || tree == objectid::TREE_RELOC;
        let is_in = |unread: &Unread, tree: u64| {
            unread.tree == tree || is_file_tree(unread.tree) && is_file_tree(tree) || loses_root(unread, tree)
        };
        let may_hold = |unread: &Unread| match reference {
            Reference::TreeBlock { root } => {
                is_in(unread, root) && (unread.level > 0 || unread.tree == objectid::ROOT_TREE)
            }
            Reference::ExtentData { root, objectid, .. } => {
                is_in(unread, root) && (unread.may_hold_objectid(objectid) || unread.tree == objectid::ROOT_TREE)
            }
            Reference::SharedBlock { parent } => {
                unread.level > 0 && (unread.block == parent || unread.level > 1)
                    || loses_root(unread, objectid::FS_TREE)
            }
            Reference::SharedData { parent } => {
                unread.block == parent || unread.level > 0 || loses_root(unread, objectid::FS_TREE)
            }
        };
        let is_parent_unknown = match reference {
            Reference::SharedBlock { parent } | Reference::SharedData { parent } => {
                self.survey.blocks.may_hide_extent(parent)
            }
            Reference::TreeBlock { .. } | Reference::ExtentData { .. } => false,
        };
        is_parent_unknown || self.survey.blocks.unread.iter().any(may_hold)
    }
}

/// Whether the root item of a tree, or of one that shares its blocks, may be among what could not be read.
fn loses_root(unread: &Unread, tree: u64) -> bool {
    unread.tree == objectid::ROOT_TREE
        && match objectid::is_fs_tree(tree) || tree == objectid::TREE_RELOC {
            true => unread.may_hold_between(Key::new(objectid::FS_TREE, KeyType(0), 0), Key::MAX),
            false => unread.may_hold_objectid(tree),
        }
}
