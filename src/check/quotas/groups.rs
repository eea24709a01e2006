//! The groups of the quota tree and how they hang together.

use std::collections::{BTreeMap, BTreeSet};

use crate::disk::key::QgroupId;
use crate::disk::quota::QgroupInfoItem;
use crate::disk::{Key, KeyType};

use super::super::findings::Findings;
use super::super::items::Items;
use super::{QuotaProblem, Usage};

/// Groups, and the groups that they are members of.
#[derive(Default)]
pub struct Groups {
    stored: BTreeMap<QgroupId, Usage>,
    /// Member before group, in every pair.
    relations: BTreeSet<(QgroupId, QgroupId)>,
}

fn info_key(qgroup: QgroupId) -> Key {
    Key::new(0, KeyType::QGROUP_INFO, qgroup.0)
}

impl Groups {
    pub fn read(items: &Items) -> Self {
        let usage = |info: &QgroupInfoItem| Usage { rfer: info.rfer.get(), excl: info.excl.get() };
        let infos = items.of_type(KeyType::QGROUP_INFO).filter(|item| item.key.objectid == 0);
        let stored = infos.filter_map(|item| {
            QgroupInfoItem::read_prefix(&item.data).map(|(info, _)| (QgroupId(item.key.offset), usage(info)))
        });
        let stored: BTreeMap<_, _> = stored.collect();
        // The kernel reads the side of the member only.
        let is_of_member = |(member, group): &(QgroupId, QgroupId)| member < group;
        let relations = items.of_type(KeyType::QGROUP_RELATION);
        let relations = relations.map(|item| (QgroupId(item.key.objectid), QgroupId(item.key.offset)));
        let exist = |(member, group): &(QgroupId, QgroupId)| stored.contains_key(member) && stored.contains_key(group);
        let relations = relations.filter(|pair| is_of_member(pair) && exist(pair)).collect();
        Self { stored, relations }
    }

    /// What the groups store, in the order of their ids.
    pub fn stored(&self) -> impl Iterator<Item = (QgroupId, Usage)> {
        self.stored.iter().map(|(qgroup, usage)| (*qgroup, *usage))
    }

    pub fn contains(&self, qgroup: QgroupId) -> bool {
        self.stored.contains_key(&qgroup)
    }

    /// The group and all groups that it is a member of, directly or not; nothing if it does not exist.
    fn with_groups_of(&self, qgroup: QgroupId) -> BTreeSet<QgroupId> {
        let mut all = BTreeSet::new();
        let mut pending: Vec<QgroupId> = self.contains(qgroup).then_some(qgroup).into_iter().collect();
        while let Some(member) = pending.pop() {
            if all.insert(member) {
                let groups = self.relations.range((member, QgroupId(0))..=(member, QgroupId(u64::MAX)));
                pending.extend(groups.map(|(_, group)| *group));
            }
        }
        all
    }

    /// Whether each group has its items, and each relation both of its own.
    pub fn check(&self, items: &Items, findings: &Findings) {
        for item in items.of_type(KeyType::QGROUP_LIMIT).filter(|item| item.key.objectid == 0) {
            let qgroup = QgroupId(item.key.offset);
            if items.lacks(info_key(qgroup)) {
                findings.report(QuotaProblem::NoInfo { qgroup });
            }
        }
        for qgroup in self.stored.keys().copied() {
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
}

/// What is counted for each group.
pub struct Counts<'g> {
    groups: &'g Groups,
    counts: BTreeMap<QgroupId, Usage>,
}

impl<'g> Counts<'g> {
    pub fn new(groups: &'g Groups) -> Self {
        Self { groups, counts: BTreeMap::new() }
    }

    /// Adds bytes that all of these trees reach, and no other: they are exclusive to the groups that hold all of them.
    pub fn add(&mut self, roots: &[u64], bytes: u64) {
        let mut reached: BTreeMap<QgroupId, usize> = BTreeMap::new();
        for root in roots {
            for qgroup in self.groups.with_groups_of(QgroupId(*root)) {
                *reached.entry(qgroup).or_default() += 1;
            }
        }
        for (qgroup, count) in reached {
            let usage = self.counts.entry(qgroup).or_default();
            usage.rfer = usage.rfer.saturating_add(bytes);
            if count == roots.len() {
                usage.excl = usage.excl.saturating_add(bytes);
            }
        }
    }

    pub fn of(&self, qgroup: QgroupId) -> Usage {
        self.counts.get(&qgroup).copied().unwrap_or_default()
    }
}
