//! Tree blocks: bad copies, and blocks that are not what their place says.

use crate::block::verify::Expected;
use crate::block::{Block, BlockKind};
use crate::disk::{Key, Logical, Transid};
use crate::problem::BlockProblem;

use super::super::copies::Copy;
use super::super::edits::{Instead, Items};
use super::super::fix::Fix;
use super::super::plan::Plan;

/// A problem of a block that can be read.
pub fn decide(plan: &mut Plan<'_>, problem: &BlockProblem) {
    use BlockProblem as P;
    match *problem {
        P::Owner { tree, block, .. } | P::ChunkTreeUuid { tree, block, .. } | P::CrossesStripe { tree, block } => {
            if let Some(level) = level_of(plan, block) {
                write_anew(plan, tree, block, level);
            }
        }
        P::LastKey { tree, block, expect, .. } => move_keys(plan, tree, block, expect),
        P::Unreadable { .. }
        | P::OtherRoots { .. }
        | P::BadCopy { .. }
        | P::CopiesDiffer { .. }
        | P::Disagreement { .. } => {}
    }
}

/// Good copies over bad ones.
pub fn mend_copies(plan: &mut Plan<'_>) {
    for bad in &plan.survey.blocks.bad {
        let record =
            plan.survey.blocks.records.iter_from(bad.block.0).next().filter(|record| record.logical == bad.block);
        let Some(generation) = record.map(|record| Transid(record.generation)) else { continue };
        for copy in &bad.bad {
            let Some((devid, physical)) = copy.place else { continue };
            if copy.is_missing() {
                continue;
            }
            plan.copies.push(Copy { logical: bad.block, mirror: copy.mirror, generation });
            plan.fixes.push(Fix::Copy { tree: bad.tree, block: bad.block, devid, physical });
        }
    }
}

fn read<T>(plan: &Plan<'_>, block: Logical, use_it: impl FnOnce(Block<'_>) -> T) -> Option<T> {
    let mut buffer = Vec::new();
    let read = plan.volume.read_block(&Expected::at(block), &mut buffer).ok()?;
    Some(use_it(read.block))
}

fn level_of(plan: &Plan<'_>, block: Logical) -> Option<u8> {
    read(plan, block, |block| block.level())
}

/// The data of an item of a leaf, as it will be.
pub fn item_in(plan: &Plan<'_>, leaf: Logical, key: Key) -> Option<Vec<u8>> {
    if let Some(edited) = plan.edits.leaves.get(&leaf).and_then(|edits| edits.get(&key)) {
        return edited.clone();
    }
    read(plan, leaf, |block| match block.kind() {
        BlockKind::Leaf(leaf) => leaf.items().flatten().find(|item| item.key == key).map(|item| item.data.to_vec()),
        BlockKind::Node(_) => None,
    })?
}

/// Writes a block anew with what it holds that makes sense: items in the order of their keys, pointers to blocks that are there.
pub fn write_anew(plan: &mut Plan<'_>, tree: u64, block: Logical, level: u8) {
    let volume = plan.volume;
    let instead = read(plan, block, |block| match block.kind() {
        BlockKind::Leaf(leaf) => {
            let mut items = Items::new();
            // Of two items with one key the first stays.
            for item in leaf.items().flatten() {
                items.entry(item.key).or_insert_with(|| item.data.to_vec());
            }
            Instead::Items(items)
        }
        BlockKind::Node(node) => {
            let mut buffer = Vec::new();
            let children = node.ptrs().iter().map(|ptr| Expected::child(ptr, level));
            let mut children: Vec<Expected> =
                children.filter(|child| volume.read_block(child, &mut buffer).is_ok()).collect();
            children.sort_by_key(|child| child.first_key);
            Instead::Children(children)
        }
    });
    if let Some(instead) = instead {
        plan.edits.instead.insert(block, instead);
        plan.fix(Fix::Block { tree, block });
    }
}

/// Items of a leaf that belong into its right neighbour go there.
fn move_keys(plan: &mut Plan<'_>, tree: u64, block: Logical, end: Key) {
    let Some(root) = plan.root(tree) else { return };
    let beyond = read(plan, block, |block| match block.kind() {
        BlockKind::Leaf(leaf) => {
            leaf.items().flatten().filter(|item| item.key >= end).map(|item| (item.key, item.data.to_vec())).collect()
        }
        BlockKind::Node(_) => Vec::new(),
    });
    for (key, data) in beyond.unwrap_or_default() {
        plan.edits.set_in(tree, block, key, None);
        if plan.edits.get(plan.volume, &root, key).is_none() {
            plan.edits.set(plan.volume, &root, key, Some(data));
            plan.fix(Fix::Item { tree, key, what: "it goes where its key belongs" });
        } else {
            plan.fix(Fix::ItemGone { tree, key, why: "another item has its key".to_owned() });
        }
    }
}
