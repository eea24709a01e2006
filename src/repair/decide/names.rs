//! Names: what a directory's entry, its index and the inode say of one is made to agree.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::disk::inode::{InodeItem, dir_type};
use crate::disk::{Key, KeyType, hash, objectid};
use crate::problem::{FileName, NameProblem};
use crate::survey::keys_of_type;
use crate::tree::TreeRoot;

use super::super::fix::Fix;
use super::super::plan::Plan;
use super::entries::{
    dir_entries, dir_entry, dir_item_data, inode_extref_data, inode_extrefs, inode_ref_data, inode_refs,
};

/// The least index of a name: 0 and 1 are for "." and "..".
const FIRST_INDEX: u64 = 2;

/// Where a name leads: to an inode or to a subvolume.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Target {
    objectid: u64,
    location: KeyType,
}

/// The names of a directory, by index.
type Indexes = BTreeMap<u64, (Vec<u8>, Target)>;

/// What was looked at, and what is settled.
#[derive(Default)]
pub struct Names {
    directories: HashMap<(u64, u64), Indexes>,
    settled: BTreeSet<(u64, u64, Vec<u8>)>,
}

impl Names {
    /// Makes all that holds the name of a problem agree.
    pub fn decide(&mut self, plan: &mut Plan<'_>, problem: &NameProblem) {
        use NameProblem as P;
        let (tree, directory, name, inodes) = match problem {
            P::NoIndex { tree, directory, name, inode }
            | P::NoEntry { tree, directory, name, inode }
            | P::NoReference { tree, directory, name, inode }
            | P::NoInode { tree, directory, name, inode }
            | P::Duplicate { tree, directory, name, inode }
            | P::Index { tree, directory, name, inode, .. }
            | P::Type { tree, directory, name, inode, .. } => (*tree, *directory, name, vec![*inode]),
            P::Target { tree, directory, name, have, expect } => (*tree, *directory, name, vec![*expect, *have]),
        };
        self.settle(plan, tree, directory, &name.0, &inodes);
    }

    fn directory<'n>(&'n mut self, plan: &Plan<'_>, root: &TreeRoot, directory: u64) -> &'n mut Indexes {
        self.directories.entry((root.key.objectid, directory)).or_insert_with(|| {
            let mut names = BTreeMap::new();
            let (from, to) = keys_of_type(directory, KeyType::DIR_INDEX);
            // What cannot be read has no names that could be in the way.
            let _ = root.range(plan.volume, from, to, |item| {
                for entry in dir_entries(item.data) {
                    let location = Key::from(&entry.item.location);
                    let target = Target { objectid: location.objectid, location: location.key_type };
                    names.insert(item.key.offset, (entry.name, target));
                }
            });
            names
        })
    }

