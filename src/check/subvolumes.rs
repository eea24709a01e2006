//! How subvolumes hang together: references in the root tree against names in directories, and the uuid tree.

use std::collections::BTreeSet;

use crate::block::ItemRef;
use crate::disk::{Key, KeyType, hash, objectid};
use crate::problem::{FileName, SubvolumeProblem};
use crate::survey::files::{Forest, Holder, names_of};
use crate::survey::{DirPlace, Root, Subvolumes, Unread};
use crate::tree::Tree;
use crate::volume::Volume;

use super::findings::Findings;

/// Checks what the facts say against each other and against the directories of `trees`. `unread` tells what may be
/// there although it is not known.
pub fn check(
    volume: &Volume,
    trees: &[Tree],
    facts: &Subvolumes,
    forest: &mut Forest,
    unread: &[Unread],
    findings: &Findings,
) {
    let mut check = Check { volume, trees, facts, forest, unread, findings };
    check.references();
    check.roots();
    check.uuids();
    for (block_group, inode) in &facts.caches {
        if !facts.inodes.contains(inode) && !check.may_be_unread(objectid::ROOT_TREE, *inode) {
            findings.report(SubvolumeProblem::NoCacheFile { block_group: *block_group, inode: *inode });
        }
    }
}

struct Check<'a> {
    volume: &'a Volume,
    trees: &'a [Tree],
    facts: &'a Subvolumes,
    forest: &'a mut Forest,
    unread: &'a [Unread],
    findings: &'a Findings,
}

