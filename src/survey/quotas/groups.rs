//! The groups of the quota tree and how they hang together.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::disk::key::QgroupId;
use crate::disk::quota::QgroupInfoItem;
use crate::disk::{Key, KeyType};

use super::super::items::Items;

/// Bytes of a quota group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Usage {
    pub rfer: u64,
    pub excl: u64,
}

/// Groups, and the groups that they are members of.
#[derive(Debug, Default)]
pub struct Groups {
    stored: BTreeMap<QgroupId, Usage>,
    /// Member before group, in every pair.
    relations: BTreeSet<(QgroupId, QgroupId)>,
}

/// The key of a group's info item.
pub fn info_key(qgroup: QgroupId) -> Key {
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
}

/// What is counted for each group.
#[derive(Debug, Default)]
pub struct Counts {
    counts: BTreeMap<QgroupId, Usage>,
}

impl Counts {
    /// Adds bytes that all of these trees reach, and no other: they are exclusive to the groups that hold all of them.
    pub fn add(&mut self, groups: &Groups, roots: &[u64], bytes: u64) {
        let mut reached: BTreeMap<QgroupId, usize> = BTreeMap::new();
        for root in roots {
            for qgroup in groups.with_groups_of(QgroupId(*root)) {
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
