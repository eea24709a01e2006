//! The blocks of all file trees, and what is known of the inodes below each.

use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::Arc;

use crate::block::{Leaf, Node};
use crate::disk::node::Item;
use crate::disk::{Key, KeyType, Logical, MAX_LEVEL, objectid};
use crate::table::{Cursor, Part, Table, Writer};
use crate::tree::{Tree, Visit};

use super::super::blocks::Unread;
use super::inode::{Inode, Rules};
use super::special::Special;
use super::summary::{Faulty, LeafRecord, Summary};

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
    leaves: Part<LeafRecord>,
    nodes: Vec<NodeRecord>,
    faulty: Faulty,
    /// Inode items.
    inodes: u64,
    special: Special,
}

impl Seen {
    /// Notes a block of a tree; trees that hold no files are passed over.
    pub fn visit(&mut self, tree: &Tree, visit: Visit<'_>, rules: &Rules<'_>, leaves: &Writer<'_>) {
        // A relocation tree may share blocks with the tree that it copies, one that is being dropped with any other.
        let id = tree.id();
        if !objectid::is_fs_tree(id) && id != objectid::TREE_RELOC && id != objectid::DATA_RELOC_TREE {
            return;
        }
        match visit {
            Visit::Leaf(leaf) => self.leaf(leaf, rules, leaves),
            Visit::Node(node, _) => self.node(node),
        }
    }

    fn leaf(&mut self, leaf: Leaf<'_>, rules: &Rules<'_>, leaves: &Writer<'_>) {
        let (summary, names_subvolumes) = Summary::of_leaf(leaf, rules, &mut self.faulty);
        self.special.take(leaf, names_subvolumes);
        leaves.push(&mut self.leaves, LeafRecord::new(leaf.block().logical(), &summary));
        let is_inode = |header: &&Item| Key::from(&header.key).key_type == KeyType::INODE_ITEM;
        self.inodes += leaf.headers().iter().filter(is_inode).count() as u64;
    }

    fn node(&mut self, node: Node<'_>) {
        let children = node.ptrs().iter().map(|ptr| (ptr.blockptr.into(), Key::from(&ptr.key).objectid)).collect();
        self.nodes.push(NodeRecord { logical: node.block().logical(), level: node.block().level(), children });
    }
}

pub struct Forest {
    leaves: Table<LeafRecord>,
    cursor: Cursor<LeafRecord>,
    /// By address.
    nodes: Vec<NodeRecord>,
    /// Of the nodes, by address and level.
    joined: Joined,
    faulty: HashMap<Logical, Vec<Inode>>,
    /// Blocks whose faulty inodes were taken already.
    taken: HashSet<Logical>,
    inodes: u64,
    special: Special,
    /// The leaves that were asked for last, by root and object id.
    last_leaves: Option<((Logical, u64), Leaves)>,
}

type Joined = HashMap<(Logical, u8), Summary>;
type Leaves = Arc<HashSet<Logical>>;

fn summary_of(
    leaves: &Table<LeafRecord>,
    joined: &Joined,
    block: Logical,
    level: u8,
    cursor: &mut Cursor<LeafRecord>,
) -> Option<Summary> {
    match level {
        0 => leaves.find(block.0, cursor).map(|record| record.summary()),
        _ => joined.get(&(block, level)).copied(),
    }
}

impl Forest {
    /// `leaves` is what [`Seen::visit`] wrote to. What `unread` pointers lead to stands elsewhere, if anywhere.
    pub fn new(seen: Vec<Seen>, leaves: Writer<'_>, unread: &[Unread], rules: &Rules<'_>) -> io::Result<Self> {
        let unread: HashSet<_> = unread.iter().filter_map(Unread::pointer).collect();
        let (mut parts, mut nodes, mut all_faulty, mut inodes) = (Vec::new(), Vec::new(), Vec::new(), 0);
        let mut special = Special::default();
        for mut part in seen {
            parts.push(part.leaves);
            nodes.append(&mut part.nodes);
            all_faulty.append(&mut part.faulty);
            inodes += part.inodes;
            special.merge(part.special);
        }
        let leaves = leaves.finish(parts)?;
        nodes.sort_unstable_by_key(|node| node.logical);
        let (joined, cursor, faulty, taken) = Default::default();
        let mut forest = Self { leaves, cursor, nodes, joined, faulty, taken, inodes, special, last_leaves: None };
        // Upwards: what a node says is known before any node above it needs it.
        for level in 1..MAX_LEVEL as u8 {
            for node in forest.nodes.iter().filter(|node| node.level == level) {
                let mut summary = Summary::empty();
                for pointer @ (child, first) in &node.children {
                    let known = summary_of(&forest.leaves, &forest.joined, *child, level - 1, &mut forest.cursor);
                    let child = known.filter(|_| !unread.contains(pointer)).unwrap_or(Summary::unread(*first));
                    summary.join(&child, node.logical, rules, &mut all_faulty);
                }
                forest.joined.insert((node.logical, level), summary);
            }
        }
        for (block, inode) in all_faulty {
            forest.faulty.entry(block).or_default().push(inode);
        }
        Ok(forest)
    }

    fn of_block(&mut self, logical: Logical, level: u8) -> Option<Summary> {
        summary_of(&self.leaves, &self.joined, logical, level, &mut self.cursor)
    }

    /// Number of inode items, those in shared leaves counted once.
    pub fn inodes(&self) -> u64 {
        self.inodes
    }

    /// Whether the table of leaves could not be read, see [`Table::failure`].
    pub fn failure(&self) -> Option<io::Error> {
        self.leaves.failure()
    }

    /// Whether a leaf of the tree is known to have a name of this subvolume in the item with this key.
    pub fn names_subvolume(&mut self, tree: &Tree, key: Key, name: &[u8], subvolume: u64) -> bool {
        let leaves = self.leaves_of(tree, key.objectid);
        self.special.names_subvolume(&leaves, key, name, subvolume)
    }

    /// Whether a leaf of the tree is known to have an orphan item of this inode.
    pub fn has_orphan_item(&mut self, tree: &Tree, inode: u64) -> bool {
        let leaves = self.leaves_of(tree, objectid::ORPHAN);
        self.special.has_orphan_item(&leaves, inode)
    }

    /// The leaves of a tree that, by the keys in nodes, may hold items with this object id.
    fn leaves_of(&mut self, tree: &Tree, objectid: u64) -> Leaves {
        let wanted = (tree.root.logical, objectid);
        if let Some((_, leaves)) = self.last_leaves.as_ref().filter(|(last, _)| *last == wanted) {
            return Arc::clone(leaves);
        }
        let (mut leaves, mut entered) = (HashSet::new(), HashSet::new());
        let mut pending = vec![tree.root.logical];
        while let Some(block) = pending.pop() {
            let Ok(index) = self.nodes.binary_search_by_key(&block, |node| node.logical) else {
                leaves.insert(block);
                continue;
            };
            let children = self.nodes.get(index).map(|node| node.children.as_ref()).unwrap_or_default();
            if entered.insert(block) {
                let end = children.partition_point(|(_, first)| *first <= objectid);
                let start = children.partition_point(|(_, first)| *first < objectid).saturating_sub(1);
                pending.extend(children.get(start..end).into_iter().flatten().map(|(child, _)| *child));
            }
        }
        let leaves = Arc::new(leaves);
        self.last_leaves = Some((wanted, Arc::clone(&leaves)));
        leaves
    }

    /// What all blocks of a tree say; nothing if its root could not be read.
    pub fn summary(&mut self, tree: &Tree) -> Option<Summary> {
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
