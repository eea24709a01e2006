//! Tree blocks that cannot be used, and those that are not what their places say.

use crate::block::verify::BlockError;
use crate::disk::Logical;
use crate::disk::flags::{block_group, incompat};
use crate::problem::{BlockProblem, Unusable};
use crate::survey::{BadBlock, Blocks, Misfit, Unread};
use crate::volume::{ChunkMapping, Volume};

use super::findings::Findings;

pub fn check(volume: &Volume, blocks: &Blocks, findings: &Findings) {
    for unread in blocks.unread.iter().filter(|unread| !may_be_remapped(volume, unread.block)) {
        findings.report(problem_of(unread));
    }
    for BadBlock { tree, block, bad } in &blocks.bad {
        for copy in bad.iter().filter(|copy| !copy.is_missing()) {
            let (tree, block, problem) = (*tree, *block, copy.error.clone());
            // What parity should have yielded lies on no device.
            if let Some((devid, physical)) = copy.place {
                findings.report(BlockProblem::BadCopy { tree, block, devid, physical, problem });
            }
        }
    }
    for misfit in blocks.misfits.iter().copied() {
        findings.report(match misfit {
            Misfit::Owner { tree, block, have } => BlockProblem::Owner { tree, block, have, expect: tree },
            Misfit::ChunkTreeUuid { tree, block, have, expect } => {
                BlockProblem::ChunkTreeUuid { tree, block, have, expect }
            }
            Misfit::LastKey { tree, block, have, end } => BlockProblem::LastKey { tree, block, have, expect: end },
        });
    }
    for problem in &blocks.items {
        findings.report(problem.clone());
    }
}

/// Whether the block may lie where only the remap tree tells, which is not understood.
fn may_be_remapped(volume: &Volume, block: Logical) -> bool {
    let is_remapped = |chunk: &ChunkMapping| chunk.flags.contains(block_group::REMAPPED);
    volume.superblock().has_incompat(incompat::REMAP_TREE) && volume.chunks().find(block).is_none_or(is_remapped)
}

fn problem_of(unread: &Unread) -> BlockProblem {
    let Unread { tree, block, level, .. } = *unread;
    if unread.is_disputed {
        return BlockProblem::Disagreement { tree, block };
    }
    let telling = unread.bad.iter().map(|copy| &copy.error).find(|error| !matches!(error, BlockError::Missing { .. }));
    let problem = match telling {
        Some(error) => Unusable::Bad(error.clone()),
        None if unread.bad.is_empty() => Unusable::NoChunk,
        None => Unusable::Missing,
    };
    BlockProblem::Unreadable { tree, block, level, problem }
}