    /// Makes the holders of one name agree. `inodes` are those that are said to have it.
    pub fn settle(&mut self, plan: &mut Plan<'_>, tree: u64, directory: u64, name: &[u8], inodes: &[u64]) {
        let Some(root) = plan.root(tree) else { return };
        if !self.settled.insert((tree, directory, name.to_vec())) {
            return;
        }
        let entry_key = Key::new(directory, KeyType::DIR_ITEM, hash::dir_item(name));
        let entries = plan.edits.get(plan.volume, &root, entry_key).map(|data| dir_entries(&data)).unwrap_or_default();
        let entry = entries.iter().find(|entry| entry.name == name).map(|entry| {
            let location = Key::from(&entry.item.location);
            Target { objectid: location.objectid, location: location.key_type }
        });
        let indexes: Vec<(u64, Target)> = {
            let names = self.directory(plan, &root, directory);
            names.iter().filter(|(_, (other, _))| other == name).map(|(index, (_, target))| (*index, *target)).collect()
        };
        let inode = |objectid| Target { objectid, location: KeyType::INODE_ITEM };
        let references: BTreeMap<u64, u64> = inodes
            .iter()
            .chain(entry.iter().chain(indexes.iter().map(|(_, target)| target)).map(|target| &target.objectid))
            .filter_map(|number| Some((*number, reference_index(plan, &root, *number, directory, name)?)))
            .collect();
        // The target that most holders name counts; of equals that of the index, by which a directory is listed.
        let candidates =
            indexes.iter().map(|(_, target)| *target).chain(entry).chain(references.keys().map(|n| inode(*n)));
        let votes = |target: &Target| {
            let is_known = target.location == KeyType::INODE_ITEM && references.contains_key(&target.objectid);
            usize::from(entry == Some(*target))
                + usize::from(indexes.iter().any(|(_, other)| other == target))
                + usize::from(is_known)
        };
        let mut best: Option<Target> = None;
        for target in candidates.filter(|target| self::exists(plan, &root, *target)) {
            if best.is_none_or(|best| votes(&target) > votes(&best)) {
                best = Some(target);
            }
        }
        let Some(target) = best else {
            self.remove(plan, &root, directory, name, &indexes);
            let name = FileName(name.to_vec());
            return plan.fix(Fix::NameGone { tree, directory, name, why: "it leads to nothing that exists" });
        };
        let is_reference_alone = entry != Some(target) && indexes.iter().all(|(_, other)| *other != target);
        if is_reference_alone && let Some(right) = self.flipped(plan, &root, target.objectid, directory, name) {
            drop_reference(plan, &root, target.objectid, directory, name);
            let what = "a bit of the directory's number in the inode's reference is put back";
            plan.fix(Fix::Name { tree, directory: right, name: FileName(name.to_vec()), inode: target.objectid, what });
            return self.settle(plan, tree, right, name, &[target.objectid]);
        }
        let why = match is_reference_alone {
            true if has_other_name(plan, &root, target.objectid, directory, name) => {
                Some("the directory has another name")
            }
            true if is_no_directory(plan, &root, directory) => Some("it would stand in an inode that is no directory"),
            _ => None,
        };
        if let Some(why) = why {
            drop_reference(plan, &root, target.objectid, directory, name);
            let name = FileName(name.to_vec());
            return plan.fix(Fix::NameGone { tree, directory, name, why });
        }
        let entry_type = match target.location {
            KeyType::ROOT_ITEM => dir_type::DIR,
            _ => inode_type(plan, &root, target.objectid),
        };
        let known = references.get(&target.objectid).copied();
        let own: Vec<u64> = indexes.iter().filter(|(_, other)| *other == target).map(|(index, _)| *index).collect();
        let names = self.directory(plan, &root, directory);
        indexes.iter().for_each(|(index, _)| drop(names.remove(index)));
        let is_free = |index: &u64| *index >= FIRST_INDEX && !names.contains_key(index);
        let next = names.keys().next_back().map_or(FIRST_INDEX, |last| last.saturating_add(1).max(FIRST_INDEX));
        let agreed = known.filter(|index| own.contains(index));
        let index = agreed.or(own.first().copied()).or(known).filter(is_free).unwrap_or(next);
        names.insert(index, (name.to_vec(), target));

        let transid = plan.volume.superblock().generation();
        let offset = if target.location == KeyType::ROOT_ITEM { u64::MAX } else { 0 };
        let new = || dir_entry(Key::new(target.objectid, target.location, offset), entry_type, name, transid);
        let mut kept: Vec<_> = entries.into_iter().filter(|entry| entry.name != name).collect();
        kept.push(new());
        plan.edits.set(plan.volume, &root, entry_key, dir_item_data(&kept));
        for (old, _) in indexes.iter().filter(|(old, _)| *old != index) {
            plan.edits.set(plan.volume, &root, Key::new(directory, KeyType::DIR_INDEX, *old), None);
        }
        let index_key = Key::new(directory, KeyType::DIR_INDEX, index);
        plan.edits.set(plan.volume, &root, index_key, dir_item_data(&[new()]));
        for other in inodes.iter().filter(|other| **other != target.objectid) {
            drop_reference(plan, &root, *other, directory, name);
        }
        if target.location == KeyType::INODE_ITEM {
            set_reference(plan, &root, target.objectid, directory, name, index);
        }
        let name = FileName(name.to_vec());
        let what = "entry, index and reference are made to agree";
        plan.fix(Fix::Name { tree, directory, name, inode: target.objectid, what });
    }

    /// The directory that has a name for an inode which has no reference for that, where the reference names this `directory`,
    /// whose number differs in one bit.
    fn flipped(&mut self, plan: &Plan<'_>, root: &TreeRoot, inode: u64, directory: u64, name: &[u8]) -> Option<u64> {
        let index = reference_index(plan, root, inode, directory, name)?;
        let target = Target { objectid: inode, location: KeyType::INODE_ITEM };
        let mut others = (0..u64::BITS).map(|bit| directory ^ 1 << bit);
        others.find(|other| {
            let names = self.directory(plan, root, *other);
            let has_name = names.get(&index).is_some_and(|(known, of)| known == name && *of == target);
            // It was given its reference if the name was looked at there first.
            let is_settled = || self.settled.contains(&(root.key.objectid, *other, name.to_vec()));
            has_name && (is_settled() || reference_index(plan, root, inode, *other, name).is_none())
        })
    }

