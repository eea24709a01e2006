//! Inodes: what they count is counted anew, and those without a name get one in lost+found.

use std::collections::{BTreeMap, BTreeSet};

use zerocopy::IntoBytes;

use crate::block::ItemRef;
use crate::disk::flags::inode::NODATASUM;
use crate::disk::inode::{FileExtentDisk, FileExtentItem, InodeItem, dir_type, file_extent_type};
use crate::disk::{Key, KeyType, hash, objectid};
use crate::problem::{FileName, FileProblem};
use crate::survey::files::{Holder, names_of};
use crate::tree::TreeRoot;

use super::super::fix::Fix;
use super::super::plan::Plan;
use super::csums::Checksums;
use super::entries::dir_entries;
use super::file_extents::{covers, extent_reach};
use super::inode_items::{inode_item, items_of};
use super::names::Names;
use super::offsets;

const DIRECTORY: u32 = 0o040_700;
const REGULAR: u32 = 0o100_600;
const TYPE: u32 = 0o170_000;
const LOST_AND_FOUND: &[u8] = b"lost+found";

/// What is decided of inodes, with what it takes.
#[derive(Default)]
pub struct Files {
    /// lost+found of each tree.
    homes: BTreeMap<u64, Option<u64>>,
    /// Inodes that are new.
    next_inode: BTreeMap<u64, u64>,
    done: BTreeSet<(u64, u64, &'static str)>,
    /// Of inodes whether a bit of the length of an extent was put back.
    put_back: BTreeMap<(u64, u64), bool>,
}

impl Files {
    /// A problem of an inode.
    pub fn decide(&mut self, plan: &mut Plan<'_>, names: &mut Names, csums: &mut Checksums, problem: &FileProblem) {
        use FileProblem as P;
        // A length that is wrong shows in all of these, and each of them would be mended in another way.
        if let P::Bytes { tree, inode, .. } | P::Overlap { tree, inode, .. } | P::Gap { tree, inode, .. } = *problem {
            let is_put_back = self.put_back.get(&(tree, inode)).copied();
            let is_put_back = is_put_back.unwrap_or_else(|| offsets::put_length_back(plan, tree, inode, None));
            self.put_back.insert((tree, inode), is_put_back);
            if is_put_back {
                return;
            }
        }
        match *problem {
            P::RootDirectory { tree } => self.make_root(plan, tree),
            P::NoItem { tree, inode } => self.make_item(plan, names, tree, inode),
            P::Links { tree, inode, expect: 0, .. } | P::NotOrphan { tree, inode } => {
                self.find_home(plan, names, tree, inode);
            }
            P::Links { tree, inode, expect, .. } => {
                edit_inode(plan, tree, inode, "nlink is that of its names", |item| item.nlink = expect.into());
            }
            P::ManyNames { tree, inode, .. } => drop_names(plan, names, tree, inode),
            P::DirectorySize { tree, inode, expect, .. } | P::LinkSize { tree, inode, expect, .. } => {
                edit_inode(plan, tree, inode, "its size is that of what it holds", |item| item.size = expect.into());
            }
            P::Bytes { tree, inode, expect, .. } => {
                edit_inode(plan, tree, inode, "nbytes is that of its extents", |item| item.nbytes = expect.into());
            }
            P::Items { tree, inode, mode } => fit_items(plan, tree, inode, mode),
            P::Overlap { tree, inode, .. } => drop_overlaps(plan, tree, inode),
            P::Gap { tree, inode, .. } => fill_gaps(plan, tree, inode),
            P::Unsummed { tree, inode, .. } => {
                if self.done.insert((tree, inode, "csums")) {
                    csums.make_for(plan, tree, inode);
                }
            }
            P::CompressedUnsummed { tree, inode, .. } | P::Summed { tree, inode } => {
                if self.done.insert((tree, inode, "csums")) {
                    csums.make_for(plan, tree, inode);
                    edit_inode(plan, tree, inode, "its data has checksums", |item| {
                        item.flags = (item.flags.get() & !NODATASUM).into();
                    });
                }
            }
            P::SummedPrealloc { tree, inode, .. } => {
                if self.done.insert((tree, inode, "prealloc")) {
                    csums.drop_prealloc(plan, tree, inode);
                }
            }
            // A target would have to be invented.
            P::LinkNotInline { .. } | P::LinkEmpty { .. } | P::LinkNul { .. } => {}
        }
    }

