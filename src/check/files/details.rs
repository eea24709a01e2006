//! The second look at a tree whose names do not add up.

use crate::block::Leaf;
use crate::disk::inode::{InodeItem, dir_type};
use crate::disk::{Key, KeyType, Logical};
use crate::finding::findings;
use crate::volume::Volume;

use super::super::Job;
use super::super::findings::Findings;
use super::super::scan::{Scan, Tree, Unread, Visit};
use super::super::sketch::Sketch;
use super::Lost;
use super::inode::{Inode, entry_type};
use super::names::{Holder, Name, names_of, printable};

findings! {
    /// Names: entries of directories against their counterparts.
    NameProblem {
        /// A name is not in the index of its directory: listing the directory does not show it.
        NoIndex(
            "name-index-missing", Error,
            "tree={tree} directory={directory} name={name} inode={inode}, the directory index is missing"
        ) {
            tree: u64, directory: u64, name: String, inode: u64,
        }
        /// A name is not in the entries of its directory: opening the name does not find it.
        NoEntry(
            "name-entry-missing", Error,
            "tree={tree} directory={directory} name={name} inode={inode}, the directory entry is missing"
        ) {
            tree: u64, directory: u64, name: String, inode: u64,
        }
        /// An inode does not know one of its names.
        NoReference(
            "name-backref-missing", Error,
            "tree={tree} directory={directory} name={name} inode={inode}, the inode has no reference to the name"
        ) {
            tree: u64, directory: u64, name: String, inode: u64,
        }
        /// A name leads to an inode that does not exist.
        NoInode(
            "name-inode-missing", Error,
            "tree={tree} directory={directory} name={name} inode={inode}, the inode does not exist"
        ) {
            tree: u64, directory: u64, name: String, inode: u64,
        }
        /// Entry and index of a name lead to different inodes.
        Target(
            "name-target", Error,
            "tree={tree} directory={directory} name={name}, entry leads to inode {have}, index to {expect}"
        ) {
            tree: u64, directory: u64, name: String, have: u64, expect: u64,
        }
        /// A name stands in its directory more than once.
        Duplicate(
            "name-duplicate", Error, "tree={tree} directory={directory} name={name} inode={inode}, more than once there"
        ) {
            tree: u64, directory: u64, name: String, inode: u64,
        }
        /// An inode knows one of its names by another index than the directory.
        Index(
            "name-index", Error,
            "tree={tree} directory={directory} name={name} inode={inode}, invalid index, have {have} expect {expect}"
        ) {
            tree: u64, directory: u64, name: String, inode: u64, have: u64, expect: u64,
        }
        /// The type in a directory is not that of the inode.
        Type(
            "name-type", Error,
            "tree={tree} directory={directory} name={name} inode={inode}, invalid type, have {have} expect {expect}"
        ) {
            tree: u64, directory: u64, name: String, inode: u64, have: u8, expect: u8,
        }
    }
}

/// A name as one item has it. A back reference has the type of its inode.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Record {
    directory: u64,
    name: Vec<u8>,
    holder: Holder,
    inode: u64,
    location: KeyType,
    index: u64,
    entry_type: u8,
}

/// Reports the names of a tree that do not agree; what is missing of them is returned.
pub fn compare(job: &Job<'_>, tree: &Tree) -> Lost {
    let Job { volume, findings, .. } = *job;
    // What the walk itself finds was reported by the first one.
    let heard_before = Findings::default();
    let again = Job { findings: &heard_before, ..*job };
    let sums = Scan::new(&again).run(std::slice::from_ref(tree), |sketch: &mut Sketch, _, visit| {
        let Visit::Leaf(leaf) = visit else { return };
        hear_names(volume, tree, leaf, |holder, name| {
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
    sums.iter().for_each(|part| all.merge(part));
    let Some(buckets) = all.unequal() else { return Lost::default() };
    let scan = Scan::new(&again);
    let records = scan.run(std::slice::from_ref(tree), |records: &mut Vec<Record>, _, visit| {
        let Visit::Leaf(leaf) = visit else { return };
        hear_names(volume, tree, leaf, |holder, name| {
            if buckets.contain(Logical(name.place())) {
                let Name { directory, inode, location, index, entry_type, .. } = name;
                let name = name.name.to_vec();
                records.push(Record { directory, name, holder, inode, location, index, entry_type });
            }
        });
    });
    let mut records: Vec<_> = records.into_iter().flatten().collect();
    records.sort_unstable();
    let mut details = Details { volume, tree, unread: scan.unread(), findings, lost: Lost::default() };
    for same_name in records.chunk_by(|a, b| (a.directory, &a.name) == (b.directory, &b.name)) {
        details.compare(same_name);
    }
    details.lost
}

/// Hands the names of a leaf to `hear`, those of back references with the type of their inode.
fn hear_names<'a>(volume: &Volume, tree: &Tree, leaf: Leaf<'a>, mut hear: impl FnMut(Holder, Name<'a>)) {
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
            hear(holder, name);
        });
    }
}

fn type_of(inode_item: &[u8]) -> u8 {
    InodeItem::read_prefix(inode_item).map_or(dir_type::UNKNOWN, |(inode, _)| entry_type(inode.mode.get()))
}

/// The type of an inode, nothing if there is none; an error if that cannot be told.
fn find_inode(volume: &Volume, tree: &Tree, inode: u64) -> Result<Option<u8>, ()> {
    let item = tree.root.find(volume, Key::new(inode, KeyType::INODE_ITEM, 0)).map_err(|_| ())?;
    Ok(item.map(|item| type_of(&item)))
}

struct Details<'a> {
    volume: &'a Volume,
    tree: &'a Tree,
    unread: Vec<Unread>,
    findings: &'a Findings,
    lost: Lost,
}

