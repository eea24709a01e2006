//! A root tree made of the roots of other trees that are found, where its own root is lost and none took its place.

use std::collections::BTreeSet;

use zerocopy::IntoBytes;

use crate::disk::flags::inode;
use crate::disk::inode::{DirItem, Entries, dir_type};
use crate::disk::root::{RootItem, RootRef};
use crate::disk::{Key, KeyType, MAX_LEVEL, hash, objectid};
use crate::survey::Job;
use crate::tree::{BlockPlace, Tree, TreeRoot, Visit, Visitor};

use super::super::edits::Items;
use super::super::older::{OlderBlock, OlderBlocks, RootCandidate};
use super::super::plan::{Doubt, Plan};
use super::entries::{dir_entry, dir_item_data};

/// The first key of a tree of files.
const FIRST: Key = Key::new(objectid::ROOT_DIR, KeyType::INODE_ITEM, 0);

/// What a root tree without the root tree's own knowledge holds: the newest whole tree of each owner. Nothing without the top-level
/// subvolume. Roots that may not be those of the last commit are doubtful.
pub fn items(plan: &mut Plan<'_>, older: &OlderBlocks, job: &Job<'_>) -> Option<Items> {
    let superblock = plan.volume.superblock();
    let (newest, nodesize) = (superblock.generation(), plan.volume.format().nodesize);
    let blocks = || (0..MAX_LEVEL as u8).flat_map(|level| older.of_level(level));
    let owners: BTreeSet<u64> = blocks().map(|block| block.owner).collect();
    let has_item = |owner: &u64| !matches!(*owner, objectid::ROOT_TREE | objectid::CHUNK_TREE | objectid::TREE_LOG);
    let mut items = Items::new();
    for owner in owners.into_iter().filter(has_item) {
        let is_whole =
            |candidate: &RootCandidate| candidate.unreadable == 0 && candidate.root.generation <= Some(newest);
        let mut candidates = older.roots(job, owner).into_iter().filter(is_whole);
        let Some(RootCandidate { root, readable, .. }) = candidates.next() else { continue };
        // What has blocks beside it is a part of a tree whose root is lost. All versions of a subvolume's root begin with one key.
        let is_beside = |block: &OlderBlock| {
            block.owner == owner && (block.level > root.level || block.level == root.level && block.first != FIRST)
        };
        if objectid::is_fs_tree(owner) && blocks().any(|block| is_beside(&block)) {
            continue;
        }
        if candidates.next().is_some() {
            let key = |owner| Key::new(owner, KeyType(0), 0);
            let (first, end) = (Some(key(owner)), owner.checked_add(1).map(key));
            plan.doubts.push(Doubt { tree: objectid::ROOT_TREE, first, end });
        }
        if objectid::is_fs_tree(owner) {
            put_references(owner, &root, job, &mut items);
        }
        let mut item = RootItem::new(nodesize);
        let generation = root.generation.unwrap_or_default();
        (item.generation, item.generation_v2) = (generation.0.into(), generation.0.into());
        (item.bytenr, item.level) = (root.logical.0.into(), root.level);
        item.bytes_used = readable.saturating_mul(u64::from(nodesize)).into();
        if objectid::is_fs_tree(owner) || owner == objectid::DATA_RELOC_TREE {
            item.root_dirid = objectid::ROOT_DIR.into();
        }
        if objectid::is_fs_tree(owner) {
            item.inode.flags = inode::ROOT_ITEM_INIT.into();
        }
        items.insert(Key::new(owner, KeyType::ROOT_ITEM, 0), item.as_bytes().to_vec());
    }
    let top = Key::new(objectid::FS_TREE, KeyType::ROOT_ITEM, 0);
    let default = dir_entry(Key { offset: u64::MAX, ..top }, dir_type::DIR, b"default", newest);
    let named = Key::new(objectid::ROOT_TREE_DIR, KeyType::DIR_ITEM, hash::dir_item(b"default"));
    let is_usable = items.contains_key(&top);
    items.extend(dir_item_data(&[default]).map(|data| (named, data)));
    is_usable.then_some(items)
}

/// Names of subvolumes in the directories of a tree.
struct Names;

impl Visitor for Names {
    type Part = Vec<(u64, RootRef, Vec<u8>)>;

    fn visit(&self, names: &mut Self::Part, _: &BlockPlace<'_>, visit: Visit<'_>) {
        let Visit::Leaf(leaf) = visit else { return };
        for item in leaf.items().flatten().filter(|item| item.key.key_type == KeyType::DIR_INDEX) {
            for named in Entries::<DirItem>::new(item.data).map_while(Result::ok) {
                let location = Key::from(&named.entry.location);
                if location.key_type == KeyType::ROOT_ITEM {
                    let name_len = (named.name.len() as u16).into();
                    let place = RootRef { dirid: item.key.objectid.into(), sequence: item.key.offset.into(), name_len };
                    names.push((location.objectid, place, named.name.to_vec()));
                }
            }
        }
    }
}

/// References to the subvolumes that stand in the directories of `parent`.
fn put_references(parent: u64, root: &TreeRoot, job: &Job<'_>, items: &mut Items) {
    for (subvolume, place, name) in job.scan().run(&[Tree::whole(*root)], &Names).into_iter().flatten() {
        let data = [place.as_bytes(), &name].concat();
        items.insert(Key::new(parent, KeyType::ROOT_REF, subvolume), data.clone());
        items.insert(Key::new(subvolume, KeyType::ROOT_BACKREF, parent), data);
    }
}
