//! Blocks that can be read, and in which one flipped bit is all that is wrong.

use std::collections::HashSet;

use crate::block::item::Rules;
use crate::block::verify::Expected;
use crate::block::{Block, BlockKind};
use crate::disk::node::{HEADER_SIZE, Item, KeyPtr};
use crate::disk::{Logical, objectid};
use crate::finding::{Finding, Severity};
use crate::survey::Misfit;

use super::super::fix::Fix;
use super::super::flip::unflip;
use super::super::plan::Plan;
use super::lost::{place_of, whole};
use super::parents::parents;

/// Blocks that are tried: where more are damaged, no bit is all that is wrong.
const MOST: usize = 200;

/// Puts back the one bit that is wrong in damaged blocks, where there is a proof for it. Returns these blocks.
pub fn decide(plan: &mut Plan<'_>, threads: usize) -> HashSet<Logical> {
    let blocks = &plan.survey.blocks;
    let items = blocks.items.iter().filter(|problem| problem.severity() >= Severity::Error);
    let is_derived = |tree: u64| {
        matches!(
            tree,
            objectid::EXTENT_TREE | objectid::FREE_SPACE_TREE | objectid::BLOCK_GROUP_TREE | objectid::DEV_TREE
        )
    };
    let mut damaged: HashSet<Logical> =
        items.filter(|problem| !is_derived(problem.place.tree)).map(|problem| problem.place.block).collect();
    for misfit in &blocks.misfits {
        if let Misfit::LastKey { block, .. } = misfit {
            damaged.insert(*block);
        }
    }
    let mut mended = HashSet::new();
    if damaged.is_empty() || damaged.len() > MOST {
        return mended;
    }
    let rules = Rules::new(plan.volume.format(), plan.volume.superblock());
    for (logical, parents) in parents(plan, &damaged) {
        let mut buffer = Vec::new();
        let Some(parent) = parents.first() else { continue };
        let Ok(read) = plan.volume.read_block(&Expected::at(logical), &mut buffer) else { continue };
        let bytes = read.block.bytes().to_vec();
        let Some(flip) = unflip(&bytes, &place_of(plan, parent.tree, parent, None, &rules), threads) else { continue };
        let Some(block) = Block::new(&flip.bytes).filter(|block| keeps_items(&bytes, *block)) else { continue };
        let instead = whole(block);
        plan.edits.instead.insert(logical, instead);
        let (offset, field) = (flip.offset as u64, flip.field.to_string());
        plan.fix(Fix::Flip { tree: parent.tree, block: logical, offset, bit: flip.bit, field });
        mended.insert(logical);
    }
    mended
}

/// Whether all that a block holds is still there with one bit put back: of elements that are no more each byte was zero.
fn keeps_items(before: &[u8], after: Block<'_>) -> bool {
    let Some(old) = Block::new(before) else { return false };
    let size = match after.kind() {
        BlockKind::Leaf(_) => size_of::<Item>(),
        BlockKind::Node(_) => size_of::<KeyPtr>(),
    };
    let at = |count: usize| HEADER_SIZE + count * size;
    let gone = before.get(at(after.count().min(old.count()))..at(old.count())).unwrap_or_default();
    after.count() > 0 && after.level() == old.level() && gone.iter().all(|byte| *byte == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_bit_of_a_count_takes_items_away() {
        let mut bytes = vec![0; 4096];
        bytes[96] = 33;
        bytes[HEADER_SIZE..HEADER_SIZE + 33 * size_of::<Item>()].fill(7);
        let mut flipped = bytes.clone();
        flipped[96] = 1;
        assert!(!keeps_items(&bytes, Block::new(&flipped).unwrap()));
        // What was never there may go.
        bytes[HEADER_SIZE + size_of::<Item>()..].fill(0);
        assert!(keeps_items(&bytes, Block::new(&flipped).unwrap()));
    }
}