    fn make_root(&mut self, plan: &mut Plan<'_>, tree: u64) {
        let Some(root) = plan.root(tree) else { return };
        let number = objectid::ROOT_DIR;
        let item = new_inode(plan, 0o040_755, 1);
        let key = Key::new(number, KeyType::INODE_ITEM, 0);
        let reference = super::entries::inode_ref_data(&[(0, b"..".to_vec())]);
        plan.edits.set(plan.volume, &root, key, Some(item.as_bytes().to_vec()));
        plan.edits.set(plan.volume, &root, Key::new(number, KeyType::INODE_REF, number), reference);
        plan.fix(Fix::Item { tree, key, what: "the root directory is made anew" });
    }

    /// An inode item out of what else there is of the inode.
    fn make_item(&mut self, plan: &mut Plan<'_>, names: &mut Names, tree: u64, inode: u64) {
        let Some(root) = plan.root(tree) else { return };
        let items = items_of(plan, &root, inode);
        let has = |key_type| items.keys().any(|key| key.key_type == key_type);
        let is_directory = has(KeyType::DIR_ITEM) || has(KeyType::DIR_INDEX);
        let refs = names_of_inode(&items);
        let entry_type = refs.iter().find_map(|(directory, name)| type_in(plan, &root, *directory, name, inode));
        let mode = match entry_type {
            _ if is_directory => DIRECTORY,
            Some(dir_type::DIR) => DIRECTORY,
            Some(dir_type::SYMLINK) => 0o120_777,
            Some(dir_type::FIFO) => 0o010_600,
            Some(dir_type::SOCK) => 0o140_600,
            // Without its item the numbers of a device are not known.
            _ => REGULAR,
        };
        let mut item = new_inode(plan, mode, refs.len() as u32);
        let (mut size, mut nbytes) = (0_u64, 0_u64);
        for (key, data) in &items {
            match key.key_type {
                KeyType::DIR_ITEM | KeyType::DIR_INDEX => {
                    size += dir_entries(data).iter().map(|entry| entry.name.len() as u64).sum::<u64>();
                }
                KeyType::EXTENT_DATA => {
                    let (end, bytes) = extent_reach(*key, data);
                    size = size.max(end);
                    nbytes = nbytes.saturating_add(bytes);
                }
                _ => {}
            }
        }
        (item.size, item.nbytes) = (size.into(), nbytes.into());
        let key = Key::new(inode, KeyType::INODE_ITEM, 0);
        if plan.edits.set(plan.volume, &root, key, Some(item.as_bytes().to_vec())) {
            plan.fix(Fix::Item { tree, key, what: "the inode item is made anew out of what it holds" });
        }
        if refs.is_empty() {
            self.find_home(plan, names, tree, inode);
        }
    }

    /// Gives an inode without a name one in lost+found.
    fn find_home(&mut self, plan: &mut Plan<'_>, names: &mut Names, tree: u64, inode: u64) {
        if !self.done.insert((tree, inode, "home")) {
            return;
        }
        let Some(root) = plan.root(tree) else { return };
        let Some(home) = self.lost_and_found(plan, names, &root) else { return };
        let key = Key::new(inode, KeyType::INODE_ITEM, 0);
        let Some(data) = plan.edits.get(plan.volume, &root, key) else { return };
        let Some((item, _)) = InodeItem::read_prefix(&data) else { return };
        let kind = dir_type::of_mode(item.mode.get()).unwrap_or(dir_type::REG_FILE);
        let name = inode.to_string().into_bytes();
        if names.add(plan, &root, home, &name, inode, kind) {
            edit_inode(plan, tree, inode, "nlink is that of its names", |item| item.nlink = 1.into());
            plan.edits.set(plan.volume, &root, Key::new(objectid::ORPHAN, KeyType::ORPHAN_ITEM, inode), None);
            plan.fix(Fix::Found { tree, inode, name: FileName(name) });
        }
    }

