//! What the root tree and the uuid tree say of subvolumes.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use crate::block::{ItemRef, Leaf};
use crate::disk::fields::Uuid;
use crate::disk::inode::{DirItem, Entries};
use crate::disk::root::{RootItem, RootRef};
use crate::disk::space::FreeSpaceHeader;
use crate::disk::{Key, KeyType, Logical, objectid};
use crate::tree::{Tree, Visit};

/// What the root item of a subvolume says.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Root {
    /// 0 for a subvolume that is being deleted.
    pub refs: u32,
    /// Uuid of the subvolume.
    pub uuid: Uuid,
    /// Uuid of the subvolume that was received.
    pub received: Uuid,
    /// Whether the item is from before Linux 3.6, which gave root items a uuid and the time that they were made at. When a
    /// later kernel writes such an item, it makes up a uuid (`btrfs_read_root_item`) and leaves the uuid tree as it is.
    pub is_ancient: bool,
}

/// Where a subvolume stands in its parent.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DirPlace {
    /// Inode of the directory.
    pub directory: u64,
    /// Index of the name in the directory.
    pub index: u64,
    /// The name.
    pub name: Vec<u8>,
}

/// Type of the key, uuid and subvolume.
type Uuids = BTreeSet<(KeyType, Uuid, u64)>;

/// What the root tree and the uuid tree say of subvolumes.
#[derive(Default)]
pub struct Subvolumes {
    /// Root items, by subvolume.
    pub roots: BTreeMap<u64, Root>,
    /// By child and parent.
    pub references: BTreeMap<(u64, u64), DirPlace>,
    /// By child and parent, as the child tells.
    pub back_references: BTreeMap<(u64, u64), DirPlace>,
    /// Subvolumes with an orphan item.
    pub orphans: BTreeSet<u64>,
    /// Of each block group with a cache: the inode of the cache.
    pub caches: BTreeMap<Logical, u64>,
    /// Inodes in the root tree.
    pub inodes: BTreeSet<u64>,
    /// Entries of the uuid tree.
    pub uuids: Uuids,
    /// Entries of the root tree's directory, by name: where each leads to. One of them is the default subvolume.
    pub entries: BTreeSet<(Vec<u8>, Key)>,
}

impl Subvolumes {
    /// Notes what a block of the root tree says.
    pub fn visit_root_tree(&mut self, visit: Visit<'_>) {
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
                KeyType::DIR_ITEM | KeyType::DIR_INDEX => {
                    let entries = Entries::<DirItem>::new(item.data).map_while(Result::ok);
                    self.entries.extend(entries.map(|it| (it.name.to_vec(), Key::from(&it.entry.location))));
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
    pub fn visit(&mut self, tree: &Tree, visit: Visit<'_>) {
        if let (objectid::UUID_TREE, Visit::Leaf(leaf)) = (tree.id(), visit) {
            self.uuids.extend(uuids_of(leaf));
        }
    }

    fn root(&mut self, item: &ItemRef<'_>) {
        let Some(root) = RootItem::read(item.data) else { return };
        // Kernels before 3.6 leave in place what they do not know.
        let is_new = root.generation_v2.get() == root.generation.get();
        let (uuid, received) = if is_new { (root.uuid, root.received_uuid) } else { Default::default() };
        let is_ancient = root.otime.sec.get() == 0 && root.otransid.get() == 0;
        note(&mut self.roots, item.key.objectid, Root { refs: root.refs.get(), uuid, received, is_ancient });
    }

    /// Adds what another thread found.
    pub fn merge(&mut self, mut other: Subvolumes) {
        note_all(&mut self.roots, other.roots);
        note_all(&mut self.references, other.references);
        note_all(&mut self.back_references, other.back_references);
        self.orphans.append(&mut other.orphans);
        note_all(&mut self.caches, other.caches);
        self.inodes.append(&mut other.inodes);
        self.uuids.append(&mut other.uuids);
        self.entries.append(&mut other.entries);
    }

    /// Whether a subvolume is being deleted.
    pub fn is_any_dropping(&self) -> bool {
        self.roots.values().any(|root| root.refs == 0)
    }

    /// Whether the tree's files are there to be checked: nothing holds of a subvolume that is being deleted.
    pub fn is_live(&self, tree: &Tree) -> bool {
        let id = tree.id();
        match id {
            objectid::FS_TREE | objectid::DATA_RELOC_TREE => true,
            _ => self.roots.get(&id).is_some_and(|root| root.refs > 0),
        }
    }
}

/// Of two facts with one key, which only a damaged tree has, the greater one counts: threads visit them in any order.
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

fn place(item: &ItemRef<'_>) -> Option<DirPlace> {
    let (root_ref, rest) = RootRef::read_prefix(item.data)?;
    let name = rest.get(..root_ref.name_len.get().into())?.to_vec();
    Some(DirPlace { directory: root_ref.dirid.get(), index: root_ref.sequence.get(), name })
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
