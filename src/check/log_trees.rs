//! Log trees against what is in use: neither their blocks nor the data that is new in them have extent items yet, so that both
//! must lie where nothing is.

use crate::disk::flags::block_group;
use crate::disk::{Logical, Transid};
use crate::problem::LogProblem;
use crate::survey::{Coverage, CsumRuns, Cursor, LogTree, Logged, LoggedExtent};
use crate::volume::Volume;

use super::block_groups::knows_extents;
use super::findings::Findings;
use super::free_space::Space;

/// Checks the tree of log trees, and the `logs` in it.
pub fn check(
    volume: &Volume,
    log_root: Option<&LogTree>,
    logs: &[LogTree],
    space: &Space<'_>,
    committed: &CsumRuns,
    findings: &Findings,
) {
    let Some(log_root) = log_root else { return };
    let expect = Transid(volume.superblock().generation().0.saturating_add(1));
    if let Some(have) = log_root.generation.filter(|have| *have != expect) {
        findings.report(LogProblem::Generation { have, expect });
    }
    let log = Log { volume, space, committed, findings };
    log_root.blocks.iter().for_each(|block| log.check_place(*block));
    for LogTree { root, blocks, logged, is_whole, .. } in logs {
        blocks.iter().for_each(|block| log.check_place(*block));
        log.check_extents(root.key.offset, logged, *is_whole);
    }
}

/// The data that log trees add: start and end of each extent, in order.
pub fn added(logs: &[LogTree]) -> Vec<(u64, u64)> {
    let extent = |logged: &LoggedExtent| (logged.extent.0, logged.extent.0.saturating_add(logged.length));
    let mut added: Vec<(u64, u64)> = logs.iter().flat_map(|log| log.logged.extents.iter().map(extent)).collect();
    added.sort_unstable();
    added
}

struct Log<'a> {
    volume: &'a Volume,
    space: &'a Space<'a>,
    /// The checksum tree, which may have those of logged data already.
    committed: &'a CsumRuns,
    findings: &'a Findings,
}

impl Log<'_> {
    fn check_place(&self, block: Logical) {
        let Some(chunk) = self.space.chunks.find(block) else { return };
        if !chunk.flags.contains(block_group::METADATA) && self.space.groups.agree_on_type(chunk) {
            let chunk_type = chunk.flags.type_bits();
            self.findings.report(LogProblem::BlockOutside { block, chunk_type });
        }
        let end = Logical(block.0.saturating_add(self.volume.format().nodesize.into()));
        for extent in self.space.extents.over(block, end) {
            self.findings.report(LogProblem::BlockUsed { block, extent: extent.logical });
        }
    }

    fn check_extents(&self, tree: u64, logged: &Logged, is_whole: bool) {
        let csums = CsumRuns::of_log(logged.csums.clone());
        for LoggedExtent { inode, extent, length, summed } in logged.extents.iter().copied() {
            let end = Logical(extent.0.saturating_add(length));
            let Some(chunk) = self.space.chunks.find(extent) else {
                if self.space.chunks.lack_address(extent) {
                    self.findings.report(LogProblem::ExtentOutside { tree, inode, extent, length });
                }
                continue;
            };
            let is_data = chunk.flags.contains(block_group::DATA) || !self.space.groups.agree_on_type(chunk);
            if !is_data || end > chunk.end() {
                self.findings.report(LogProblem::ExtentOutside { tree, inode, extent, length });
                continue;
            }
            // An extent that was committed before has its checksums elsewhere.
            let is_committed =
                self.space.extents.find(extent, &mut Cursor::default()).is_some_and(|known| known.length == length);
            if is_committed || !knows_extents(self.space.extent_tree, chunk.logical, chunk.end()) {
                continue;
            }
            let mut others = self.space.extents.over(extent, end).peekable();
            let is_free = others.peek().is_none();
            for other in others.map(|other| other.logical) {
                self.findings.report(LogProblem::ExtentUsed { tree, inode, extent, length, other });
            }
            let needs_csums =
                is_whole && is_free && logged.inodes.contains(&inode) && !logged.without_csums.contains(&inode);
            if let Some((start, length)) = summed.filter(|_| needs_csums)
                && csums.coverage(start.0, length) != Coverage::All
                && !matches!(self.committed.coverage(start.0, length), Coverage::All | Coverage::Unknown)
            {
                let end = Logical(start.0.saturating_add(length));
                self.findings.report(LogProblem::Csums { tree, inode, start, end });
            }
        }
    }
}
