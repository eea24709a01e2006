//! Inodes whose items may not be those of the last commit.

use std::collections::HashMap;

use crate::disk::{Ino, TreeId, objectid};
use crate::files::InodeId;

/// Inodes whose items may be of an earlier commit or missing in part, because a repair has put other blocks in the place of lost
/// blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DoubtfulInodes {
    /// The subvolume; the root tree, where subvolumes are doubtful.
    pub tree: TreeId,
    /// The first of them; of the root tree, the first subvolume.
    pub first: Ino,
    /// The last of them.
    pub last: Ino,
}

/// What is doubtful, by subvolume.
#[derive(Default)]
pub struct Doubts {
    of_trees: HashMap<TreeId, Vec<(Ino, Ino)>>,
    /// Subvolumes of which all is doubtful.
    trees: Vec<(Ino, Ino)>,
}

impl Doubts {
    /// What `doubts` mean for the subvolumes of a filesystem.
    pub fn new(doubts: &[DoubtfulInodes]) -> Self {
        let mut all = Self::default();
        for DoubtfulInodes { tree, first, last } in doubts {
            match tree.0 {
                objectid::ROOT_TREE => all.trees.push((*first, *last)),
                _ => all.of_trees.entry(*tree).or_default().push((*first, *last)),
            }
        }
        for ranges in all.of_trees.values_mut().chain([&mut all.trees]) {
            merge(ranges);
        }
        all
    }

    /// Whether the inode may not be as it was.
    pub fn has(&self, inode: InodeId) -> bool {
        let is_in = |ranges: &[(Ino, Ino)], ino: Ino| {
            let index = ranges.partition_point(|(first, _)| *first <= ino);
            index.checked_sub(1).and_then(|index| ranges.get(index)).is_some_and(|(_, last)| ino <= *last)
        };
        is_in(&self.trees, Ino(inode.tree.0))
            || self.of_trees.get(&inode.tree).is_some_and(|ranges| is_in(ranges, inode.ino))
    }

    /// What is doubtful of a subvolume: its inodes from the first to the last, in order.
    pub fn of_tree(&self, tree: TreeId) -> Vec<(Ino, Ino)> {
        let is_whole = self.trees.iter().any(|(first, last)| (*first..=*last).contains(&Ino(tree.0)));
        match self.of_trees.get(&tree) {
            _ if is_whole => vec![(Ino(0), Ino(u64::MAX))],
            Some(ranges) => ranges.clone(),
            None => Vec::new(),
        }
    }

    /// What may be missing besides what has a name.
    pub(super) fn texts(&self, trees: &[TreeId]) -> Vec<String> {
        let text = |what: String, (first, last): &(Ino, Ino)| match first == last {
            true => format!("{what} {first} may be missing, or of an earlier commit"),
            false => format!("{what} {first} to {last} may be missing, or of an earlier commit"),
        };
        let mut texts: Vec<String> = self.trees.iter().map(|range| text("subvolumes".to_owned(), range)).collect();
        for tree in trees {
            let ranges = self.of_trees.get(tree).into_iter().flatten();
            texts.extend(ranges.map(|range| text(format!("subvolume {tree}: inodes"), range)));
        }
        texts
    }
}

/// Sorts ranges, and makes one of those that touch.
fn merge(ranges: &mut Vec<(Ino, Ino)>) {
    ranges.sort_unstable();
    let mut merged: Vec<(Ino, Ino)> = Vec::new();
    for (first, last) in ranges.drain(..) {
        match merged.last_mut() {
            Some((_, end)) if first.0 <= end.0.saturating_add(1) => *end = last.max(*end),
            _ => merged.push((first, last)),
        }
    }
    *ranges = merged;
}
