//! Quota groups: the bytes that they store against those that the trees hold.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::disk::key::QgroupId;
use crate::disk::{Key, KeyType, objectid};
use crate::problem::QuotaProblem;
use crate::survey::quotas::{Counted, Quotas, Unsettled, Usage, info_key};
use crate::tree::Tree;

use super::findings::Findings;

/// What a quota group stores and what was counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct QgroupReport {
    /// The group.
    pub qgroup: QgroupId,
    /// What its item says.
    pub stored: Usage,
    /// Nothing if not all could be read, or if nothing was to be counted.
    pub counted: Option<Usage>,
}

/// Compares what was counted with what the groups store. `trees` are those that root items lead to. Nothing is known where
/// something `is_unread`.
pub fn check(
    quotas: &Quotas,
    counted: &Counted,
    trees: &[Tree],
    is_unread: bool,
    findings: &Findings,
) -> Vec<QgroupReport> {
    check_items(quotas, findings);
    if let Some(reason) = quotas.unsettled.filter(|_| !quotas.may_lack_status()) {
        findings.report(QuotaProblem::Unsettled { reason });
    }
    let counts = match counted {
        Counted::Groups(counts) => Some(counts),
        Counted::ManySets => {
            findings.report(QuotaProblem::Unsettled { reason: Unsettled::ManySets });
            None
        }
        Counted::Nothing => None,
    };
    let subvolumes = trees.iter().map(Tree::id).filter(|id| objectid::is_fs_tree(*id));
    let subvolumes: BTreeSet<QgroupId> = subvolumes.map(QgroupId).collect();
    let mut report = Vec::new();
    for (qgroup, stored) in quotas.groups.stored() {
        let counted = counts.map(|counts| counts.of(qgroup));
        report.push(QgroupReport { qgroup, stored, counted });
        // What a kernel leaves when the subvolume goes is not taken care of.
        if !is_unread && qgroup.level() == 0 && !subvolumes.contains(&qgroup) {
            findings.report(QuotaProblem::NoSubvolume { qgroup });
        } else if let Some(counted) = counted.filter(|_| quotas.unsettled.is_none()) {
            compare(qgroup, stored, counted, findings);
        }
    }
    report
}

/// Whether each group has its items, and each relation both of its own.
fn check_items(Quotas { items, groups, .. }: &Quotas, findings: &Findings) {
    for item in items.of_type(KeyType::QGROUP_LIMIT).filter(|item| item.key.objectid == 0) {
        let qgroup = QgroupId(item.key.offset);
        if items.lacks(info_key(qgroup)) {
            findings.report(QuotaProblem::NoInfo { qgroup });
        }
    }
    for qgroup in groups.stored().map(|(qgroup, _)| qgroup) {
        if items.lacks(Key::new(0, KeyType::QGROUP_LIMIT, qgroup.0)) {
            findings.report(QuotaProblem::NoLimit { qgroup });
        }
    }
    for item in items.of_type(KeyType::QGROUP_RELATION) {
        let (with, other) = (QgroupId(item.key.objectid), QgroupId(item.key.offset));
        let (member, group) = (with.min(other), with.max(other));
        if let Some(missing) = [member, group].into_iter().find(|qgroup| items.lacks(info_key(*qgroup))) {
            findings.report(QuotaProblem::NoGroup { member, group, missing });
        } else if items.lacks(Key::new(other.0, KeyType::QGROUP_RELATION, with.0)) {
            findings.report(QuotaProblem::OneSided { member, group, with });
        }
    }
}

fn compare(qgroup: QgroupId, stored: Usage, counted: Usage, findings: &Findings) {
    if stored.rfer != counted.rfer {
        findings.report(QuotaProblem::Referenced { qgroup, have: stored.rfer, expect: counted.rfer });
    }
    if stored.excl != counted.excl {
        findings.report(QuotaProblem::Exclusive { qgroup, have: stored.excl, expect: counted.excl });
    }
}
