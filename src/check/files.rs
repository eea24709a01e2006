//! Files and directories: every inode against its items, and every name against its counterparts.

use std::collections::HashSet;

use crate::disk::space::FreeSpaceHeader;
use crate::disk::{Key, KeyType, objectid};
use crate::problem::FileProblem;
use crate::survey::Job;
use crate::survey::files::{Fault, Forest, Inode, Rules};
use crate::tree::Tree;
use crate::volume::Volume;

use super::findings::Findings;
use super::names::{self, Lost};
use super::prealloc::{Suspect, Written};

/// Checks `trees`; `forest` has seen their blocks. Each fault is reported in the first of the trees that has it. `others`
/// tells what else data may have been written as.
pub fn check(
    job: &Job<'_>,
    rules: &Rules<'_>,
    trees: &[Tree],
    others: &Written<'_>,
    forest: &mut Forest,
    findings: &Findings,
) {
    let volume = job.volume;
    let mut suspects = Vec::new();
    let mut known_sums = HashSet::new();
    let mut known_inodes = HashSet::new();
    for tree in trees {
        let Some(mut summary) = forest.summary(tree) else { continue };
        let mut faulty = Vec::new();
        let first = summary.finish(tree.root.logical, rules, &mut faulty);
        let id = tree.id();
        let has_root = |inode: Inode| {
            inode.is_unknown() || inode.number == objectid::ROOT_DIR && (inode.is_directory() || !inode.has_item())
        };
        if !first.map_or(summary.has_unread, has_root) {
            findings.report(FileProblem::RootDirectory { tree: id });
        }
        // Equal sums come from equal differences.
        let lost = match summary.names != 0 && known_sums.insert(summary.names) {
            true => names::compare(job, tree, findings),
            false => Lost::default(),
        };
        forest.take_faulty(tree, &mut faulty);
        for (_, inode) in faulty {
            if known_inodes.insert(inode) {
                let is_orphan = inode.nlink == 0 && forest.has_orphan_item(tree, inode.number);
                inode.faults(rules, |fault| match fault {
                    Fault::Unlinked if is_orphan => {}
                    Fault::SummedPrealloc { offset } => {
                        suspects.extend(Suspect::new(volume, tree, &inode, offset).map(|suspect| (suspect, fault)));
                    }
                    _ => report(volume, tree, &inode, fault, &lost, findings),
                });
            }
        }
    }
    if !suspects.is_empty() {
        let written = others.ranges(job, &suspects);
        for (suspect, fault) in suspects {
            if suspect.is_summed_beyond(&written, rules.csums) {
                report(volume, &suspect.tree, &suspect.inode, fault, &Lost::default(), findings);
            }
        }
    }
}

fn report(volume: &Volume, tree: &Tree, inode: &Inode, fault: Fault, lost: &Lost, findings: &Findings) {
    let (id, number) = (tree.id(), inode.number);
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
        Fault::SummedPrealloc { offset } => FileProblem::SummedPrealloc { tree: id, inode: number, offset },
        Fault::LinkNotInline => FileProblem::LinkNotInline { tree: id, inode: number },
        Fault::LinkEmpty => FileProblem::LinkEmpty { tree: id, inode: number },
        Fault::LinkSize { length } => {
            FileProblem::LinkSize { tree: id, inode: number, have: inode.size, expect: length }
        }
        Fault::LinkNul => FileProblem::LinkNul { tree: id, inode: number },
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
