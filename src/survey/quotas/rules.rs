//! The quota tree, and what it says of how to count.

use std::fmt;

use serde::Serialize;

use crate::disk::key::QgroupId;
use crate::disk::quota::{QgroupStatusItem, QgroupStatusSimple};
use crate::disk::{Key, KeyType, Transid, flags::qgroup_status, objectid};
use crate::tree::{Scan, Tree};
use crate::volume::Volume;

use super::super::items::Items;
use super::groups::Groups;

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

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Full,
    /// Extents that are older than the generation are not counted.
    Simple {
        enable_gen: Transid,
    },
}

/// The quota tree.
#[derive(Default)]
pub struct Quotas {
    pub items: Items,
    pub groups: Groups,
    /// Nothing if there is nothing to count.
    pub mode: Option<Mode>,
    /// Why what is stored cannot be expected to be right.
    pub unsettled: Option<Unsettled>,
}

impl Quotas {
    /// Reads the quota tree, if `trees` has one, before `scan` reaches it. Counts are to be made if they should be right, or
    /// if they are `wanted` anyway. `is_dropping` tells whether a subvolume is being deleted.
    pub fn read(volume: &Volume, scan: &Scan<'_>, trees: &[Tree], is_dropping: bool, wanted: bool) -> Self {
        let Some(tree) = trees.iter().find(|tree| tree.id() == objectid::QUOTA_TREE) else {
            return Self::default();
        };
        let items = Items::ahead(scan, tree);
        let groups = Groups::read(&items);
        let (mode, mut unsettled) = status(volume, &items);
        // While the tree is walked down, full quotas count what it still reaches; simple ones do not care.
        if is_dropping && mode == Some(Mode::Full) {
            unsettled = unsettled.or(Some(Unsettled::Dropping));
        }
        let mode = mode.filter(|_| wanted || unsettled.is_none());
        Self { items, groups, mode, unsettled }
    }

    /// Whether the item that tells how to count may stand in what could not be read.
    pub fn may_lack_status(&self) -> bool {
        self.items.get(STATUS).is_none() && !self.items.lacks(STATUS)
    }

    /// Whether an extent of this generation counts for the tree under simple quotas.
    pub fn counts_owned(&self, root: u64, generation: Transid) -> bool {
        let Some(Mode::Simple { enable_gen }) = self.mode else { return false };
        generation >= enable_gen && objectid::is_fs_tree(root) && self.groups.contains(QgroupId(root))
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
    // While quotas are on, every commit writes the item.
    } else if Transid::from(status.generation) != volume.superblock().generation() {
        Some(Unsettled::Outdated)
    } else {
        None
    };
    (mode, unsettled)
}
