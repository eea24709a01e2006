//! Trees with what was changed in them: new blocks where something below them changed, the old ones elsewhere.
//!
//! Blocks that trees share stay shared: each is rewritten once, and all that lead to it lead to what came of it.

use std::collections::HashMap;

use crate::block::edit::{LeafMut, NewItem, NodeMut};
use crate::block::verify::Expected;
use crate::block::{Block, BlockKind};
use crate::disk::node::{KeyPtr, leaf_data_size, node_ptrs};
use crate::disk::{Key, Logical, MAX_LEVEL, Transid};
use crate::error::{Error, Result, TreeProblem};
use crate::tree::{Tree, TreeRoot, promise};

use super::draft::Draft;
use super::edits::{Edits, Instead, Items, LeafEdits, Part};

/// A pointer to a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ptr {
    key: Key,
    logical: Logical,
    generation: Transid,
}

impl Ptr {
    fn to(expected: &Expected) -> Self {
        let (key, generation) = (expected.first_key.unwrap_or_default(), expected.generation.unwrap_or_default());
        Self { key, logical: expected.logical, generation }
    }

    fn disk(&self) -> KeyPtr {
        KeyPtr { key: self.key.into(), blockptr: self.logical.0.into(), generation: self.generation.0.into() }
    }
}

/// What becomes of a block.
#[derive(Clone, Debug)]
enum Becomes {
    Same,
    /// Pointers to what stands in its place, on its level.
    Blocks(Vec<Ptr>),
}

/// Rewrites trees of one filesystem.
pub struct Rewriter<'r> {
    draft: &'r mut Draft,
    edits: &'r Edits,
    /// By address and what the pointer says, and the tree if it has changes of its own; with the first tree.
    done: HashMap<(Logical, u64, Option<u64>), (u64, Becomes)>,
    /// Changes that the tree has for itself.
    own: Option<&'r LeafEdits>,
    /// Whether a block that was rewritten belongs to more than one tree.
    pub is_shared: bool,
}

impl<'r> Rewriter<'r> {
    /// Makes `edits` in new blocks of `draft`.
    pub fn new(draft: &'r mut Draft, edits: &'r Edits) -> Self {
        Self { draft, edits, done: HashMap::new(), own: None, is_shared: false }
    }

    /// The root of the tree with its changes; nothing if there are none. A tree that is `due` gets a new root in any case.
    ///
    /// # Errors
    /// No space, and what cannot be written.
    pub fn rewrite(&mut self, tree: &Tree, is_due: bool) -> Result<Option<TreeRoot>> {
        let (id, root) = (tree.id(), &tree.root);
        self.own = self.edits.own.get(&id);
        let becomes = self.block(id, &root.expected(), Some(is_due))?;
        let Becomes::Blocks(mut ptrs) = becomes else { return Ok(None) };
        let mut level = root.level;
        if ptrs.is_empty() {
            level = 0;
            let mut bytes = self.draft.new_block(id, 0)?;
            ptrs.push(self.place(id, Key::MIN, &mut bytes)?);
        }
        while ptrs.len() > 1 {
            level += 1;
            if usize::from(level) >= MAX_LEVEL {
                return Err(Error::Tree { tree: id, problem: TreeProblem::TooHigh });
            }
            ptrs = self.nodes(id, id, level, &ptrs)?;
        }
        let generation = Some(self.draft.generation());
        Ok(ptrs.first().map(|ptr| TreeRoot { key: root.key, logical: ptr.logical, level, generation }))
    }

