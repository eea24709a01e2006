//! What other trees and the next mount look for in trees of files: names of subvolumes, and orphan items.

use std::collections::{BTreeSet, HashSet};

use crate::block::Leaf;
use crate::disk::{Key, KeyType, Logical, objectid};

use super::names::names_of;

/// By the leaves that they stand in, which trees may share.
#[derive(Default)]
pub struct Special {
    /// Key of the item, subvolume, name and leaf.
    names: BTreeSet<(Key, u64, Box<[u8]>, Logical)>,
    /// Inode and leaf.
    orphans: BTreeSet<(u64, Logical)>,
}

impl Special {
    /// Takes what stands in a leaf. `names_subvolumes` tells whether there are any names of subvolumes in it.
    pub fn take(&mut self, leaf: Leaf<'_>, names_subvolumes: bool) {
        let block = leaf.block().logical();
        // Orphan items come after all others.
        let last = leaf.headers().iter().rev().map(|item| Key::from(&item.key));
        let orphans = last
            .take_while(|key| key.objectid >= objectid::ORPHAN)
            .filter(|key| (key.objectid, key.key_type) == (objectid::ORPHAN, KeyType::ORPHAN_ITEM));
        self.orphans.extend(orphans.map(|key| (key.offset, block)));
        if !names_subvolumes {
            return;
        }
        for item in leaf.items().flatten() {
            names_of(&item, |_, name| {
                if name.location == KeyType::ROOT_ITEM {
                    self.names.insert((item.key, name.inode, name.name.into(), block));
                }
            });
        }
    }

    pub fn merge(&mut self, mut other: Special) {
        self.names.append(&mut other.names);
        self.orphans.append(&mut other.orphans);
    }

    /// Whether one of these leaves has a name of the subvolume in the item with this key.
    pub fn names_subvolume(&self, leaves: &HashSet<Logical>, key: Key, name: &[u8], subvolume: u64) -> bool {
        let first = (key, subvolume, name.into(), Logical(0));
        let same = self
            .names
            .range(first..)
            .take_while(|(other, id, text, _)| (*other, *id, &**text) == (key, subvolume, name));
        same.into_iter().any(|(_, _, _, leaf)| leaves.contains(leaf))
    }

    /// Whether one of these leaves has an orphan item of the inode.
    pub fn has_orphan_item(&self, leaves: &HashSet<Logical>, inode: u64) -> bool {
        let all = (inode, Logical(0))..=(inode, Logical(u64::MAX));
        self.orphans.range(all).any(|(_, leaf)| leaves.contains(leaf))
    }
}
