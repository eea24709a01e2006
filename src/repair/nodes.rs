//! The nodes of trees, without their leaves: which block hangs where.

use std::collections::HashSet;

use crate::block::verify::Expected;
use crate::block::{BlockKind, Node};
use crate::disk::{Logical, MAX_LEVEL, Transid};
use crate::tree::Tree;
use crate::volume::Volume;

/// Hands each node of `trees` that can be read to `visit`, once, each before those below it, with the first of its pointers
/// that counts. What is below a node for which `visit` says no is left out.
pub fn for_each_node(volume: &Volume, trees: &[Tree], mut visit: impl FnMut(&Tree, Node<'_>, usize) -> bool) {
    let mut entered: HashSet<(Logical, Option<Transid>)> = HashSet::new();
    let mut buffer = Vec::new();
    for tree in trees {
        let mut pending = vec![(tree.root.expected(), tree.drop_progress.is_some())];
        while let Some((expected, on_dropped_path)) = pending.pop() {
            let is_node = expected.level.is_some_and(|level| level > 0 && usize::from(level) < MAX_LEVEL);
            if !is_node || !entered.insert((expected.logical, expected.generation)) {
                continue;
            }
            let Ok(read) = volume.read_block(&expected, &mut buffer) else { continue };
            let BlockKind::Node(node) = read.block.kind() else { continue };
            let (ptrs, level) = (node.ptrs(), read.block.level());
            let kept = tree.kept(ptrs, level, on_dropped_path);
            if visit(tree, node, kept.first) && level > 1 {
                let below = ptrs.iter().enumerate().skip(kept.first).rev();
                pending.extend(below.map(|(index, ptr)| (Expected::child(ptr, level), kept.is_on_path(index))));
            }
        }
    }
}
