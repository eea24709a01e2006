//! The second look at the names of a tree.

use crate::block::Leaf;
use crate::disk::inode::{InodeItem, dir_type};
use crate::disk::{Key, KeyType, Logical};
use crate::tree::{Tree, Visit};
use crate::volume::{NoGoodCopy, Volume};

use super::super::blocks::{SecondLook, Unread};
use super::super::job::Job;
use super::super::sketch::{Buckets, Sketch};
use super::inode::{Inode, entry_type};
use super::names::{Holder, Name, names_of};

/// A name as one item has it. A back reference has the type of its inode.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NameRecord {
    pub directory: u64,
    pub name: Vec<u8>,
    pub holder: Holder,
    pub inode: u64,
    pub location: KeyType,
    pub index: u64,
    pub entry_type: u8,
}

/// Names of a tree, sorted, and what of the tree could not be read.
#[derive(Debug, Default)]
pub struct NameRecords {
    pub records: Vec<NameRecord>,
    pub unread: Vec<Unread>,
}

impl NameRecords {
    /// All records of each name in each directory.
    pub fn by_name(&self) -> impl Iterator<Item = &[NameRecord]> {
        self.records.chunk_by(|one, other| (one.directory, &one.name) == (other.directory, &other.name))
    }

    /// Whether items with this object id may stand in what could not be read.
    pub fn may_hide(&self, objectid: u64) -> bool {
        self.unread.iter().any(|unread| unread.may_hold_objectid(objectid))
    }
}

/// Where names of a tree may be whose entries, indexes and back references do not agree; nothing if there are none.
pub fn unequal_names(job: &Job<'_>, tree: &Tree) -> Option<Buckets> {
    let volume = job.volume;
    let look = SecondLook::new(|sketch: &mut Sketch, tree: &Tree, visit: Visit<'_>| {
        let Visit::Leaf(leaf) = visit else { return };
        visit_names(volume, tree, leaf, |holder, name| {
            let mut add = |record: &[u64], count| sketch.add(Logical(name.place()), record, count);
            let link = [name.link_hash(), name.entry_type.into()];
            match holder {
                Holder::Entry => add(&[name.entry_hash()], -1),
                Holder::Reference => add(&link, -1),
                Holder::Index => {
                    add(&[name.entry_hash()], 1);
                    if name.leads_to_inode() {
                        add(&link, 1);
                    }
                }
            }
        });
    });
    let mut all = Sketch::default();
    job.scan().run(std::slice::from_ref(tree), &look).iter().for_each(|(_, part)| all.merge(part));
    all.unequal()
}

/// Collects the names of a tree in some buckets; [`Buckets::all`] are all there are.
pub fn collect_names(job: &Job<'_>, tree: &Tree, buckets: &Buckets) -> NameRecords {
    let volume = job.volume;
    let look = SecondLook::new(|records: &mut Vec<NameRecord>, tree: &Tree, visit: Visit<'_>| {
        let Visit::Leaf(leaf) = visit else { return };
        visit_names(volume, tree, leaf, |holder, name| {
            if buckets.contain(Logical(name.place())) {
                let Name { directory, inode, location, index, entry_type, .. } = name;
                let name = name.name.to_vec();
                records.push(NameRecord { directory, name, holder, inode, location, index, entry_type });
            }
        });
    });
    let mut all = NameRecords::default();
    for (unread, records) in job.scan().run(std::slice::from_ref(tree), &look) {
        all.unread.extend(unread);
        all.records.extend(records);
    }
    all.records.sort_unstable();
    all
}

/// Hands the names of a leaf to `visit`, those of back references with the type of their inode.
fn visit_names<'a>(volume: &Volume, tree: &Tree, leaf: Leaf<'a>, mut visit: impl FnMut(Holder, Name<'a>)) {
    let mut known: Option<(u64, u8)> = None;
    for item in leaf.items().flatten().filter(|item| Inode::is_number(item.key.objectid)) {
        if item.key.key_type == KeyType::INODE_ITEM {
            known = Some((item.key.objectid, type_of(item.data)));
        }
        names_of(&item, |holder, mut name| {
            if holder == Holder::Reference {
                if name.directory == name.inode {
                    return;
                }
                name.entry_type = match known {
                    Some((inode, entry_type)) if inode == name.inode => entry_type,
                    _ => {
                        let found = find_inode(volume, tree, name.inode).ok().flatten();
                        known.insert((name.inode, found.unwrap_or(dir_type::UNKNOWN))).1
                    }
                };
            }
            visit(holder, name);
        });
    }
}

fn type_of(inode_item: &[u8]) -> u8 {
    InodeItem::read_prefix(inode_item).map_or(dir_type::UNKNOWN, |(inode, _)| entry_type(inode.mode.get()))
}

/// The type of an inode; nothing if there is none.
///
/// # Errors
///
/// If a block on the way to its item cannot be read.
pub fn find_inode(volume: &Volume, tree: &Tree, inode: u64) -> Result<Option<u8>, NoGoodCopy> {
    let item = tree.root.find(volume, Key::new(inode, KeyType::INODE_ITEM, 0))?;
    Ok(item.map(|item| type_of(&item)))
}
