//! How subvolumes hang together.

use zerocopy::IntoBytes;

use crate::disk::root::RootRef;
use crate::disk::space::FreeSpaceHeader;
use crate::disk::{Key, KeyType, Logical, hash, objectid};
use crate::problem::{FileName, SubvolumeProblem};
use crate::survey::{DirPlace, keys_of};

use super::super::fix::Fix;
use super::super::plan::Plan;
use super::entries::{dir_entries, dir_entry, dir_item_data};
use super::names::Names;
use super::superblock;

/// A problem of subvolumes.
pub fn decide(plan: &mut Plan<'_>, names: &mut Names, problem: &SubvolumeProblem) {
    use SubvolumeProblem as P;
    match problem {
        P::NoBackReference { subvolume, parent } => copy_reference(plan, *subvolume, *parent, true),
        P::NoReference { subvolume, parent } => copy_reference(plan, *subvolume, *parent, false),
        P::Disagreement { subvolume, parent } => agree(plan, *subvolume, *parent),
        P::NoName { subvolume, parent, directory, name } => {
            let place = plan.survey.subvolumes.references.get(&(*subvolume, *parent));
            if let Some(DirPlace { index, .. }) = place.cloned() {
                put_name(plan, names, *parent, *directory, &name.0, Some(index), *subvolume);
            }
        }
        P::Unreachable { subvolume } => give_name(plan, names, *subvolume),
        P::NoSubvolume { subvolume, parent } => drop_references(plan, *subvolume, *parent),
        P::NotOrphan { subvolume } => {
            let key = Key::new(objectid::ORPHAN, KeyType::ORPHAN_ITEM, *subvolume);
            set_root_item(plan, key, Some(Vec::new()), "a deleted subvolume is noted as such");
        }
        // The kernel verifies the whole tree when this says that it is behind (`btrfs_check_uuid_tree`).
        P::NoUuid { .. } | P::UnfoundedUuid { .. } => superblock::set_once(plan, "uuid_tree_generation", 0),
        P::NoDefault { name, .. } => mend_default(plan, name),
        P::NoCacheFile { block_group, .. } => drop_cache(plan, *block_group),
    }
}

fn set_root_item(plan: &mut Plan<'_>, key: Key, data: Option<Vec<u8>>, what: &'static str) {
    let root = plan.survey.trees.root_tree.root;
    if plan.edits.set(plan.volume, &root, key, data) {
        plan.fix(Fix::Item { tree: objectid::ROOT_TREE, key, what });
    }
}

fn reference_keys(subvolume: u64, parent: u64) -> (Key, Key) {
    (Key::new(parent, KeyType::ROOT_REF, subvolume), Key::new(subvolume, KeyType::ROOT_BACKREF, parent))
}

/// The reference and the back reference hold the same.
fn copy_reference(plan: &mut Plan<'_>, subvolume: u64, parent: u64, is_forward: bool) {
    let (reference, back) = reference_keys(subvolume, parent);
    let (from, to) = if is_forward { (reference, back) } else { (back, reference) };
    let root = plan.survey.trees.root_tree.root;
    if let Some(data) = plan.edits.get(plan.volume, &root, from) {
        set_root_item(plan, to, Some(data), "it is made anew out of its counterpart");
    }
}

/// Of reference and back reference the one counts that names the place where the subvolume stands.
fn agree(plan: &mut Plan<'_>, subvolume: u64, parent: u64) {
    let back = plan.survey.subvolumes.back_references.get(&(subvolume, parent)).cloned();
    let is_back_named = back.is_some_and(|place| is_named(plan, parent, &place, subvolume));
    copy_reference(plan, subvolume, parent, !is_back_named);
}

fn is_named(plan: &Plan<'_>, parent: u64, place: &DirPlace, subvolume: u64) -> bool {
    let Some(root) = plan.root(parent) else { return false };
    let key = Key::new(place.directory, KeyType::DIR_INDEX, place.index);
    let entries = plan.edits.get(plan.volume, &root, key).map(|data| dir_entries(&data)).unwrap_or_default();
    entries.iter().any(|entry| entry.name == place.name && entry.item.location.objectid.get() == subvolume)
}

/// Puts a name of a subvolume in its directory.
fn put_name(
    plan: &mut Plan<'_>,
    names: &mut Names,
    parent: u64,
    directory: u64,
    name: &[u8],
    index: Option<u64>,
    subvolume: u64,
) -> Option<u64> {
    let root = plan.root(parent)?;
    let index = names.take_index(plan, &root, directory, name, index, subvolume)?;
    let transid = plan.volume.superblock().generation();
    let location = Key::new(subvolume, KeyType::ROOT_ITEM, u64::MAX);
    let new = || dir_entry(location, crate::disk::inode::dir_type::DIR, name, transid);
    let entry_key = Key::new(directory, KeyType::DIR_ITEM, hash::dir_item(name));
    let data = plan.edits.get(plan.volume, &root, entry_key);
    let mut entries = data.map(|data| dir_entries(&data)).unwrap_or_default();
    entries.retain(|entry| entry.name != name);
    entries.push(new());
    let index_key = Key::new(directory, KeyType::DIR_INDEX, index);
    let is_set = plan.edits.set(plan.volume, &root, entry_key, dir_item_data(&entries))
        && plan.edits.set(plan.volume, &root, index_key, dir_item_data(&[new()]));
    if is_set {
        let (name, what) = (FileName(name.to_vec()), "it leads to the subvolume again");
        plan.fix(Fix::Name { tree: parent, directory, name, inode: subvolume, what });
    }
    is_set.then_some(index)
}