impl Details<'_> {
    fn may_be_unread(&self, objectid: u64) -> bool {
        self.unread.iter().any(|unread| unread.may_hold_objectid(objectid))
    }

    /// Compares all records of one name in one directory.
    fn compare(&mut self, records: &[Record]) {
        let of = |holder: Holder| records.iter().filter(move |record| record.holder == holder);
        let (entry, index) = (of(Holder::Entry).next(), of(Holder::Index).next());
        self.compare_inside(entry, index, of(Holder::Reference).next());
        for holder in [Holder::Entry, Holder::Index] {
            for extra in of(holder).skip(1) {
                let (tree, directory, name, inode) = self.place(extra);
                self.findings.report(NameProblem::Duplicate { tree, directory, name, inode });
            }
        }
        let Some(link) = index.or(entry) else { return };
        if link.location == KeyType::INODE_ITEM {
            let is_counterpart = |record: &&Record| record.inode == link.inode;
            self.compare_reference(link, index.is_some(), of(Holder::Reference).find(is_counterpart));
        }
        for other in of(Holder::Reference).filter(|record| record.inode != link.inode) {
            let (tree, directory, name, inode) = self.place(other);
            self.findings.report(NameProblem::NoIndex { tree, directory, name, inode });
        }
    }

    fn place(&self, record: &Record) -> (u64, u64, String, u64) {
        (self.tree.root.key.objectid, record.directory, printable(&record.name), record.inode)
    }

    /// What the directory has of a name.
    fn compare_inside(&mut self, entry: Option<&Record>, index: Option<&Record>, reference: Option<&Record>) {
        if let (Some(entry), Some(index)) = (entry, index) {
            let (tree, directory, name, inode) = self.place(index);
            if (entry.inode, entry.location) != (index.inode, index.location) {
                let (have, expect) = (entry.inode, index.inode);
                self.findings.report(NameProblem::Target { tree, directory, name, have, expect });
            } else if entry.entry_type != index.entry_type
                && reference.is_none_or(|it| it.entry_type == index.entry_type)
            {
                // Where the inode agrees with the entry, the index is reported against the inode.
                let (have, expect) = (entry.entry_type, index.entry_type);
                self.findings.report(NameProblem::Type { tree, directory, name, inode, have, expect });
            }
            return;
        }
        let Some(known) = entry.or(index).or(reference) else { return };
        if self.may_be_unread(known.directory) {
            return;
        }
        let lacks = usize::from(entry.is_none()) + usize::from(index.is_none());
        let bytes = self.lost.entry_bytes.entry(known.directory).or_default();
        *bytes = bytes.saturating_add(known.name.len() as u64 * lacks as u64);
        let (tree, directory, name, inode) = self.place(known);
        if entry.is_none() {
            self.findings.report(NameProblem::NoEntry { tree, directory, name: name.clone(), inode });
        }
        if index.is_none() {
            self.findings.report(NameProblem::NoIndex { tree, directory, name, inode });
        }
    }

    /// What the inode that a name leads to has of it.
    fn compare_reference(&mut self, link: &Record, is_index: bool, reference: Option<&Record>) {
        let (tree, directory, name, inode) = self.place(link);
        let Some(reference) = reference else {
            if self.may_be_unread(inode) {
                return;
            }
            match find_inode(self.volume, self.tree, inode) {
                Ok(None) => self.findings.report(NameProblem::NoInode { tree, directory, name, inode }),
                _ => {
                    let count = self.lost.references.entry(inode).or_default();
                    *count = count.saturating_add(1);
                    self.findings.report(NameProblem::NoReference { tree, directory, name, inode });
                }
            }
            return;
        };
        if is_index && reference.index != link.index {
            let (have, expect, name) = (reference.index, link.index, name.clone());
            self.findings.report(NameProblem::Index { tree, directory, name, inode, have, expect });
        }
        if reference.entry_type != dir_type::UNKNOWN && reference.entry_type != link.entry_type {
            let (have, expect) = (link.entry_type, reference.entry_type);
            self.findings.report(NameProblem::Type { tree, directory, name, inode, have, expect });
        }
    }
}
