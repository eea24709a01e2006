//! How subvolumes hang together: references in the root tree against names in directories, and the uuid tree.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use crate::block::{ItemRef, Leaf};
use crate::disk::fields::Uuid;
use crate::disk::root::{RootItem, RootRef};
use crate::disk::space::FreeSpaceHeader;
use crate::disk::{Key, KeyType, Logical, hash, objectid};
use crate::finding::findings;
use crate::volume::Volume;

use super::files::{Holder, names_of, printable};
use super::findings::Findings;
use super::scan::{Tree, Unread, Visit};

findings! {
    /// Subvolumes and what else hangs on the root tree.
    SubvolumeProblem {
        /// A subvolume does not know where it stands in its parent.
        NoBackReference("subvolume-backref-missing", Error, "subvolume {subvolume}, no back reference to {parent}") {
            subvolume: u64, parent: u64,
        }
        /// A parent does not know a subvolume that stands in it.
        NoReference("subvolume-ref-missing", Error, "subvolume {subvolume}, no reference from {parent}") {
            subvolume: u64, parent: u64,
        }
        /// Reference and back reference name different places.
        Disagreement(
            "subvolume-refs-disagree", Error,
            "subvolume {subvolume}, reference from {parent} and back reference name different places"
        ) {
            subvolume: u64, parent: u64,
        }
        /// A subvolume does not stand in the directory where its parent says.
        NoName(
            "subvolume-name-missing", Error,
            "subvolume {subvolume}, name {name} in directory {directory} of {parent} does not lead to it"
        ) {
            subvolume: u64, parent: u64, directory: u64, name: String,
        }
        /// No way leads from the top level to a subvolume.
        Unreachable("subvolume-unreachable", Error, "subvolume {subvolume} cannot be reached from the top level") {
            subvolume: u64,
        }
        /// There are references to a subvolume without a root item, or to one that is deleted.
        NoSubvolume("subvolume-missing", Error, "subvolume {subvolume} is deleted or missing, {parent} refers to it") {
            subvolume: u64, parent: u64,
        }
        /// A deleted subvolume has no orphan item, so that its space is never freed.
        NotOrphan("subvolume-orphan-missing", Warning, "subvolume {subvolume} is deleted but has no orphan item") {
            subvolume: u64,
        }
        /// The uuid of a subvolume is not in the uuid tree.
        NoUuid("uuid-missing", Warning, "subvolume {subvolume}, uuid {uuid} is not in the uuid tree") {
            subvolume: u64, uuid: Uuid,
        }
        /// The uuid tree leads to a subvolume that is not there or has another uuid.
        UnfoundedUuid("uuid-unfounded", Warning, "uuid tree, {uuid} is not that of subvolume {subvolume}") {
            subvolume: u64, uuid: Uuid,
        }
        /// A block group's free space cache has no file; the kernel makes a new one.
        NoCacheFile("space-cache-inode-missing", Warning, "block group {block_group}, cache inode {inode} is missing") {
            block_group: Logical, inode: u64,
        }
    }
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Root {
    refs: u32,
    uuid: Uuid,
    received: Uuid,
}

/// Where a subvolume stands in its parent.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    directory: u64,
    index: u64,
    name: Vec<u8>,
}

type Uuids = BTreeSet<(KeyType, Uuid, u64)>;

/// What the root tree and the uuid tree say of subvolumes.
#[derive(Default)]
pub struct Facts {
    roots: BTreeMap<u64, Root>,
    /// By child and parent.
    references: BTreeMap<(u64, u64), Place>,
    back_references: BTreeMap<(u64, u64), Place>,
    orphans: BTreeSet<u64>,
    /// Of each block group with a cache: the inode of the cache.
    caches: BTreeMap<Logical, u64>,
    inodes: BTreeSet<u64>,
    uuids: Uuids,
}

impl Facts {
    /// Notes what a block of the root tree says.
    pub fn visit_root_tree(&mut self, visit: &Visit<'_>) {
        let Visit::Leaf(leaf) = visit else { return };
        for item in leaf.items().flatten() {
            let Key { objectid, key_type, offset } = item.key;
            match key_type {
                KeyType::ROOT_ITEM if objectid::is_fs_tree(objectid) => self.root(&item),
                KeyType::ROOT_REF => {
                    place(&item).into_iter().for_each(|place| note(&mut self.references, (offset, objectid), place));
                }
                KeyType::ROOT_BACKREF => {
                    let back = &mut self.back_references;
                    place(&item).into_iter().for_each(|place| note(back, (objectid, offset), place));
                }
                KeyType::ORPHAN_ITEM if objectid == objectid::ORPHAN => {
                    self.orphans.insert(offset);
                }
                KeyType::INODE_ITEM => {
                    self.inodes.insert(objectid);
                }
                KeyType(0) if objectid == objectid::FREE_SPACE => {
                    if let Some((header, _)) = FreeSpaceHeader::read_prefix(item.data) {
                        note(&mut self.caches, Logical(offset), header.location.objectid.get());
                    }
                }
                _ => {}
            }
        }
    }

