//! Files and directories: every inode against its items, and every name against its counterparts.
//!
//! Each leaf is summed up once, however many trees share it ([`summary`]); what of it depends on its neighbours is
//! settled by joining these summaries along the nodes. Names are compared as sums of hashes; only a tree whose sum is
//! not zero is read again ([`details`]).

mod details;
mod forest;
mod inode;
mod names;
mod summary;

use std::collections::{HashMap, HashSet};

use crate::disk::flags::incompat::NO_HOLES;
use crate::disk::space::FreeSpaceHeader;
use crate::disk::{Key, KeyType, objectid};
use crate::finding::findings;
use crate::volume::Volume;

use super::checksums::Checksums;
use super::findings::Findings;
use super::scan::{Tree, Unread};

pub use details::NameProblem;
pub use forest::Seen;
pub use inode::Rules;
pub use names::{Holder, names_of, printable};

use forest::Forest;
use inode::{Fault, Inode};

findings! {
    /// Inodes and what belongs to them.
    FileProblem {
        /// A tree of files does not begin with a root directory.
        RootDirectory("root-directory-missing", Error, "tree={tree}, the root directory is missing") { tree: u64 }
        /// There are items of an inode, but no inode item.
        NoItem("inode-item-missing", Error, "tree={tree} inode={inode}, the inode item is missing") {
            tree: u64, inode: u64,
        }
        /// An inode does not have as many names as it counts.
        Links("inode-nlink", Error, "tree={tree} inode={inode}, invalid nlink, have {have} expect {expect}") {
            tree: u64, inode: u64, have: u32, expect: u32,
        }
        /// An inode has no name, and no orphan item that would make it go away.
        NotOrphan("inode-orphan-missing", Error, "tree={tree} inode={inode}, nlink is 0 but there is no orphan item") {
            tree: u64, inode: u64,
        }
        /// A directory has more than one name.
        ManyNames("directory-names", Error, "tree={tree} inode={inode}, a directory with {have} names") {
            tree: u64, inode: u64, have: u32,
        }
        /// The size of a directory is not that of the names in it.
        DirectorySize("directory-size", Error, "tree={tree} inode={inode}, invalid size, have {have} expect {expect}") {
            tree: u64, inode: u64, have: u64, expect: u64,
        }
        /// The bytes that a file is said to occupy are not those that its extents do.
        Bytes("inode-nbytes", Error, "tree={tree} inode={inode}, invalid nbytes, have {have} expect {expect}") {
            tree: u64, inode: u64, have: u64, expect: u64,
        }
        /// A directory has extents, or what is no directory has entries.
        Items("inode-items", Error, "tree={tree} inode={inode}, items that do not fit mode {mode:#o}") {
            tree: u64, inode: u64, mode: u32,
        }
        /// Two extents of a file hold the same part of it.
        Overlap("file-extent-overlap", Error, "tree={tree} inode={inode} offset={offset}, file extents overlap") {
            tree: u64, inode: u64, offset: u64,
        }
        /// A part of a file has no extent, which needs the feature no-holes.
        Gap("file-extent-missing", Error, "tree={tree} inode={inode} offset={offset}, no file extent, nor a hole") {
            tree: u64, inode: u64, offset: u64,
        }
        /// Data lacks checksums.
        Unsummed("csum-missing", Error, "tree={tree} inode={inode} offset={offset}, data lacks checksums") {
            tree: u64, inode: u64, offset: u64,
        }
        /// Compressed data lacks checksums: a file without them must not be compressed.
        CompressedUnsummed(
            "csum-missing-compressed", Error,
            "tree={tree} inode={inode} offset={offset}, compressed data lacks checksums, the inode is nodatasum"
        ) {
            tree: u64, inode: u64, offset: u64,
        }
        /// Data of a file that is marked to have no checksums has some.
        Summed("csum-unexpected", Warning, "tree={tree} inode={inode}, nodatasum, but data has checksums") {
            tree: u64, inode: u64,
        }
    }
}

impl<'c> Rules<'c> {
    pub fn new(volume: &Volume, checksums: &'c Checksums) -> Self {
        Self { checksums, no_holes: volume.superblock().has_incompat(NO_HOLES) }
    }
}

/// What could not be told of names, but must be counted where names are.
#[derive(Default)]
struct Lost {
    /// Back references that an inode lacks.
    references: HashMap<u64, u32>,
    /// Length of the names that a directory lacks, in entries and indexes.
    entry_bytes: HashMap<u64, u64>,
}