/// A subvolume that nothing leads to gets a name at the top.
fn give_name(plan: &mut Plan<'_>, names: &mut Names, subvolume: u64) {
    let (parent, directory) = (objectid::FS_TREE, objectid::ROOT_DIR);
    let name = format!("lost+found-{subvolume}").into_bytes();
    // What once led to it leads nowhere.
    let stale = |(id, other): &&(u64, u64)| *id == subvolume && *other != parent;
    let others: Vec<(u64, u64)> = plan.survey.subvolumes.references.keys().filter(stale).copied().collect();
    let back: Vec<(u64, u64)> = plan.survey.subvolumes.back_references.keys().filter(stale).copied().collect();
    for (id, other) in others.into_iter().chain(back) {
        let (reference, back) = reference_keys(id, other);
        for key in [reference, back] {
            set_root_item(plan, key, None, "it leads to no place that can be reached");
        }
    }
    let Some(index) = put_name(plan, names, parent, directory, &name, None, subvolume) else { return };
    let item = RootRef { dirid: directory.into(), sequence: index.into(), name_len: (name.len() as u16).into() };
    let data = [item.as_bytes(), &name].concat();
    let (reference, back) = reference_keys(subvolume, parent);
    for key in [reference, back] {
        set_root_item(plan, key, Some(data.clone()), "the subvolume is named at the top");
    }
}

/// References to a subvolume that is gone.
fn drop_references(plan: &mut Plan<'_>, subvolume: u64, parent: u64) {
    let facts = &plan.survey.subvolumes;
    let place = facts.references.get(&(subvolume, parent)).or(facts.back_references.get(&(subvolume, parent))).cloned();
    let (reference, back) = reference_keys(subvolume, parent);
    for key in [reference, back] {
        set_root_item(plan, key, None, "the subvolume is deleted or missing");
    }
    let (Some(place), Some(root)) = (place, plan.root(parent)) else { return };
    let entry_key = Key::new(place.directory, KeyType::DIR_ITEM, hash::dir_item(&place.name));
    let index_key = Key::new(place.directory, KeyType::DIR_INDEX, place.index);
    for key in [entry_key, index_key] {
        let Some(data) = plan.edits.get(plan.volume, &root, key) else { continue };
        let mut entries = dir_entries(&data);
        entries
            .retain(|entry| entry.name != place.name || Key::from(&entry.item.location).key_type != KeyType::ROOT_ITEM);
        plan.edits.set(plan.volume, &root, key, dir_item_data(&entries));
    }
    let (name, why) = (FileName(place.name), "the subvolume is deleted or missing");
    plan.fix(Fix::NameGone { tree: parent, directory: place.directory, name, why });
}

/// An entry of the root tree's directory that leads to nothing: the default subvolume becomes the top-level one.
fn mend_default(plan: &mut Plan<'_>, name: &FileName) {
    const DEFAULT: &[u8] = b"default";
    let key = Key::new(objectid::ROOT_TREE_DIR, KeyType::DIR_ITEM, hash::dir_item(&name.0));
    let root = plan.survey.trees.root_tree.root;
    let Some(data) = plan.edits.get(plan.volume, &root, key) else { return };
    let mut entries = dir_entries(&data);
    entries.retain(|entry| entry.name != name.0);
    if name.0 == DEFAULT {
        let location = Key::new(objectid::FS_TREE, KeyType::ROOT_ITEM, u64::MAX);
        entries.push(dir_entry(location, crate::disk::inode::dir_type::DIR, DEFAULT, crate::disk::Transid(0)));
    }
    set_root_item(plan, key, dir_item_data(&entries), "the default subvolume is the top-level one");
}

/// Drops all v1 caches of free space. The next mount does not use any of another generation, but it writes only those of block
/// groups that it changes, and the mount after it would use the others.
pub fn drop_caches(plan: &mut Plan<'_>) {
    let key = |offset| Key::new(objectid::FREE_SPACE, KeyType::FREE_SPACE_HEADER, offset);
    let mut cached = Vec::new();
    let root = plan.survey.trees.root_tree.root;
    // What of the root tree cannot be read has no caches either.
    let _ = root.range(plan.volume, key(0), key(u64::MAX), |item| cached.push(Logical(item.key.offset)));
    cached.into_iter().for_each(|logical| drop_cache(plan, logical));
}

/// Drops a v1 cache of free space: the kernel makes a new one.
pub fn drop_cache(plan: &mut Plan<'_>, block_group: Logical) {
    let header = Key::new(objectid::FREE_SPACE, KeyType(0), block_group.0);
    let root = plan.survey.trees.root_tree.root;
    let Some(data) = plan.edits.get(plan.volume, &root, header) else { return };
    set_root_item(plan, header, None, "the v1 cache of a block group is dropped");
    let location = FreeSpaceHeader::read_prefix(&data).map(|(header, _)| Key::from(&header.location));
    let Some(inode) = location.filter(|key| key.key_type == KeyType::INODE_ITEM).map(|key| key.objectid) else {
        return;
    };
    let (from, to) = keys_of(inode);
    let mut own = Vec::new();
    let _ = root.range(plan.volume, from, to, |item| own.push(item.key));
    for key in own {
        plan.edits.set(plan.volume, &root, key, None);
    }
}