    /// The directory lost+found of a tree, which is made if there is none.
    fn lost_and_found(&mut self, plan: &mut Plan<'_>, names: &mut Names, root: &TreeRoot) -> Option<u64> {
        let tree = root.key.objectid;
        if let Some(home) = self.homes.get(&tree) {
            return *home;
        }
        let home = self.open_lost_and_found(plan, names, root);
        self.homes.insert(tree, home);
        home
    }

    fn open_lost_and_found(&mut self, plan: &mut Plan<'_>, names: &mut Names, root: &TreeRoot) -> Option<u64> {
        let top = objectid::ROOT_DIR;
        let key = Key::new(top, KeyType::DIR_ITEM, hash::dir_item(LOST_AND_FOUND));
        let entries = plan.edits.get(plan.volume, root, key).map(|data| dir_entries(&data)).unwrap_or_default();
        if let Some(entry) = entries.iter().find(|entry| entry.name == LOST_AND_FOUND) {
            let location = Key::from(&entry.item.location);
            return (location.key_type == KeyType::INODE_ITEM && entry.item.r#type == dir_type::DIR)
                .then_some(location.objectid);
        }
        let inode = self.new_inode_number(plan, root)?;
        let item = new_inode(plan, DIRECTORY, 1);
        let key = Key::new(inode, KeyType::INODE_ITEM, 0);
        let is_made = plan.edits.set(plan.volume, root, key, Some(item.as_bytes().to_vec()))
            && names.add(plan, root, top, LOST_AND_FOUND, inode, dir_type::DIR);
        is_made.then_some(inode)
    }

    /// A number that no inode of the tree has.
    fn new_inode_number(&mut self, plan: &Plan<'_>, root: &TreeRoot) -> Option<u64> {
        let next = match self.next_inode.get(&root.key.objectid) {
            Some(next) => *next,
            None => {
                let last = Key::new(objectid::LAST_FREE, KeyType(u8::MAX), u64::MAX);
                last_key_before(plan, root, last)?.objectid.max(objectid::FIRST_FREE) + 1
            }
        };
        self.next_inode.insert(root.key.objectid, next + 1);
        (next < objectid::LAST_FREE).then_some(next)
    }
}

/// The last key of a tree that is not above this one.
fn last_key_before(plan: &Plan<'_>, root: &TreeRoot, key: Key) -> Option<Key> {
    let leaf = super::super::edits::leaf_of(plan.volume, root, key)?;
    let mut buffer = Vec::new();
    let expected = crate::block::verify::Expected::at(leaf);
    let read = plan.volume.read_block(&expected, &mut buffer).ok()?;
    let before = read.block.slot_of(key);
    let slot = if read.block.key(before) == Some(key) { before } else { before.checked_sub(1)? };
    read.block.key(slot)
}

fn new_inode(plan: &Plan<'_>, mode: u32, nlink: u32) -> InodeItem {
    let mut item = InodeItem::zeroed();
    let generation = plan.volume.superblock().generation;
    (item.generation, item.transid) = (generation, generation);
    (item.mode, item.nlink) = (mode.into(), nlink.into());
    item
}

/// Changes the item of an inode, as it will be.
fn edit_inode(plan: &mut Plan<'_>, tree: u64, inode: u64, what: &'static str, edit: impl FnOnce(&mut InodeItem)) {
    let Some(root) = plan.root(tree) else { return };
    let key = Key::new(inode, KeyType::INODE_ITEM, 0);
    let Some(mut data) = plan.edits.get(plan.volume, &root, key) else { return };
    let Ok((item, _)) = <InodeItem as zerocopy::FromBytes>::mut_from_prefix(&mut data) else { return };
    edit(item);
    if plan.edits.set(plan.volume, &root, key, Some(data)) {
        plan.fix(Fix::Item { tree, key, what });
    }
}

/// Directory and name of each name that an inode knows.
fn names_of_inode(items: &BTreeMap<Key, Vec<u8>>) -> Vec<(u64, Vec<u8>)> {
    let mut names = Vec::new();
    for (key, data) in items {
        names_of(&ItemRef { slot: 0, key: *key, offset: 0, data }, |holder, name| {
            if holder == Holder::Reference {
                names.push((name.directory, name.name.to_vec()));
            }
        });
    }
    names
}

/// The type that a directory has an inode down for.
fn type_in(plan: &Plan<'_>, root: &TreeRoot, directory: u64, name: &[u8], inode: u64) -> Option<u8> {
    let key = Key::new(directory, KeyType::DIR_ITEM, hash::dir_item(name));
    let entries = dir_entries(&plan.edits.get(plan.volume, root, key)?);
    let own = entries.iter().find(|entry| entry.name == name && entry.item.location.objectid.get() == inode)?;
    Some(own.item.r#type)
}

/// A directory keeps the first of its names that stands in the directory above it.
fn drop_names(plan: &mut Plan<'_>, names: &mut Names, tree: u64, inode: u64) {
    let Some(root) = plan.root(tree) else { return };
    let all = names_of_inode(&items_of(plan, &root, inode));
    let is_named = |(directory, name): &&(u64, Vec<u8>)| type_in(plan, &root, *directory, name, inode).is_some();
    let Some(kept) = all.iter().find(is_named).or(all.first()).cloned() else { return };
    for (directory, name) in all.into_iter().filter(|name| *name != kept) {
        names.forget(plan, &root, directory, &name, inode);
        let name = FileName(name);
        plan.fix(Fix::NameGone { tree, directory, name, why: "a directory has one name" });
    }
}

/// Of a mode and items that contradict each other the names tell which is right; else the items that do not fit go.
fn fit_items(plan: &mut Plan<'_>, tree: u64, inode: u64, mode: u32) {
    let Some(root) = plan.root(tree) else { return };
    let items = items_of(plan, &root, inode);
    let refs = names_of_inode(&items);
    let types: BTreeSet<u8> =
        refs.iter().filter_map(|(directory, name)| type_in(plan, &root, *directory, name, inode)).collect();
    let own = dir_type::of_mode(mode);
    if let (1, Some(named)) = (types.len(), types.first().copied())
        && own != Some(named)
        && items.keys().all(|key| fits(key.key_type, named))
    {
        let kind = dir_type::to_mode(named);
        return edit_inode(plan, tree, inode, "its type is that of its names and items", |item| {
            item.mode = (item.mode.get() & !TYPE | kind).into();
        });
    }
    let kind = own.unwrap_or(dir_type::REG_FILE);
    for key in items.keys().filter(|key| !fits(key.key_type, kind)) {
        if plan.edits.set(plan.volume, &root, *key, None) {
            let why = "the inode is of another kind".to_owned();
            plan.fix(Fix::ItemGone { tree, key: *key, why });
        }
    }
}

/// A mode of no kind becomes that of the names and items of the inode.
pub fn mend_mode(plan: &mut Plan<'_>, tree: u64, inode: u64) {
    let Some(root) = plan.root(tree) else { return };
    let items = items_of(plan, &root, inode);
    let refs = names_of_inode(&items);
    let named = refs.iter().find_map(|(directory, name)| type_in(plan, &root, *directory, name, inode));
    let has_entries = items.keys().any(|key| key.key_type == KeyType::DIR_INDEX);
    let is_directory = has_entries || inode == objectid::ROOT_DIR;
    let kind = dir_type::to_mode(if is_directory { dir_type::DIR } else { named.unwrap_or(dir_type::REG_FILE) });
    edit_inode(plan, tree, inode, "its kind is that of its names and items", |item| {
        item.mode = (item.mode.get() & 0o7777 | kind).into();
    });
}

/// Whether an inode of a kind has items of this type.
fn fits(key_type: KeyType, kind: u8) -> bool {
    match key_type {
        KeyType::DIR_ITEM | KeyType::DIR_INDEX => kind == dir_type::DIR,
        KeyType::EXTENT_DATA => matches!(kind, dir_type::REG_FILE | dir_type::SYMLINK),
        KeyType::VERITY_DESC_ITEM | KeyType::VERITY_MERKLE_ITEM => kind == dir_type::REG_FILE,
        _ => true,
    }
}

/// Of extents that hold the same part of a file the newer one stays whole, and the other one as far as it goes.
fn drop_overlaps(plan: &mut Plan<'_>, tree: u64, inode: u64) {
    let Some(root) = plan.root(tree) else { return };
    let sectorsize = u64::from(plan.volume.format().sectorsize);
    let items = items_of(plan, &root, inode);
    let extents = items.iter().filter(|(key, _)| key.key_type == KeyType::EXTENT_DATA);
    let mut last: Option<(Key, u64, u64)> = None;
    for (key, data) in extents {
        let Some((start, end, generation)) = covers(*key, data, sectorsize) else { continue };
        if let Some((other, _, other_generation)) = last.filter(|(_, other_end, _)| *other_end > start) {
            let is_older = generation < other_generation;
            let why = "another extent holds the same part of the file".to_owned();
            if is_older {
                plan.edits.set(plan.volume, &root, *key, None);
                plan.fix(Fix::ItemGone { tree, key: *key, why });
                continue;
            }
            shorten(plan, &root, other, start);
            plan.fix(Fix::ItemGone { tree, key: other, why: format!("{why}: from {start} on") });
        }
        last = Some((*key, end, generation));
    }
}

/// Ends an extent of a file at `end`; one that begins there goes, and so does an inline one.
fn shorten(plan: &mut Plan<'_>, root: &TreeRoot, key: Key, end: u64) {
    let Some(mut data) = plan.edits.get(plan.volume, root, key) else { return };
    let at = size_of::<FileExtentItem>();
    let kind = FileExtentItem::read_prefix(&data).map(|(extent, _)| extent.r#type);
    let length = end.saturating_sub(key.offset);
    let disk = data.get_mut(at..).and_then(|rest| <FileExtentDisk as zerocopy::FromBytes>::mut_from_prefix(rest).ok());
    let shortened = match disk {
        Some((disk, _)) if length > 0 && kind != Some(file_extent_type::INLINE) => {
            disk.num_bytes = length.into();
            true
        }
        _ => false,
    };
    plan.edits.set(plan.volume, root, key, shortened.then_some(data));
}

/// Puts holes where a file has no extent and must have one.
fn fill_gaps(plan: &mut Plan<'_>, tree: u64, inode: u64) {
    let Some(root) = plan.root(tree) else { return };
    let sectorsize = u64::from(plan.volume.format().sectorsize);
    let items = items_of(plan, &root, inode);
    let size = inode_item(&items).map_or(0, |item| item.size.get());
    let Some(size) = size.checked_next_multiple_of(sectorsize) else { return };
    let mut position = 0;
    let mut gaps = Vec::new();
    for (key, data) in items.iter().filter(|(key, _)| key.key_type == KeyType::EXTENT_DATA) {
        let Some((start, end, _)) = covers(*key, data, sectorsize) else { continue };
        if start > position {
            gaps.push((position, start));
        }
        position = position.max(end);
    }
    if position < size {
        gaps.push((position, size));
    }
    for (start, end) in gaps {
        let mut extent = FileExtentItem::zeroed();
        extent.generation = plan.volume.superblock().generation;
        extent.ram_bytes = (end - start).into();
        extent.r#type = file_extent_type::REG;
        let mut disk = FileExtentDisk::zeroed();
        disk.num_bytes = (end - start).into();
        let key = Key::new(inode, KeyType::EXTENT_DATA, start);
        let data = [extent.as_bytes(), disk.as_bytes()].concat();
        if plan.edits.set(plan.volume, &root, key, Some(data)) {
            plan.fix(Fix::Item { tree, key, what: "a hole stands where the file had no extent" });
        }
    }
}