    /// Takes a name of an inode out of its directory and of the inode.
    pub fn forget(&mut self, plan: &mut Plan<'_>, root: &TreeRoot, directory: u64, name: &[u8], inode: u64) {
        let names = self.directory(plan, root, directory);
        let own = |target: &Target| target.objectid == inode;
        let found = names.iter().filter(|(_, (other, target))| other == name && own(target));
        let indexes: Vec<(u64, Target)> = found.map(|(index, (_, target))| (*index, *target)).collect();
        self.remove(plan, root, directory, name, &indexes);
        drop_reference(plan, root, inode, directory, name);
        self.settled.insert((root.key.objectid, directory, name.to_vec()));
    }

    /// Takes a name out of a directory.
    fn remove(&mut self, plan: &mut Plan<'_>, root: &TreeRoot, directory: u64, name: &[u8], indexes: &[(u64, Target)]) {
        let entry_key = Key::new(directory, KeyType::DIR_ITEM, hash::dir_item(name));
        if let Some(data) = plan.edits.get(plan.volume, root, entry_key) {
            let kept: Vec<_> = dir_entries(&data).into_iter().filter(|entry| entry.name != name).collect();
            plan.edits.set(plan.volume, root, entry_key, dir_item_data(&kept));
        }
        for (index, _) in indexes {
            plan.edits.set(plan.volume, root, Key::new(directory, KeyType::DIR_INDEX, *index), None);
            self.directory(plan, root, directory).remove(index);
        }
    }

    /// The index for a name of a subvolume: `wanted` if no other name has it. Nothing if the directory has the name for another.
    pub fn take_index(
        &mut self,
        plan: &Plan<'_>,
        root: &TreeRoot,
        directory: u64,
        name: &[u8],
        wanted: Option<u64>,
        subvolume: u64,
    ) -> Option<u64> {
        let own = Target { objectid: subvolume, location: KeyType::ROOT_ITEM };
        let names = self.directory(plan, root, directory);
        if names.values().any(|(other, target)| other == name && *target != own) {
            return None;
        }
        let next = names.keys().next_back().map_or(FIRST_INDEX, |last| last.saturating_add(1).max(FIRST_INDEX));
        let is_free = |index: &u64| {
            *index >= FIRST_INDEX && names.get(index).is_none_or(|(other, target)| other == name && *target == own)
        };
        let index = wanted.filter(is_free).unwrap_or(next);
        names.insert(index, (name.to_vec(), own));
        Some(index)
    }

    /// Gives an inode a name in a directory that does not have it. Returns whether that was possible.
    pub fn add(
        &mut self,
        plan: &mut Plan<'_>,
        root: &TreeRoot,
        directory: u64,
        name: &[u8],
        inode: u64,
        kind: u8,
    ) -> bool {
        let names = self.directory(plan, root, directory);
        if names.values().any(|(other, _)| other == name) {
            return false;
        }
        let index = names.keys().next_back().map_or(FIRST_INDEX, |last| last.saturating_add(1).max(FIRST_INDEX));
        names.insert(index, (name.to_vec(), Target { objectid: inode, location: KeyType::INODE_ITEM }));
        let transid = plan.volume.superblock().generation();
        let new = || dir_entry(Key::new(inode, KeyType::INODE_ITEM, 0), kind, name, transid);
        let entry_key = Key::new(directory, KeyType::DIR_ITEM, hash::dir_item(name));
        let data = plan.edits.get(plan.volume, root, entry_key);
        let mut entries = data.map(|data| dir_entries(&data)).unwrap_or_default();
        entries.push(new());
        let index_key = Key::new(directory, KeyType::DIR_INDEX, index);
        plan.edits.set(plan.volume, root, entry_key, dir_item_data(&entries))
            && plan.edits.set(plan.volume, root, index_key, dir_item_data(&[new()]))
            && set_reference(plan, root, inode, directory, name, index)
    }
}

fn inode_key(inode: u64) -> Key {
    Key::new(inode, KeyType::INODE_ITEM, 0)
}

fn exists(plan: &Plan<'_>, root: &TreeRoot, target: Target) -> bool {
    match target.location {
        KeyType::INODE_ITEM => plan.edits.get(plan.volume, root, inode_key(target.objectid)).is_some(),
        KeyType::ROOT_ITEM => objectid::is_fs_tree(target.objectid) && plan.tree(target.objectid).is_some(),
        _ => false,
    }
}

