//! What a step changes in trees, by the blocks that it changes.
//!
//! A block that several trees share is changed once, for all of them.

use std::collections::{BTreeMap, HashMap};

use crate::block::BlockKind;
use crate::block::verify::Expected;
use crate::disk::{Key, Logical, objectid};
use crate::tree::TreeRoot;
use crate::volume::Volume;

/// Items by key.
pub type Items = BTreeMap<Key, Vec<u8>>;

/// What stands in the place of a block.
#[derive(Clone, Debug)]
pub enum Instead {
    /// A leaf, or several, with these items; none without items.
    Items(Items),
    /// Nodes with these blocks of the level below.
    Children(Vec<Expected>),
    /// These leaves, below as many nodes as the level of the block asks for.
    Leaves(Vec<Part>),
    /// The block that the pointer was to lead to.
    Same(Expected),
}

/// A leaf, or several.
#[derive(Clone, Debug)]
pub enum Part {
    /// One that stands where it is.
    Block(Expected),
    /// New ones with these items.
    Items(Items),
}

/// What items of leaves become, or that they go, by leaf.
pub type LeafEdits = HashMap<Logical, BTreeMap<Key, Option<Vec<u8>>>>;

/// The changes of one step.
#[derive(Clone, Debug, Default)]
pub struct Edits {
    /// Of leaves, whatever tree they are reached in.
    pub leaves: LeafEdits,
    /// Of leaves as one tree has them: trees that share the leaf may differ in what the items lead to.
    pub own: HashMap<u64, LeafEdits>,
    /// Of blocks that can be read and are written anew.
    pub instead: HashMap<Logical, Instead>,
    /// Of blocks that are not there: where one of several pointers leads to the block, it stays for that one.
    pub lost: HashMap<Logical, Instead>,
}

impl Edits {
    /// Whether nothing is changed.
    pub fn is_empty(&self) -> bool {
        self.leaves.is_empty() && self.own.is_empty() && self.instead.is_empty() && self.lost.is_empty()
    }

    /// Has a tree hold an item, or hold it no more. Whether it will: a block on the way may be lost.
    pub fn set(&mut self, volume: &Volume, root: &TreeRoot, key: Key, data: Option<Vec<u8>>) -> bool {
        let Some(leaf) = leaf_of(volume, root, key).filter(|leaf| !self.instead.contains_key(leaf)) else {
            return false;
        };
        self.set_in(root.key.objectid, leaf, key, data);
        true
    }

    /// The same in a leaf of the tree that is known.
    pub fn set_in(&mut self, tree: u64, leaf: Logical, key: Key, data: Option<Vec<u8>>) {
        let leaves = match objectid::may_share_blocks(tree) {
            true => self.own.entry(tree).or_default(),
            false => &mut self.leaves,
        };
        leaves.entry(leaf).or_default().insert(key, data);
    }

    /// Has a leaf hold an item, or hold it no more, for all trees that share it. Whether it will: a leaf that this step writes anew stays
    /// as that has it.
    pub fn set_for_all(&mut self, leaf: Logical, key: Key, data: Option<Vec<u8>>) -> bool {
        if self.instead.contains_key(&leaf) {
            return false;
        }
        self.leaves.entry(leaf).or_default().insert(key, data);
        true
    }

    /// What becomes of an item of a leaf, as a tree has it; nothing if it stays as it is.
    pub fn of_item(&self, tree: u64, leaf: Logical, key: Key) -> Option<&Option<Vec<u8>>> {
        let own = self.own.get(&tree).and_then(|leaves| leaves.get(&leaf)?.get(&key));
        own.or_else(|| self.leaves.get(&leaf)?.get(&key))
    }

    /// The item as it will be: what was changed of it already, or what the tree has.
    pub fn get(&self, volume: &Volume, root: &TreeRoot, key: Key) -> Option<Vec<u8>> {
        let leaf = leaf_of(volume, root, key)?;
        match self.of_item(root.key.objectid, leaf, key) {
            Some(edited) => edited.clone(),
            None => root.find(volume, key).ok().flatten(),
        }
    }
}

/// The leaf of a tree in which an item with this key belongs, if all blocks on the way to it can be read.
pub fn leaf_of(volume: &Volume, root: &TreeRoot, key: Key) -> Option<Logical> {
    let mut expected = root.expected();
    let mut buffer = Vec::new();
    // Each step goes down a level, which is verified.
    loop {
        let read = volume.read_block(&expected, &mut buffer).ok()?;
        let BlockKind::Node(node) = read.block.kind() else { return Some(expected.logical) };
        let ptrs = node.ptrs();
        let slot = ptrs.partition_point(|ptr| Key::from(&ptr.key) <= key).saturating_sub(1);
        let level = read.block.level();
        expected = Expected::child(ptrs.get(slot)?, level);
    }
}
