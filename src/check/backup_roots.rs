//! The superblock's backups of the roots of the last commits.
//!
//! The kernel writes a slot when it writes the superblock, and by then the next transaction may have begun: every root
//! in the slot may be one generation newer, and lie in a chunk that is not committed yet. Older slots may point to chunks
//! that were removed since. Mounting from a backup, and tools that write no backups, break the order of slots. Where the root
//! tree had a new root already, its slot has the generation of the next commit, which takes another place: of several slots of
//! one generation, one has the present roots. Nothing depends on a slot before a person asks for it, so that what differs is
//! a note.

use crate::disk::superblock::RootBackup;
use crate::disk::{Superblock, Transid};
use crate::problem::BackupRootProblem;

use super::findings::Findings;

pub fn check(superblock: &Superblock, findings: &Findings) {
    let generation = superblock.generation();
    let (mut newest, mut differences, mut is_any_present) = (None, Vec::new(), false);
    for (slot, backup) in superblock.super_roots.iter().enumerate() {
        let have = Transid::from(backup.tree_root_gen);
        if have == Transid(0) {
            continue;
        }
        newest = newest.max(Some(have));
        if have == generation {
            let found = differences.len();
            differences.extend(differences_of(superblock, slot, backup));
            is_any_present |= differences.len() == found;
        } else if have.0 > generation.0.saturating_add(1) {
            findings.report(BackupRootProblem::Newer { slot, have, expect: generation });
        }
    }
    if !is_any_present {
        differences.into_iter().for_each(|problem| findings.report(problem));
    }
    if newest.is_some_and(|newest| newest < generation) {
        findings.report(BackupRootProblem::Missing { expect: generation });
    }
}

/// What differs from the present roots in a slot of their generation. Totals in it may be those of the next transaction.
fn differences_of(
    superblock: &Superblock,
    slot: usize,
    backup: &RootBackup,
) -> impl Iterator<Item = BackupRootProblem> {
    let mut fields = vec![
        ("tree_root", backup.tree_root.get(), superblock.root.get()),
        ("tree_root_level", backup.tree_root_level.into(), superblock.root_level.into()),
    ];
    if backup.chunk_root_gen == superblock.chunk_root_generation {
        fields.push(("chunk_root", backup.chunk_root.get(), superblock.chunk_root.get()));
        fields.push(("chunk_root_level", backup.chunk_root_level.into(), superblock.chunk_root_level.into()));
    }
    let differing = fields.into_iter().filter(|(_, have, expect)| have != expect);
    differing.map(move |(field, have, expect)| BackupRootProblem::Differs { slot, field, have, expect })
}
