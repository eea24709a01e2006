//! Quota groups: the bytes that they store against those that the trees hold.
//!
//! Full quotas count what each subvolume reaches, and what it reaches alone ([`sharing`]). Simple quotas count each
//! extent for the one subvolume that made it ([`owned`]). Nothing is gathered for a filesystem without quotas.

mod groups;
mod owned;
mod sharing;

use std::collections::BTreeSet;
use std::{fmt, io};

use serde::Serialize;

use crate::disk::key::QgroupId;
use crate::disk::quota::{QgroupStatusItem, QgroupStatusSimple};
use crate::disk::{Key, KeyType, Transid, flags::qgroup_status, objectid};
use crate::finding::findings;
use crate::volume::Volume;

use super::findings::Findings;
use super::items::Items;
use super::scan::{Tree, Visit};

pub use owned::Owned;
pub use sharing::Pointers;

use groups::{Counts, Groups};
use sharing::PointerParts;

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

/// Why counts cannot be expected to be right.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Unsettled {
    Off,
    Outdated,
    Inconsistent,
    Rescan,
    Dropping,
    ManySets,
}

impl fmt::Display for Unsettled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Unsettled::Off => "quotas are off",
            Unsettled::Outdated => "the filesystem was written by what does not count",
            Unsettled::Inconsistent => "they are marked inconsistent",
            Unsettled::Rescan => "a rescan is not finished",
            Unsettled::Dropping => "a subvolume is being deleted",
            Unsettled::ManySets => "too many different sets of subvolumes share blocks",
        })
    }
}

/// Bytes of a quota group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Usage {
    pub rfer: u64,
    pub excl: u64,
}

/// What a quota group stores and what was counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct QgroupReport {
    pub qgroup: QgroupId,
    pub stored: Usage,
    /// Nothing if not all could be read, or if nothing was to be counted.
    pub counted: Option<Usage>,
}

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Full,
    /// Extents that are older than the generation are not counted.
    Simple {
        enable_gen: Transid,
    },
}

/// The quota tree.
#[derive(Default)]
pub struct Quotas {
    groups: Groups,
    /// Nothing if there is nothing to count.
    mode: Option<Mode>,
    unsettled: Option<Unsettled>,
}

/// What one thread gathers for the counts.
#[derive(Default)]
pub struct Gathered {
    pointers: PointerParts,
    owned: Owned,
}

/// Of the extent tree.
impl From<Owned> for Gathered {
    fn from(owned: Owned) -> Self {
        Self { owned, ..Self::default() }
    }
}

impl Gathered {
    /// Notes what a block of a tree adds to the counts.
    pub fn visit(&mut self, quotas: &Quotas, pointers: &Pointers<'_>, tree: &Tree, visit: &Visit<'_>) {
        let id = tree.root.key.objectid;
        match quotas.mode {
            // A relocation tree shares blocks with the tree that it copies, and may have been visited first.
            Some(Mode::Full) if objectid::is_fs_tree(id) || id == objectid::TREE_RELOC => {
                pointers.visit(&mut self.pointers, visit);
            }
            Some(Mode::Simple { .. }) => self.owned.visit(quotas, visit),
            _ => {}
        }
    }
}

impl Quotas {
    /// Reads the quota tree, if `trees` has one. Counts are to be made if they should be right, or if they are `wanted`
    /// anyway. `is_dropping` tells whether a subvolume is being deleted.
    pub fn read(volume: &Volume, trees: &[Tree], is_dropping: bool, wanted: bool, findings: &Findings) -> Self {
        let Some(tree) = trees.iter().find(|tree| tree.root.key.objectid == objectid::QUOTA_TREE) else {
            return Self::default();
        };
        let items = Items::of_tree(volume, &tree.root, |_| true);
        let groups = Groups::read(&items);
        groups.check(&items, findings);
        let (mode, mut unsettled) = status(volume, &items);
        // While the tree is walked down, full quotas count what it still reaches; simple ones do not care.
        if is_dropping && mode == Some(Mode::Full) {
            unsettled = unsettled.or(Some(Unsettled::Dropping));
        }
        let is_unread = items.get(STATUS).is_none() && !items.lacks(STATUS);
        if let Some(reason) = unsettled.filter(|_| !is_unread) {
            findings.report(QuotaProblem::Unsettled { reason });
        }
        Self { groups, mode: mode.filter(|_| wanted || unsettled.is_none()), unsettled }
    }