impl Check<'_> {
    fn may_be_unread(&self, tree: u64, objectid: u64) -> bool {
        self.unread.iter().any(|unread| unread.tree == tree && unread.may_hold_objectid(objectid))
    }

    fn is_live(&self, subvolume: u64) -> bool {
        self.facts.roots.get(&subvolume).is_some_and(|root| root.refs > 0)
            || self.may_be_unread(objectid::ROOT_TREE, subvolume)
    }

    fn references(&mut self) {
        let Subvolumes { references, back_references, .. } = self.facts;
        for ((subvolume, parent), place) in references {
            let (subvolume, parent) = (*subvolume, *parent);
            if !self.is_live(subvolume) {
                self.findings.report(SubvolumeProblem::NoSubvolume { subvolume, parent });
                continue;
            }
            match back_references.get(&(subvolume, parent)) {
                None if self.may_be_unread(objectid::ROOT_TREE, subvolume) => {}
                None => self.findings.report(SubvolumeProblem::NoBackReference { subvolume, parent }),
                Some(other) if other != place => {
                    self.findings.report(SubvolumeProblem::Disagreement { subvolume, parent });
                }
                Some(_) => {}
            }
            if !self.is_named(subvolume, parent, place) {
                let (directory, name) = (place.directory, FileName(place.name.clone()));
                self.findings.report(SubvolumeProblem::NoName { subvolume, parent, directory, name });
            }
        }
        for (subvolume, parent) in back_references.keys().copied() {
            if references.contains_key(&(subvolume, parent)) {
                continue;
            }
            if !self.is_live(subvolume) {
                self.findings.report(SubvolumeProblem::NoSubvolume { subvolume, parent });
            } else if !self.may_be_unread(objectid::ROOT_TREE, parent) {
                self.findings.report(SubvolumeProblem::NoReference { subvolume, parent });
            }
        }
    }

    /// Whether entry and index lead to the subvolume, or may do so.
    fn is_named(&mut self, subvolume: u64, parent: u64, place: &DirPlace) -> bool {
        let Some(tree) = self.trees.iter().find(|tree| tree.id() == parent) else {
            return self.may_be_unread(objectid::ROOT_TREE, parent);
        };
        let index = Key::new(place.directory, KeyType::DIR_INDEX, place.index);
        let entry = Key::new(place.directory, KeyType::DIR_ITEM, hash::dir_item(&place.name));
        let forest = &mut *self.forest;
        if [index, entry].into_iter().all(|key| forest.names_subvolume(tree, key, &place.name, subvolume)) {
            return true;
        }
        // What the scan has not seen there is looked for by its key.
        [index, entry].into_iter().all(|key| match tree.root.find(self.volume, key) {
            Err(_) => true,
            Ok(None) => false,
            Ok(Some(data)) => {
                let mut leads = false;
                names_of(&ItemRef { slot: 0, key, offset: 0, data: &data }, |holder, name| {
                    debug_assert_ne!(holder, Holder::Reference);
                    leads |= name.name == place.name && name.location == KeyType::ROOT_ITEM && name.inode == subvolume;
                });
                leads
            }
        })
    }

    fn roots(&self) {
        for (subvolume, root) in &self.facts.roots {
            let subvolume = *subvolume;
            if root.refs == 0 {
                let is_known = self.facts.orphans.contains(&subvolume)
                    || self.may_be_unread(objectid::ROOT_TREE, objectid::ORPHAN);
                if !is_known {
                    self.findings.report(SubvolumeProblem::NotOrphan { subvolume });
                }
            } else if !self.is_reachable(subvolume) {
                self.findings.report(SubvolumeProblem::Unreachable { subvolume });
            }
        }
    }

    /// Whether references or back references lead from the subvolume to the top level, or may do so.
    fn is_reachable(&self, subvolume: u64) -> bool {
        let mut passed = BTreeSet::new();
        let mut current = subvolume;
        while current != objectid::FS_TREE {
            if !passed.insert(current) {
                return false;
            }
            if self.may_be_unread(objectid::ROOT_TREE, current) {
                return true;
            }
            let all = (current, 0)..=(current, u64::MAX);
            let reference =
                self.facts.references.range(all.clone()).chain(self.facts.back_references.range(all)).next();
            let Some(((_, parent), _)) = reference else {
                // A reference may stand with any parent.
                return self.unread.iter().any(|unread| unread.tree == objectid::ROOT_TREE);
            };
            current = *parent;
        }
        true
    }

    fn uuids(&self) {
        let superblock = self.volume.superblock();
        // The kernel makes the tree anew when it mounts a filesystem where this is not so.
        if superblock.uuid_tree_generation.get() != superblock.generation.get() {
            return;
        }
        let kinds = [KeyType::UUID_KEY_SUBVOL, KeyType::UUID_KEY_RECEIVED_SUBVOL];
        let uuid_of = |root: &Root, kind: KeyType| match kind {
            KeyType::UUID_KEY_SUBVOL => root.uuid,
            _ => root.received,
        };
        let is_any_unread = |tree: u64| self.unread.iter().any(|unread| unread.tree == tree);
        let is_unread = is_any_unread(objectid::UUID_TREE) || is_any_unread(objectid::ROOT_TREE);
        for (subvolume, root) in self.facts.roots.iter().filter(|(_, root)| root.refs > 0 && !is_unread) {
            for kind in kinds {
                let uuid = uuid_of(root, kind);
                let is_made_up = kind == KeyType::UUID_KEY_SUBVOL && root.is_ancient;
                if !uuid.is_nil() && !is_made_up && !self.facts.uuids.contains(&(kind, uuid, *subvolume)) {
                    self.findings.report(SubvolumeProblem::NoUuid { subvolume: *subvolume, uuid });
                }
            }
        }
        for (kind, uuid, subvolume) in self.facts.uuids.iter().copied() {
            let is_subvolume = objectid::is_fs_tree(subvolume) && kinds.contains(&kind);
            let is_unread = self.may_be_unread(objectid::ROOT_TREE, subvolume);
            let root = self.facts.roots.get(&subvolume);
            if is_subvolume && !is_unread && root.is_none_or(|root| uuid_of(root, kind) != uuid) {
                self.findings.report(SubvolumeProblem::UnfoundedUuid { subvolume, uuid });
            }
        }
    }
}
