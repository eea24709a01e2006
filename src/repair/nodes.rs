//! The nodes of trees, without their leaves: which block hangs where.

use std::collections::HashSet;

use crate::block::verify::Expected;
use crate::block::{BlockKind, Node};
use crate::disk::{Key, Logical, MAX_LEVEL, Transid};
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
            let kept = tree.drop_progress.filter(|(_, lowest)| on_dropped_path && level >= *lowest);
            let first =
                kept.map_or(0, |(key, _)| ptrs.partition_point(|ptr| Key::from(&ptr.key) <= key).saturating_sub(1));
            if visit(tree, node, first) && level > 1 {
                let below = ptrs.iter().enumerate().skip(first).rev();
                pending.extend(below.map(|(index, ptr)| {
                    let on_dropped_path = kept.is_some_and(|(_, lowest)| index == first && level > lowest);
                    (Expected::child(ptr, level), on_dropped_path)
                }));
            }
        }
    }
}
