//! The names of a tree that do not add up.

use std::collections::HashMap;

use crate::disk::inode::{InodeItem, dir_type};
use crate::disk::{Key, KeyType, objectid};
use crate::problem::{FileName, NameProblem};
use crate::survey::Job;
use crate::survey::files::{Holder, NameRecord, NameRecords, collect_names, find_inode, unequal_names};
use crate::tree::Tree;
use crate::volume::Volume;

use super::findings::Findings;

/// What could not be told of names, but must be counted where names are.
#[derive(Default)]
pub struct Lost {
    /// Back references that an inode lacks.
    pub references: HashMap<u64, u32>,
    /// Length of the names that a directory lacks, in entries and indexes.
    pub entry_bytes: HashMap<u64, u64>,
}

/// Reports the names of a tree that do not agree; what is missing of them is returned.
pub fn compare(job: &Job<'_>, tree: &Tree, findings: &Findings) -> Lost {
    let Some(buckets) = unequal_names(job, tree) else { return Lost::default() };
    let names = collect_names(job, tree, &buckets);
    let mut orphans = Orphans { volume: job.volume, tree, known: HashMap::new() };
    let mut details = Details { volume: job.volume, tree, names: &names, findings, lost: Lost::default() };
    for same_name in names.by_name() {
        if !are_going(same_name, &mut orphans) {
            details.compare(same_name);
        }
    }
    details.lost
}

/// Whether these names go with their directory: once it was removed, its entries are deleted one by one from the last on when
/// it is evicted (`btrfs_evict_inode`), and by the next mount after a crash. A name that an inode still knows is lost.
fn are_going(records: &[NameRecord], orphans: &mut Orphans<'_>) -> bool {
    let is_known = records.iter().any(|record| record.holder == Holder::Reference);
    !is_known && records.first().is_some_and(|record| orphans.contain(record.directory))
}

/// Inodes that were removed and wait for their deletion.
struct Orphans<'a> {
    volume: &'a Volume,
    tree: &'a Tree,
    known: HashMap<u64, bool>,
}

impl Orphans<'_> {
    fn contain(&mut self, inode: u64) -> bool {
        let (volume, root) = (self.volume, &self.tree.root);
        *self.known.entry(inode).or_insert_with(|| {
            let find = |key| root.find(volume, key).ok().flatten();
            let item = find(Key::new(inode, KeyType::INODE_ITEM, 0));
            let is_unlinked =
                |data: Vec<u8>| InodeItem::read_prefix(&data).is_some_and(|(item, _)| item.nlink.get() == 0);
            item.is_some_and(is_unlinked) && find(Key::new(objectid::ORPHAN, KeyType::ORPHAN_ITEM, inode)).is_some()
        })
    }
}

struct Details<'a> {
    volume: &'a Volume,
    tree: &'a Tree,
    names: &'a NameRecords,
    findings: &'a Findings,
    lost: Lost,
}

impl Details<'_> {
    fn may_be_unread(&self, objectid: u64) -> bool {
        self.names.may_hide(objectid)
    }

    /// Compares all records of one name in one directory.
    fn compare(&mut self, records: &[NameRecord]) {
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
            let is_counterpart = |record: &&NameRecord| record.inode == link.inode;
            self.compare_reference(link, index.is_some(), of(Holder::Reference).find(is_counterpart));
        }
        for other in of(Holder::Reference).filter(|record| record.inode != link.inode) {
            let (tree, directory, name, inode) = self.place(other);
            self.findings.report(NameProblem::NoIndex { tree, directory, name, inode });
        }
    }

    fn place(&self, record: &NameRecord) -> (u64, u64, FileName, u64) {
        (self.tree.id(), record.directory, FileName(record.name.clone()), record.inode)
    }

    /// What the directory has of a name.
    fn compare_inside(
        &mut self,
        entry: Option<&NameRecord>,
        index: Option<&NameRecord>,
        reference: Option<&NameRecord>,
    ) {
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
    fn compare_reference(&mut self, link: &NameRecord, is_index: bool, reference: Option<&NameRecord>) {
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
