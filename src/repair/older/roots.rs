//! Which blocks may have been the root of a tree.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use crate::disk::root::RootItem;
use crate::disk::superblock::RootBackup;
use crate::disk::{Key, KeyType, Logical, MAX_LEVEL, Transid, objectid};
use crate::survey::Job;
use crate::tree::{BlockPlace, Tree, TreeRoot, Visit, Visitor};
use crate::volume::{BadCopy, Volume};

use super::block::{OlderBlock, State};
use super::blocks::OlderBlocks;

/// Candidates of the scan whose trees are read, the newest.
const MOST: usize = 16;

/// Where a root is known from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RootSource {
    /// A backup in the superblock.
    Backup {
        /// Slot in `super_roots`.
        slot: usize,
    },
    /// A block that was found.
    Scan,
}

/// A block that may have been the root of a tree.
#[derive(Clone, Copy, Debug)]
pub struct RootCandidate {
    /// The root, under a key without offset.
    pub root: TreeRoot,
    /// Where it is known from.
    pub source: RootSource,
    /// Blocks of the tree that can be read; of the root tree also the root blocks that its items lead to.
    pub readable: u64,
    /// Those that cannot.
    pub unreadable: u64,
}

/// Counts what can be read.
struct Score<'v> {
    volume: &'v Volume,
}

impl Visitor for Score<'_> {
    type Part = (u64, u64);

    fn visit(&self, (readable, unreadable): &mut Self::Part, place: &BlockPlace<'_>, visit: Visit<'_>) {
        *readable += 1;
        let Visit::Leaf(leaf) = visit else { return };
        if place.tree.id() != objectid::ROOT_TREE {
            return;
        }
        let mut buffer = Vec::new();
        for item in leaf.items().flatten().filter(|item| item.key.key_type == KeyType::ROOT_ITEM) {
            let root = RootItem::read(item.data).map(|root_item| TreeRoot::of_item(item.key, &root_item));
            let is_readable = root.is_some_and(|root| self.volume.read_block(&root.expected(), &mut buffer).is_ok());
            *(if is_readable { &mut *readable } else { &mut *unreadable }) += 1;
        }
    }

    fn unreadable(&self, (_, unreadable): &mut Self::Part, _: &BlockPlace<'_>, _: Vec<BadCopy>) {
        *unreadable += 1;
    }
}

impl OlderBlocks {
    /// Blocks that may have been the root of the tree `tree`, each with what can be read below it, the newest first: backup
    /// roots, and of each generation the blocks of the tree's highest level to which no node that was found leads. One that cannot
    /// be read is not there.
    pub fn roots(&self, job: &Job<'_>, tree: u64) -> Vec<RootCandidate> {
        let candidate = |root, source| {
            let parts = job.scan().run(&[Tree::whole(root)], &Score { volume: job.volume });
            let (readable, unreadable) = parts.iter().fold((0, 0), |sum, part| (sum.0 + part.0, sum.1 + part.1));
            RootCandidate { root, source, readable, unreadable }
        };
        let mut roots: Vec<(TreeRoot, RootSource)> = backups(job.volume, tree);
        for block in self.highest(tree) {
            let is_known =
                |(root, _): &(TreeRoot, _)| (root.logical, root.generation) == (block.logical, Some(block.generation));
            if !roots.iter().any(is_known) {
                roots.push((root(tree, block.logical, block.level, block.generation), RootSource::Scan));
            }
        }
        let mut buffer = Vec::new();
        roots.retain(|(root, _)| {
            let expected = root.expected();
            let read = job.volume.read_block(&expected, &mut buffer);
            read.is_ok_and(|read| read.block.header().owner.get() == tree)
        });
        let mut candidates: Vec<RootCandidate> =
            roots.into_iter().map(|(root, source)| candidate(root, source)).collect();
        candidates.sort_by_key(|candidate| {
            let root = candidate.root;
            (
                Reverse(root.generation),
                Reverse(root.level),
                candidate.unreadable,
                Reverse(candidate.readable),
                root.logical,
            )
        });
        candidates
    }

    /// Of each of the newest generations, blocks of the tree's highest level to which no node leads.
    fn highest(&self, tree: u64) -> Vec<OlderBlock> {
        let mut of_generation: BTreeMap<Transid, Vec<OlderBlock>> = BTreeMap::new();
        for level in (0..MAX_LEVEL as u8).rev() {
            for block in self.of_level(level).filter(|block| block.owner == tree && block.state != State::Reached) {
                let blocks = of_generation.entry(block.generation).or_default();
                let is_highest = blocks.first().is_none_or(|first| first.level == level);
                let is_known = blocks.iter().any(|known| known.logical == block.logical);
                if is_highest && !is_known && blocks.len() < MOST {
                    blocks.push(block);
                }
                if of_generation.len() > 4 * MOST {
                    of_generation.pop_first();
                }
            }
        }
        let blocks = of_generation.into_values().rev().flatten();
        blocks.filter(|block| !self.is_pointed_to(block.logical, block.generation)).take(MOST).collect()
    }
}

fn root(tree: u64, logical: Logical, level: u8, generation: Transid) -> TreeRoot {
    TreeRoot { key: Key::new(tree, KeyType::ROOT_ITEM, 0), logical, level, generation: Some(generation) }
}

/// All roots that the superblock has backups of, with their generations.
pub(super) fn backup_roots(volume: &Volume) -> Vec<(Logical, Transid)> {
    use objectid::{CHUNK_TREE, CSUM_TREE, DEV_TREE, EXTENT_TREE, FS_TREE, ROOT_TREE};
    let trees = [ROOT_TREE, CHUNK_TREE, EXTENT_TREE, FS_TREE, DEV_TREE, CSUM_TREE];
    let roots = trees.into_iter().flat_map(|tree| backups(volume, tree));
    roots.filter_map(|(root, _)| Some((root.logical, root.generation?))).collect()
}

/// The roots of a tree in the backups of the superblock, each once.
fn backups(volume: &Volume, tree: u64) -> Vec<(TreeRoot, RootSource)> {
    let mut roots: Vec<(TreeRoot, RootSource)> = Vec::new();
    for (slot, backup) in volume.superblock().super_roots.iter().enumerate() {
        let Some((logical, level, generation)) = root_of(backup, tree).filter(|(logical, ..)| logical.0 != 0) else {
            continue;
        };
        let root = root(tree, logical, level, generation);
        if !roots.iter().any(|(known, _)| known.logical == root.logical && known.generation == root.generation) {
            roots.push((root, RootSource::Backup { slot }));
        }
    }
    roots
}

fn root_of(backup: &RootBackup, tree: u64) -> Option<(Logical, u8, Transid)> {
    let (logical, level, generation) = match tree {
        objectid::ROOT_TREE => (backup.tree_root, backup.tree_root_level, backup.tree_root_gen),
        objectid::CHUNK_TREE => (backup.chunk_root, backup.chunk_root_level, backup.chunk_root_gen),
        objectid::EXTENT_TREE => (backup.extent_root, backup.extent_root_level, backup.extent_root_gen),
        objectid::FS_TREE => (backup.fs_root, backup.fs_root_level, backup.fs_root_gen),
        objectid::DEV_TREE => (backup.dev_root, backup.dev_root_level, backup.dev_root_gen),
        objectid::CSUM_TREE => (backup.csum_root, backup.csum_root_level, backup.csum_root_gen),
        _ => return None,
    };
    Some((logical.into(), level, generation.into()))
}
