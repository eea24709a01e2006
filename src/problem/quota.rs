//! Quota groups.

use crate::disk::key::QgroupId;
use crate::finding::findings;
use crate::survey::quotas::Unsettled;

findings! {
    /// Quota groups.
    QuotaProblem {
        /// The counts of quota groups cannot be expected to be right, and were not verified.
        Unsettled("qgroup-unsettled", Note, "quota counts are not verified: {reason}") { reason: Unsettled }
        /// A quota group's referenced bytes are not those that its subvolumes reach.
        Referenced("qgroup-referenced", Error, "qgroup {qgroup}, invalid rfer, have {have} expect {expect}") {
            qgroup: QgroupId, have: u64, expect: u64,
        }
        /// A quota group's exclusive bytes are not those that only its subvolumes reach.
        Exclusive("qgroup-exclusive", Error, "qgroup {qgroup}, invalid excl, have {have} expect {expect}") {
            qgroup: QgroupId, have: u64, expect: u64,
        }
        /// The subvolume of a quota group is deleted.
        NoSubvolume("qgroup-subvolume-missing", Note, "qgroup {qgroup} is that of a subvolume that is gone") {
            qgroup: QgroupId,
        }
        /// A quota group has a limit, but nothing is counted for it.
        NoInfo("qgroup-info-missing", Error, "qgroup {qgroup}, the info item is missing") { qgroup: QgroupId }
        /// A quota group has no item for limits, so that none can be set.
        NoLimit("qgroup-limit-missing", Warning, "qgroup {qgroup}, the limit item is missing") { qgroup: QgroupId }
        /// A quota group is related to one that does not exist, which the kernel ignores.
        NoGroup("qgroup-relation-orphan", Note, "qgroup {member} in {group}, qgroup {missing} is missing") {
            member: QgroupId, group: QgroupId, missing: QgroupId,
        }
        /// The relation of two quota groups is stored with one of them alone.
        OneSided("qgroup-relation-one-sided", Warning, "qgroup {member} in {group}, stored with {with} alone") {
            member: QgroupId, group: QgroupId, with: QgroupId,
        }
    }
}
