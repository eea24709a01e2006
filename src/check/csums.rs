//! Checksum items against the extents.

use crate::disk::flags::extent::DATA;
use crate::disk::{Key, KeyType, Logical, objectid};
use crate::problem::ChecksumProblem;
use crate::survey::{CsumRuns, ExtentList, Overlap, Unread};

use super::findings::Findings;

/// Checks that no two items have checksums of the same data.
pub fn check_overlaps(csums: &CsumRuns, findings: &Findings) {
    for Overlap { run, other } in csums.overlaps.iter().copied() {
        let (start, end, other) = (Logical(run.start), Logical(run.end), Logical(other));
        findings.report(ChecksumProblem::Overlap { start, end, other });
    }
}

/// Reports checksums of what is no data, not even what log trees add: `logged` has start and end of that, in order. `unread`
/// tells where extents may be that are not known.
pub fn check_extents(
    csums: &CsumRuns,
    extents: &ExtentList,
    logged: &[(u64, u64)],
    unread: &[Unread],
    findings: &Findings,
) {
    let mut data = extents.iter().filter(|extent| extent.flags & DATA != 0).peekable();
    for run in csums.runs() {
        let mut start = run.start;
        while start < run.end {
            while data.next_if(|extent| extent.logical.0.saturating_add(extent.length) <= start).is_some() {}
            let (next, next_end) = data.peek().map_or((u64::MAX, u64::MAX), |extent| {
                (extent.logical.0, extent.logical.0.saturating_add(extent.length))
            });
            if next > start {
                report_bare(start, next.min(run.end), logged, unread, findings);
            }
            start = next_end;
        }
    }
}

fn report_bare(mut start: u64, end: u64, logged: &[(u64, u64)], unread: &[Unread], findings: &Findings) {
    for (from, to) in logged {
        if *from < end && start < *to {
            report_unknown(start, *from, unread, findings);
            start = *to;
        }
    }
    report_unknown(start, end, unread, findings);
}

fn report_unknown(start: u64, end: u64, unread: &[Unread], findings: &Findings) {
    let may_be_unread = |unread: &Unread| {
        unread.tree == objectid::EXTENT_TREE
            && unread.may_hold_between(Key::MIN, Key::new(end, KeyType(0), 0))
            && unread.may_hold_between(Key::new(start, KeyType(0), 0), Key::MAX)
    };
    if start < end && !unread.iter().any(may_be_unread) {
        findings.report(ChecksumProblem::WithoutExtent { start: Logical(start), end: Logical(end) });
    }
}