    /// Notes what a block says, if it is one of the uuid tree.
    pub fn visit(&mut self, tree: &Tree, visit: &Visit<'_>) {
        if let (objectid::UUID_TREE, Visit::Leaf(leaf)) = (tree.root.key.objectid, visit) {
            self.uuids.extend(uuids_of(*leaf));
        }
    }

    fn root(&mut self, item: &ItemRef<'_>) {
        let Some(root) = RootItem::read(item.data) else { return };
        // Kernels before 3.6 leave in place what they do not know.
        let is_new = root.generation_v2.get() == root.generation.get();
        let (uuid, received) = if is_new { (root.uuid, root.received_uuid) } else { Default::default() };
        note(&mut self.roots, item.key.objectid, Root { refs: root.refs.get(), uuid, received });
    }

    pub fn merge(&mut self, mut other: Facts) {
        note_all(&mut self.roots, other.roots);
        note_all(&mut self.references, other.references);
        note_all(&mut self.back_references, other.back_references);
        self.orphans.append(&mut other.orphans);
        note_all(&mut self.caches, other.caches);
        self.inodes.append(&mut other.inodes);
        self.uuids.append(&mut other.uuids);
    }

    /// Whether a subvolume is being deleted.
    pub fn is_any_dropping(&self) -> bool {
        self.roots.values().any(|root| root.refs == 0)
    }

    /// Whether the tree's files are there to be checked: nothing holds of a subvolume that is being deleted.
    pub fn is_live(&self, tree: &Tree) -> bool {
        let id = tree.root.key.objectid;
        match id {
            objectid::FS_TREE | objectid::DATA_RELOC_TREE => true,
            _ => self.roots.get(&id).is_some_and(|root| root.refs > 0),
        }
    }
}

/// Of two facts with one key, which only a damaged tree has, the greater one counts: threads hear them in any order.
fn note<K: Ord, V: Ord>(facts: &mut BTreeMap<K, V>, key: K, value: V) {
    match facts.entry(key) {
        Entry::Vacant(entry) => _ = entry.insert(value),
        Entry::Occupied(mut entry) if *entry.get() < value => _ = entry.insert(value),
        Entry::Occupied(_) => {}
    }
}

fn note_all<K: Ord, V: Ord>(facts: &mut BTreeMap<K, V>, others: BTreeMap<K, V>) {
    others.into_iter().for_each(|(key, value)| note(facts, key, value));
}

fn place(item: &ItemRef<'_>) -> Option<Place> {
    let (root_ref, rest) = RootRef::read_prefix(item.data)?;
    let name = rest.get(..root_ref.name_len.get().into())?.to_vec();
    Some(Place { directory: root_ref.dirid.get(), index: root_ref.sequence.get(), name })
}

fn uuids_of(leaf: Leaf<'_>) -> Uuids {
    let mut uuids = Uuids::new();
    for item in leaf.items().flatten() {
        let Key { objectid, key_type, offset } = item.key;
        let mut uuid = Uuid::default();
        uuid.0[..8].copy_from_slice(&objectid.to_le_bytes());
        uuid.0[8..].copy_from_slice(&offset.to_le_bytes());
        let (subvolumes, _) = item.data.as_chunks();
        uuids.extend(subvolumes.iter().map(|id| (key_type, uuid, u64::from_le_bytes(*id))));
    }
    uuids
}

/// Checks what the facts say against each other and against the directories of `trees`. `unread` tells what may be
/// there although it is not known.
pub fn check(volume: &Volume, trees: &[Tree], facts: &Facts, unread: &[Unread], findings: &Findings) {
    let check = Check { volume, trees, facts, unread, findings };
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
    facts: &'a Facts,
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

    fn references(&self) {
        let Facts { references, back_references, .. } = self.facts;
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
                let (directory, name) = (place.directory, printable(&place.name));
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
    fn is_named(&self, subvolume: u64, parent: u64, place: &Place) -> bool {
        let Some(tree) = self.trees.iter().find(|tree| tree.root.key.objectid == parent) else {
            return self.may_be_unread(objectid::ROOT_TREE, parent);
        };
        let index = Key::new(place.directory, KeyType::DIR_INDEX, place.index);
        let entry = Key::new(place.directory, KeyType::DIR_ITEM, hash::dir_item(&place.name));
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
                if !uuid.is_nil() && !self.facts.uuids.contains(&(kind, uuid, *subvolume)) {
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
