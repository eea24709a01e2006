//! What blocks add to the counts, and the counts of all groups.

use std::io;

use crate::disk::objectid;
use crate::tree::{Tree, Visit};
use crate::volume::Volume;

use super::groups::Counts;
use super::owned::Owned;
use super::rules::{Mode, Quotas};
use super::sharing::{PointerParts, Pointers};

/// What one thread gathers for the counts.
#[derive(Default)]
pub struct UsagePart {
    pointers: PointerParts,
    owned: Owned,
}

/// Of the extent tree.
impl From<Owned> for UsagePart {
    fn from(owned: Owned) -> Self {
        Self { owned, ..Self::default() }
    }
}

impl UsagePart {
    /// Notes what a block of a tree adds to the counts.
    pub fn visit(&mut self, quotas: &Quotas, pointers: &Pointers<'_>, tree: &Tree, visit: Visit<'_>) {
        let id = tree.id();
        match quotas.mode {
            // A relocation tree shares blocks with the tree that it copies, and may have been visited first.
            Some(Mode::Full) if objectid::is_fs_tree(id) || id == objectid::TREE_RELOC => {
                pointers.visit(&mut self.pointers, visit);
            }
            Some(Mode::Simple { .. }) => self.owned.visit(quotas, visit),
            _ => {}
        }
    }
}

/// What was counted.
#[derive(Debug)]
pub enum Counted {
    /// Nothing was to be counted, or not all of it could be read.
    Nothing,
    /// Too many sets of subvolumes share blocks.
    ManySets,
    Groups(Counts),
}

/// Counts for all groups. `trees` are those that root items lead to. Fails if temporary files cannot be used.
pub fn count(
    volume: &Volume,
    quotas: &Quotas,
    pointers: Pointers<'_>,
    parts: Vec<UsagePart>,
    trees: &[Tree],
) -> io::Result<Counted> {
    let mut counts = Counts::default();
    match quotas.mode {
        None => return Ok(Counted::Nothing),
        Some(Mode::Full) => {
            let trees: Vec<Tree> = trees.iter().filter(|tree| objectid::is_fs_tree(tree.id())).copied().collect();
            let parts = parts.into_iter().map(|part| part.pointers).collect();
            let visit = |roots: &[u64], bytes| counts.add(&quotas.groups, roots, bytes);
            if !pointers.sum(parts, &trees, volume.format().nodesize, visit)? {
                return Ok(Counted::ManySets);
            }
        }
        Some(Mode::Simple { .. }) => {
            let mut owned = Owned::default();
            parts.into_iter().for_each(|part| owned.merge(part.owned));
            owned.iter().for_each(|(root, bytes)| counts.add(&quotas.groups, &[root], bytes));
        }
    }
    Ok(Counted::Groups(counts))
}