fn inode_type(plan: &Plan<'_>, root: &TreeRoot, inode: u64) -> u8 {
    let data = plan.edits.get(plan.volume, root, inode_key(inode));
    let item = data.as_deref().and_then(InodeItem::read_prefix);
    item.and_then(|(item, _)| dir_type::of_mode(item.mode.get())).unwrap_or(dir_type::UNKNOWN)
}

/// Whether there is an inode of this number, and it holds no names.
fn is_no_directory(plan: &Plan<'_>, root: &TreeRoot, inode: u64) -> bool {
    ![dir_type::DIR, dir_type::UNKNOWN].contains(&inode_type(plan, root, inode))
}

/// Whether an inode is a directory that has a name beside this one: it can have one only.
fn has_other_name(plan: &Plan<'_>, root: &TreeRoot, inode: u64, directory: u64, name: &[u8]) -> bool {
    let (from, to) = keys_of_type(inode, KeyType::INODE_REF);
    let mut names = 0;
    let _ = root.range(plan.volume, from, to, |item| {
        let is_other = |other: &Vec<u8>| item.key.offset != directory || other != name;
        names += inode_refs(item.data).iter().filter(|(_, other)| is_other(other)).count();
    });
    names > 0 && inode_type(plan, root, inode) == dir_type::DIR
}

/// The index by which an inode knows a name of its own.
fn reference_index(plan: &Plan<'_>, root: &TreeRoot, inode: u64, directory: u64, name: &[u8]) -> Option<u64> {
    let key = Key::new(inode, KeyType::INODE_REF, directory);
    let refs = plan.edits.get(plan.volume, root, key).map(|data| inode_refs(&data)).unwrap_or_default();
    if let Some((index, _)) = refs.iter().find(|(_, other)| other == name) {
        return Some(*index);
    }
    let key = Key::new(inode, KeyType::INODE_EXTREF, hash::inode_extref(directory, name));
    let refs = plan.edits.get(plan.volume, root, key).map(|data| inode_extrefs(&data)).unwrap_or_default();
    refs.iter().find(|(parent, _, other)| *parent == directory && other == name).map(|(_, index, _)| *index)
}

fn drop_reference(plan: &mut Plan<'_>, root: &TreeRoot, inode: u64, directory: u64, name: &[u8]) {
    let key = Key::new(inode, KeyType::INODE_REF, directory);
    if let Some(data) = plan.edits.get(plan.volume, root, key) {
        let (gone, kept): (Vec<_>, Vec<_>) = inode_refs(&data).into_iter().partition(|(_, other)| other == name);
        if !gone.is_empty() {
            plan.edits.set(plan.volume, root, key, inode_ref_data(&kept));
        }
    }
    let key = Key::new(inode, KeyType::INODE_EXTREF, hash::inode_extref(directory, name));
    if let Some(data) = plan.edits.get(plan.volume, root, key) {
        let is_gone = |(parent, _, other): &(u64, u64, Vec<u8>)| *parent == directory && other == name;
        let (gone, kept): (Vec<_>, Vec<_>) = inode_extrefs(&data).into_iter().partition(is_gone);
        if !gone.is_empty() {
            plan.edits.set(plan.volume, root, key, inode_extref_data(&kept));
        }
    }
}

/// Has an inode know a name by this index, in place of what it knew of it.
fn set_reference(plan: &mut Plan<'_>, root: &TreeRoot, inode: u64, directory: u64, name: &[u8], index: u64) -> bool {
    if reference_index(plan, root, inode, directory, name) == Some(index) {
        return true;
    }
    drop_reference(plan, root, inode, directory, name);
    let key = Key::new(inode, KeyType::INODE_REF, directory);
    let data = plan.edits.get(plan.volume, root, key);
    let mut refs = data.map(|data| inode_refs(&data)).unwrap_or_default();
    refs.push((index, name.to_vec()));
    let data = inode_ref_data(&refs).filter(|data| data.len() <= plan.volume.format().nodesize as usize / 4);
    match data {
        Some(data) => plan.edits.set(plan.volume, root, key, Some(data)),
        None => {
            let key = Key::new(inode, KeyType::INODE_EXTREF, hash::inode_extref(directory, name));
            let data = plan.edits.get(plan.volume, root, key);
            let mut refs = data.map(|data| inode_extrefs(&data)).unwrap_or_default();
            refs.push((directory, index, name.to_vec()));
            plan.edits.set(plan.volume, root, key, inode_extref_data(&refs))
        }
    }
}
