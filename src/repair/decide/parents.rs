//! Which pointer leads to a block.

use std::collections::{HashMap, HashSet};

use crate::block::verify::Expected;
use crate::disk::node::KeyPtr;
use crate::disk::{Key, Logical, Transid};
use crate::tree::Tree;

use super::super::nodes::for_each_node;
use super::super::plan::Plan;

/// A pointer to a block, and what stands beside it.
#[derive(Clone, Copy, Debug)]
pub struct Parent {
    /// The tree that is reached first.
    pub tree: u64,
    /// The pointer; the root of a tree has none.
    pub ptr: Option<KeyPtr>,
    /// What the pointer says of the block.
    pub expected: Expected,
    /// Level and generation of the node with the pointer.
    pub node: Option<(u8, Transid)>,
    /// Key of the pointer before.
    pub after: Option<Key>,
    /// Key of the pointer behind; nothing for the last of a node.
    pub end: Option<Key>,
}

/// The first pointer to each of these blocks, by address.
pub fn parents(plan: &Plan<'_>, wanted: &HashSet<Logical>) -> HashMap<Logical, Vec<Parent>> {
    let trees = &plan.survey.trees;
    let all: Vec<Tree> =
        [&trees.root_tree].into_iter().chain(&trees.extent_tree).chain(&trees.others).copied().collect();
    let mut found: HashMap<Logical, Vec<Parent>> = HashMap::new();
    for tree in all.iter().filter(|tree| wanted.contains(&tree.root.logical)) {
        let expected = tree.root.expected();
        let parent = Parent { tree: tree.id(), ptr: None, expected, node: None, after: None, end: None };
        found.entry(tree.root.logical).or_default().push(parent);
    }
    for_each_node(plan.volume, &all, |tree, node, first| {
        let ptrs = node.ptrs();
        let block = node.block();
        for (index, ptr) in ptrs.iter().enumerate().skip(first) {
            let logical = Logical::from(ptr.blockptr);
            if !wanted.contains(&logical) {
                continue;
            }
            let key_of = |index: usize| ptrs.get(index).map(|ptr| Key::from(&ptr.key));
            found.entry(logical).or_default().push(Parent {
                tree: tree.id(),
                ptr: Some(*ptr),
                expected: Expected::child(ptr, block.level()),
                node: Some((block.level(), block.generation())),
                after: index.checked_sub(1).and_then(key_of),
                end: key_of(index + 1),
            });
        }
        true
    });
    found
}