    /// What becomes of a block of a tree, and of all below it. Of a root it is told whether it is due to be written.
    fn block(&mut self, tree: u64, expected: &Expected, root: Option<bool>) -> Result<Becomes> {
        let pointer = (expected.logical, promise(expected), self.own.map(|_| tree));
        if let Some((first, becomes)) = self.done.get(&pointer) {
            self.is_shared |= *first != tree && matches!(becomes, Becomes::Blocks(_));
            return Ok(becomes.clone());
        }
        let is_due = root == Some(true);
        let logical = expected.logical;
        let (edits, level) = (self.edits, expected.level.unwrap_or_default());
        let is_touched = is_due
            || level > 0
            || edits.leaves.contains_key(&logical)
            || self.own.is_some_and(|own| own.contains_key(&logical))
            || edits.instead.contains_key(&logical)
            || edits.lost.contains_key(&logical);
        let becomes = if is_touched { self.present(tree, expected, root)? } else { Becomes::Same };
        self.done.insert(pointer, (tree, becomes.clone()));
        Ok(becomes)
    }

    /// A block that is written anew; without anything in its place it stays.
    fn instead(&mut self, tree: u64, expected: &Expected, instead: Option<&Instead>) -> Result<Becomes> {
        match instead {
            None => Ok(Becomes::Same),
            Some(Instead::Items(items)) => {
                let leaves = self.leaves(tree, tree, items)?;
                self.raise(tree, leaves, expected.level).map(Becomes::Blocks)
            }
            Some(Instead::Leaves(parts)) => {
                let mut leaves = Vec::new();
                for part in parts {
                    match part {
                        Part::Block(leaf) => leaves.push(Ptr::to(leaf)),
                        Part::Items(items) => leaves.extend(self.leaves(tree, tree, items)?),
                    }
                }
                leaves.sort_by_key(|ptr| ptr.key);
                leaves.dedup_by_key(|ptr| ptr.key);
                self.raise(tree, leaves, expected.level).map(Becomes::Blocks)
            }
            Some(Instead::Same(other)) => match self.block(tree, other, None)? {
                Becomes::Same => Ok(Becomes::Blocks(vec![Ptr::to(other)])),
                becomes => Ok(becomes),
            },
            Some(Instead::Children(children)) => {
                let (_, ptrs) = self.children(tree, children)?;
                self.nodes(tree, tree, expected.level.unwrap_or_default(), &ptrs).map(Becomes::Blocks)
            }
        }
    }

    /// Puts leaves below nodes, up to a level.
    fn raise(&mut self, tree: u64, mut ptrs: Vec<Ptr>, level: Option<u8>) -> Result<Vec<Ptr>> {
        for level in 1..=level.unwrap_or_default() {
            ptrs = if ptrs.is_empty() { ptrs } else { self.nodes(tree, tree, level, &ptrs)? };
        }
        Ok(ptrs)
    }

    /// What becomes of a block that can be read. One that cannot be, and for which there is nothing instead, stays.
    fn present(&mut self, tree: u64, expected: &Expected, root: Option<bool>) -> Result<Becomes> {
        let mut buffer = Vec::new();
        let bytes = match self.draft.volume().read_block(expected, &mut buffer) {
            Ok(read) => read.block.bytes().to_vec(),
            Err(_) => return self.instead(tree, expected, self.edits.lost.get(&expected.logical)),
        };
        let instead = self.edits.instead.get(&expected.logical);
        let (Some(block), None) = (Block::new(&bytes), instead) else { return self.instead(tree, expected, instead) };
        // A block that one tree changes for itself is that tree's own.
        let is_own = root.is_some() || self.own.is_some();
        let owner = if is_own { tree } else { block.header().owner.get() };
        match block.kind() {
            BlockKind::Leaf(leaf) => {
                let mut items: Items = leaf.items().flatten().map(|item| (item.key, item.data.to_vec())).collect();
                let own = self.own.and_then(|own| own.get(&expected.logical));
                for (key, data) in self.edits.leaves.get(&expected.logical).into_iter().chain(own).flatten() {
                    match data {
                        Some(data) => items.insert(*key, data.clone()),
                        None => items.remove(key),
                    };
                }
                self.leaves(tree, owner, &items).map(Becomes::Blocks)
            }
            BlockKind::Node(node) => {
                let level = block.level();
                let children: Vec<Expected> = node.ptrs().iter().map(|ptr| Expected::child(ptr, level)).collect();
                let (is_changed, ptrs) = self.children(tree, &children)?;
                match is_changed || root == Some(true) {
                    true => self.nodes(tree, owner, level, &ptrs).map(Becomes::Blocks),
                    false => Ok(Becomes::Same),
                }
            }
        }
    }