/// Checks `trees`, whose blocks were `seen`. Each fault is reported in the first of the trees that has it.
pub fn check(
    volume: &Volume,
    threads: usize,
    rules: &Rules<'_>,
    trees: &[Tree],
    seen: Vec<Seen>,
    unread: &[Unread],
    findings: &Findings,
) {
    let mut forest = Forest::new(seen, unread, rules);
    let mut known_sums = HashSet::new();
    let mut known_inodes = HashSet::new();
    for tree in trees {
        let Some(mut summary) = forest.summary(tree) else { continue };
        let mut faulty = Vec::new();
        let first = summary.finish(tree.root.logical, rules, &mut faulty);
        let id = tree.root.key.objectid;
        let has_root = |inode: Inode| {
            inode.is_unknown() || inode.number == objectid::ROOT_DIR && (inode.is_directory() || !inode.has_item())
        };
        if !first.map_or(summary.has_unread, has_root) {
            findings.report(FileProblem::RootDirectory { tree: id });
        }
        // Equal sums come from equal differences.
        let lost = match summary.names != 0 && known_sums.insert(summary.names) {
            true => details::compare(volume, threads, tree, findings),
            false => Lost::default(),
        };
        forest.take_faulty(tree, &mut faulty);
        for (_, inode) in faulty {
            if known_inodes.insert(inode) {
                inode.faults(rules, |fault| report(volume, tree, &inode, fault, &lost, findings));
            }
        }
    }
}

fn report(volume: &Volume, tree: &Tree, inode: &Inode, fault: Fault, lost: &Lost, findings: &Findings) {
    let (id, number) = (tree.root.key.objectid, inode.number);
    let problem = match fault {
        Fault::NoItem => FileProblem::NoItem { tree: id, inode: number },
        Fault::Unlinked => match inode.nlink {
            0 if may_have(volume, tree, Key::new(objectid::ORPHAN, KeyType::ORPHAN_ITEM, number)) => return,
            _ => FileProblem::NotOrphan { tree: id, inode: number },
        },
        Fault::Links => {
            let expect = inode.refs.saturating_add(lost.references.get(&number).copied().unwrap_or_default());
            if inode.nlink == expect || inode.refs == 0 && is_inode_cache(volume, tree, number) {
                return;
            }
            FileProblem::Links { tree: id, inode: number, have: inode.nlink, expect }
        }
        Fault::ManyNames => FileProblem::ManyNames { tree: id, inode: number, have: inode.refs },
        Fault::DirectorySize => {
            let lost = lost.entry_bytes.get(&number).copied().unwrap_or_default();
            let expect = inode.entry_bytes.saturating_add(lost);
            if inode.size == expect {
                return;
            }
            FileProblem::DirectorySize { tree: id, inode: number, have: inode.size, expect }
        }
        Fault::Bytes => FileProblem::Bytes { tree: id, inode: number, have: inode.nbytes, expect: inode.extent_bytes },
        Fault::Items => FileProblem::Items { tree: id, inode: number, mode: inode.mode },
        Fault::Overlap { offset } => FileProblem::Overlap { tree: id, inode: number, offset },
        Fault::Gap { offset } => FileProblem::Gap { tree: id, inode: number, offset },
        Fault::Unsummed { offset } => FileProblem::Unsummed { tree: id, inode: number, offset },
        Fault::CompressedUnsummed { offset } => FileProblem::CompressedUnsummed { tree: id, inode: number, offset },
        Fault::Summed => FileProblem::Summed { tree: id, inode: number },
    };
    findings.report(problem);
}

/// Whether the tree has the item; if a block on the way cannot be read, it may.
fn may_have(volume: &Volume, tree: &Tree, key: Key) -> bool {
    !matches!(tree.root.find(volume, key), Ok(None))
}

/// Whether the inode holds the cache of free inode numbers that kernels before 5.11 could keep: it has no name.
fn is_inode_cache(volume: &Volume, tree: &Tree, inode: u64) -> bool {
    let header = tree.root.find(volume, Key::new(objectid::FREE_INO, KeyType(0), 0));
    let Ok(Some(data)) = header else { return header.is_err() };
    FreeSpaceHeader::read_prefix(&data).is_some_and(|(header, _)| header.location.objectid.get() == inode)
}
