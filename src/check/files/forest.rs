//! The blocks of all file trees, and what is known of the inodes below each.

use std::collections::{HashMap, HashSet};

use crate::block::{Leaf, Node};
use crate::disk::{Key, Logical, MAX_LEVEL, objectid};

use super::super::scan::{Tree, Unread, Visit};
use super::inode::{Inode, Rules};
use super::summary::{Faulty, Summary};

/// A node, for joining what its children say.
struct NodeRecord {
    logical: Logical,
    level: u8,
    /// Each child with the object id of its first key.
    children: Box<[(Logical, u64)]>,
}

/// What a scan gathers of file trees, by one thread.
#[derive(Default)]
pub struct Seen {
    leaves: Vec<(Logical, Summary)>,
    nodes: Vec<NodeRecord>,
    faulty: Faulty,
}

impl Seen {
    /// Notes a block of a tree; trees that hold no files are passed over.
    pub fn visit(&mut self, tree: &Tree, visit: &Visit<'_>, rules: &Rules<'_>) {
        // A relocation tree may share blocks with the tree that it copies, one that is being dropped with any other.
        let id = tree.root.key.objectid;
        if !objectid::is_fs_tree(id) && id != objectid::TREE_RELOC && id != objectid::DATA_RELOC_TREE {
            return;
        }
        match visit {
            Visit::Leaf(leaf) => self.leaf(*leaf, rules),
            Visit::Node(node, _) => self.node(*node),
        }
    }

    fn leaf(&mut self, leaf: Leaf<'_>, rules: &Rules<'_>) {
        let summary = Summary::of_leaf(leaf, rules, &mut self.faulty);
        self.leaves.push((leaf.block().logical(), summary));
    }

    fn node(&mut self, node: Node<'_>) {
        let children = node.ptrs().iter().map(|ptr| (ptr.blockptr.into(), Key::from(&ptr.key).objectid)).collect();
        self.nodes.push(NodeRecord { logical: node.block().logical(), level: node.block().level(), children });
    }
}

pub struct Forest {
    /// By address.
    leaves: Vec<(Logical, Summary)>,
    /// By address.
    nodes: Vec<NodeRecord>,
    /// Of the nodes, by address and level.
    joined: HashMap<(Logical, u8), Summary>,
    faulty: HashMap<Logical, Vec<Inode>>,
    /// Blocks whose faulty inodes were taken already.
    taken: HashSet<Logical>,
}

impl Forest {
    /// What `unread` pointers lead to stands elsewhere, if anywhere.
    pub fn new(seen: Vec<Seen>, unread: &[Unread], rules: &Rules<'_>) -> Self {
        let unread: HashSet<_> = unread.iter().filter_map(Unread::pointer).collect();
        let (mut leaves, mut nodes, mut all_faulty) = (Vec::new(), Vec::new(), Vec::new());
        for mut part in seen {
            match leaves.is_empty() {
                true => leaves = part.leaves,
                false => leaves.append(&mut part.leaves),
            }
            nodes.append(&mut part.nodes);
            all_faulty.append(&mut part.faulty);
        }
        leaves.sort_unstable_by_key(|(logical, _)| *logical);
        nodes.sort_unstable_by_key(|node| node.logical);
        let (faulty, taken) = Default::default();
        let mut forest = Self { leaves, nodes, joined: HashMap::new(), faulty, taken };
        // Upwards: what a node says is known before any node above it needs it.
        for level in 1..MAX_LEVEL as u8 {
            for node in forest.nodes.iter().filter(|node| node.level == level) {
                let mut summary = Summary::empty();
                for pointer @ (child, first) in &node.children {
                    let child = forest.of_block(*child, level - 1).filter(|_| !unread.contains(pointer));
                    let child = child.unwrap_or(Summary::unread(*first));
                    summary.join(&child, node.logical, rules, &mut all_faulty);
                }
                forest.joined.insert((node.logical, level), summary);
            }
        }
        for (block, inode) in all_faulty {
            forest.faulty.entry(block).or_default().push(inode);
        }
        forest
    }

    fn of_block(&self, logical: Logical, level: u8) -> Option<Summary> {
        if level > 0 {
            return self.joined.get(&(logical, level)).copied();
        }
        let index = self.leaves.binary_search_by_key(&logical, |(leaf, _)| *leaf).ok()?;
        self.leaves.get(index).map(|(_, summary)| *summary)
    }

    /// What all blocks of a tree say; nothing if its root could not be read.
    pub fn summary(&self, tree: &Tree) -> Option<Summary> {
        self.of_block(tree.root.logical, tree.root.level)
    }

    /// Takes the faulty inodes of a tree that no tree before it has.
    pub fn take_faulty(&mut self, tree: &Tree, faulty: &mut Faulty) {
        let mut pending = vec![(tree.root.logical, tree.root.level)];
        while let Some((block, level)) = pending.pop() {
            let is_faulty = self.of_block(block, level).is_some_and(|summary| summary.is_faulty);
            if !is_faulty || !self.taken.insert(block) {
                continue;
            }
            faulty.extend(self.faulty.remove(&block).into_iter().flatten().map(|inode| (block, inode)));
            let Some(below) = level.checked_sub(1) else { continue };
            if let Ok(index) = self.nodes.binary_search_by_key(&block, |node| node.logical) {
                let children = self.nodes.get(index).map(|node| node.children.as_ref()).unwrap_or_default();
                pending.extend(children.iter().map(|(child, _)| (*child, below)));
            }
        }
    }
}
