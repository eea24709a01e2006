//! The subvolumes that share what is doubtful.

use std::collections::HashSet;

use crate::block::BlockKind;
use crate::block::verify::Expected;
use crate::disk::{Key, Logical, TreeId, objectid};
use crate::extract::DoubtfulInodes;
use crate::tree::{Tree, TreeRoot};
use crate::volume::Volume;

use super::plan::{Doubt, Plan};

/// The inodes that the doubts of a plan are about: in the tree in which a doubt came up, and in each subvolume that shares a
/// block with it there. Which was made of which does not tell that: what is between two snapshots may be deleted.
pub fn doubtful_inodes(plan: &Plan<'_>) -> Vec<DoubtfulInodes> {
    let mut doubtful = Vec::new();
    for doubt in &plan.doubts {
        let Some(inodes) = doubt.inodes() else { continue };
        doubtful.push(inodes);
        if objectid::is_fs_tree(doubt.tree) {
            doubtful.extend(sharers(plan, doubt).into_iter().map(|tree| DoubtfulInodes { tree, ..inodes }));
        }
    }
    doubtful
}

fn sharers(plan: &Plan<'_>, doubt: &Doubt) -> Vec<TreeId> {
    let mut blocks = HashSet::new();
    let (own, others): (Vec<&Tree>, Vec<&Tree>) = plan
        .survey
        .trees
        .others
        .iter()
        .filter(|tree| objectid::is_fs_tree(tree.id()))
        .partition(|tree| tree.id() == doubt.tree);
    for tree in own {
        is_any_block(plan.volume, &tree.root, doubt, |block| {
            blocks.insert(block);
            false
        });
    }
    let shares = |root: &TreeRoot| is_any_block(plan.volume, root, doubt, |block| blocks.contains(&block));
    others.into_iter().filter(|tree| shares(&tree.root)).map(|tree| TreeId(tree.id())).collect()
}

/// Whether `is_it` says so of a block of a tree that may hold what is doubtful; blocks that cannot be read are among them.
fn is_any_block(volume: &Volume, root: &TreeRoot, doubt: &Doubt, mut is_it: impl FnMut(Logical) -> bool) -> bool {
    let mut entered: HashSet<Logical> = HashSet::new();
    let mut buffer = Vec::new();
    let mut pending = vec![root.expected()];
    while let Some(expected) = pending.pop() {
        if !entered.insert(expected.logical) {
            continue;
        }
        if is_it(expected.logical) {
            return true;
        }
        if expected.level == Some(0) {
            continue;
        }
        let Ok(read) = volume.read_block(&expected, &mut buffer) else { continue };
        let BlockKind::Node(node) = read.block.kind() else { continue };
        let (ptrs, level) = (node.ptrs(), read.block.level());
        for (index, ptr) in ptrs.iter().enumerate() {
            let next = ptrs.get(index + 1).map(|next| Key::from(&next.key));
            let is_before = doubt.first.zip(next).is_some_and(|(first, next)| next <= first);
            let is_behind = doubt.end.is_some_and(|end| Key::from(&ptr.key) >= end);
            if !is_before && !is_behind {
                pending.push(Expected::child(ptr, level));
            }
        }
    }
    false
}
