//! Quota groups: what they count is written down as it was counted.

use zerocopy::{FromBytes, IntoBytes};

use crate::disk::key::QgroupId;
use crate::disk::quota::{QgroupInfoItem, QgroupLimitItem};
use crate::disk::{Key, KeyType, objectid};
use crate::problem::QuotaProblem;

use super::super::fix::Fix;
use super::super::plan::Plan;

/// A problem of quota groups.
pub fn decide(plan: &mut Plan<'_>, problem: &QuotaProblem) {
    use QuotaProblem as P;
    match *problem {
        P::Referenced { qgroup, expect, .. } => edit_info(plan, qgroup, |info| {
            (info.rfer, info.rfer_cmpr) = (expect.into(), expect.into());
        }),
        P::Exclusive { qgroup, expect, .. } => edit_info(plan, qgroup, |info| {
            (info.excl, info.excl_cmpr) = (expect.into(), expect.into());
        }),
        P::NoInfo { qgroup } => {
            let data = QgroupInfoItem::zeroed().as_bytes().to_vec();
            set(plan, Key::new(0, KeyType::QGROUP_INFO, qgroup.0), data, "the counts of a quota group are made anew");
        }
        P::NoLimit { qgroup } => {
            let data = QgroupLimitItem::zeroed().as_bytes().to_vec();
            set(plan, Key::new(0, KeyType::QGROUP_LIMIT, qgroup.0), data, "a quota group gets an item for limits");
        }
        P::OneSided { member, group, .. } => {
            for (one, other) in [(member, group), (group, member)] {
                let key = Key::new(one.0, KeyType::QGROUP_RELATION, other.0);
                set(plan, key, Vec::new(), "the relation of quota groups stands with both");
            }
        }
        P::Unsettled { .. } | P::NoSubvolume { .. } | P::NoGroup { .. } => {}
    }
}

fn edit_info(plan: &mut Plan<'_>, qgroup: QgroupId, edit: impl FnOnce(&mut QgroupInfoItem)) {
    let key = Key::new(0, KeyType::QGROUP_INFO, qgroup.0);
    let Some(root) = plan.root(objectid::QUOTA_TREE) else { return };
    let Some(mut data) = plan.edits.get(plan.volume, &root, key) else { return };
    let Ok((info, _)) = QgroupInfoItem::mut_from_prefix(&mut data) else { return };
    edit(info);
    set(plan, key, data, "the counts of a quota group are those that were counted");
}

fn set(plan: &mut Plan<'_>, key: Key, data: Vec<u8>, what: &'static str) {
    let Some(root) = plan.root(objectid::QUOTA_TREE) else { return };
    if plan.edits.set(plan.volume, &root, key, Some(data)) {
        plan.fix(Fix::Item { tree: objectid::QUOTA_TREE, key, what });
    }
}