    /// Whether anything below a node changes, and the pointers to what is below it then.
    fn children(&mut self, tree: u64, children: &[Expected]) -> Result<(bool, Vec<Ptr>)> {
        let mut ptrs: Vec<Ptr> = Vec::new();
        let mut is_changed = false;
        for child in children {
            match self.block(tree, child, None)? {
                Becomes::Same => ptrs.push(Ptr::to(child)),
                Becomes::Blocks(blocks) => {
                    is_changed = true;
                    ptrs.extend(blocks);
                }
            }
        }
        ptrs.sort_by_key(|ptr| ptr.key);
        ptrs.dedup_by_key(|ptr| ptr.key);
        Ok((is_changed, ptrs))
    }

    /// Packs pointers into nodes of a level.
    fn nodes(&mut self, tree: u64, owner: u64, level: u8, ptrs: &[Ptr]) -> Result<Vec<Ptr>> {
        let most = node_ptrs(self.draft.form(owner).nodesize) as usize;
        let mut nodes = Vec::new();
        for some in even_parts(ptrs, most) {
            let mut bytes = self.draft.new_block(owner, level)?;
            let disk: Vec<KeyPtr> = some.iter().map(Ptr::disk).collect();
            NodeMut::new(&mut bytes).and_then(|mut node| node.insert(0, &disk)).map_err(|error| internal(&error))?;
            let key = some.first().map_or(Key::MIN, |ptr| ptr.key);
            nodes.push(self.place(tree, key, &mut bytes)?);
        }
        Ok(nodes)
    }

    /// Packs items into leaves.
    fn leaves(&mut self, tree: u64, owner: u64, items: &Items) -> Result<Vec<Ptr>> {
        let capacity = leaf_data_size(self.draft.form(owner).nodesize) as usize;
        let mut leaves = Vec::new();
        let mut rest: Vec<NewItem<'_>> = items.iter().map(|(key, data)| NewItem { key: *key, data }).collect();
        while let Some(first) = rest.first().map(|item| item.key) {
            let mut room = capacity;
            let fits = |item: &&NewItem<'_>| {
                let left = room.checked_sub(item.space());
                room = left.unwrap_or_default();
                left.is_some()
            };
            let count = rest.iter().take_while(fits).count();
            if count == 0 {
                let problem = crate::error::EditProblem::TooLarge { size: rest[0].data.len(), limit: capacity };
                return Err(Error::Edit { tree, key: first, problem });
            }
            let later = rest.split_off(count);
            let mut bytes = self.draft.new_block(owner, 0)?;
            LeafMut::new(&mut bytes).and_then(|mut leaf| leaf.insert(0, &rest)).map_err(|error| internal(&error))?;
            leaves.push(self.place(tree, first, &mut bytes)?);
            rest = later;
        }
        Ok(leaves)
    }

    fn place(&mut self, tree: u64, key: Key, bytes: &mut [u8]) -> Result<Ptr> {
        let logical = self.draft.place(tree, bytes)?;
        Ok(Ptr { key, logical, generation: self.draft.generation() })
    }
}

/// As few parts as hold no more than `most` each, of nearly one length.
fn even_parts<T>(all: &[T], most: usize) -> impl Iterator<Item = &[T]> {
    let parts = all.len().div_ceil(most.max(1)).max(1);
    all.chunks(all.len().div_ceil(parts).max(1))
}

fn internal(error: &crate::block::edit::EditError) -> Error {
    Error::Internal { problem: format!("new block: {error}") }
}
