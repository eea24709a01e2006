//! Tree blocks that cannot be used, and those that are not what their places say.

use crate::block::verify::BlockError;
use crate::disk::flags::{block_group, incompat};
use crate::disk::{Logical, objectid};
use crate::problem::{BlockProblem, Unusable};
use crate::survey::{BadBlock, Blocks, Misfit, Unread};
use crate::tree::TreeRoot;
use crate::volume::{ChunkMapping, Volume};

use super::findings::Findings;

pub fn check(volume: &Volume, blocks: &Blocks, findings: &Findings) {
    for unread in blocks.unread.iter().filter(|unread| !may_be_remapped(volume, unread.block)) {
        findings.report(problem_of(unread));
        let Unread { tree, block, .. } = *unread;
        if (tree, block) == (objectid::ROOT_TREE, volume.superblock().root()) {
            findings.report(BlockProblem::OtherRoots { tree, block });
        }
    }
    for BadBlock { tree, block, bad } in &blocks.bad {
        for copy in bad.iter().filter(|copy| !copy.is_missing()) {
            let (tree, block, problem) = (*tree, *block, copy.error.clone());
            // What parity should have yielded lies on no device.
            let Some((devid, physical)) = copy.place else { continue };
            findings.report(match problem {
                BlockError::Differs => BlockProblem::CopiesDiffer { tree, block, devid, physical },
                _ => BlockProblem::BadCopy { tree, block, devid, physical, problem },
            });
        }
    }
    for misfit in blocks.misfits.iter().copied() {
        findings.report(match misfit {
            Misfit::Owner { tree, block, have } => BlockProblem::Owner { tree, block, have, expect: tree },
            Misfit::ChunkTreeUuid { tree, block, have, expect } => {
                BlockProblem::ChunkTreeUuid { tree, block, have, expect }
            }
            Misfit::CrossesStripe { tree, block } => BlockProblem::CrossesStripe { tree, block },
            Misfit::LastKey { tree, block, have, end } => BlockProblem::LastKey { tree, block, have, expect: end },
        });
    }
    for problem in &blocks.items {
        findings.report(problem.clone());
    }
}

/// The root of the chunk tree, of a volume that was opened without it.
pub fn check_chunk_root(volume: &Volume, findings: &Findings) {
    let (root, mut buffer) = (TreeRoot::chunk_tree(volume), Vec::new());
    let bad = volume.read_block(&root.expected(), &mut buffer).map_or_else(|lost| lost.bad, |read| read.bad);
    let (tree, block, level) = (objectid::CHUNK_TREE, root.logical, root.level);
    let unread = Unread { tree, block, level, first: None, end: None, bad, is_disputed: false };
    findings.report(problem_of(&unread));
    findings.report(BlockProblem::OtherRoots { tree, block });
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