    /// Compares what was gathered with what the groups store. Nothing is known where something is `unread`. Fails if
    /// temporary files cannot be used.
    pub fn check(
        &self,
        volume: &Volume,
        pointers: Pointers<'_>,
        gathered: Vec<Gathered>,
        trees: &[Tree],
        is_unread: bool,
        findings: &Findings,
    ) -> io::Result<Vec<QgroupReport>> {
        let trees: Vec<Tree> =
            trees.iter().filter(|tree| objectid::is_fs_tree(tree.root.key.objectid)).copied().collect();
        let subvolumes: BTreeSet<QgroupId> = trees.iter().map(|tree| QgroupId(tree.root.key.objectid)).collect();
        let mut counts = Counts::new(&self.groups);
        let mut is_counted = self.mode.is_some() && !is_unread;
        if is_counted && self.mode == Some(Mode::Full) {
            let parts = gathered.into_iter().map(|part| part.pointers).collect();
            let hear = |roots: &[u64], bytes| counts.add(roots, bytes);
            is_counted = pointers.sum(parts, &trees, volume.format().nodesize, hear)?;
            if !is_counted {
                findings.report(QuotaProblem::Unsettled { reason: Unsettled::ManySets });
            }
        } else if is_counted {
            let mut owned = Owned::default();
            gathered.into_iter().for_each(|part| owned.merge(part.owned));
            owned.iter().for_each(|(root, bytes)| counts.add(&[root], bytes));
        }
        let mut report = Vec::new();
        for (qgroup, stored) in self.groups.stored() {
            let counted = is_counted.then(|| counts.of(qgroup));
            report.push(QgroupReport { qgroup, stored, counted });
            // What a kernel leaves when the subvolume goes is not taken care of.
            if !is_unread && qgroup.level() == 0 && !subvolumes.contains(&qgroup) {
                findings.report(QuotaProblem::NoSubvolume { qgroup });
            } else if let Some(counted) = counted.filter(|_| self.unsettled.is_none()) {
                compare(qgroup, stored, counted, findings);
            }
        }
        Ok(report)
    }

    /// Whether an extent of this generation counts for the tree under simple quotas.
    fn counts_owned(&self, root: u64, generation: Transid) -> bool {
        let Some(Mode::Simple { enable_gen }) = self.mode else { return false };
        generation >= enable_gen && objectid::is_fs_tree(root) && self.groups.contains(QgroupId(root))
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

const STATUS: Key = Key::new(0, KeyType::QGROUP_STATUS, 0);

/// What is counted, and why that should not be right.
fn status(volume: &Volume, items: &Items) -> (Option<Mode>, Option<Unsettled>) {
    let Some((status, rest)) = items.get(STATUS).and_then(QgroupStatusItem::read_prefix) else {
        return (None, Some(Unsettled::Off));
    };
    let flags = status.flags.get();
    let mode = match flags & qgroup_status::SIMPLE_MODE {
        0 => Some(Mode::Full),
        _ => QgroupStatusSimple::read_prefix(rest)
            .map(|(simple, _)| Mode::Simple { enable_gen: simple.enable_gen.into() }),
    };
    let unsettled = if flags & qgroup_status::ON == 0 {
        Some(Unsettled::Off)
    } else if flags & qgroup_status::RESCAN != 0 {
        Some(Unsettled::Rescan)
    } else if flags & qgroup_status::INCONSISTENT != 0 {
        Some(Unsettled::Inconsistent)
    // Who counts writes the item in every commit.
    } else if Transid::from(status.generation) != volume.superblock().generation() {
        Some(Unsettled::Outdated)
    } else {
        None
    };
    (mode, unsettled)
}
