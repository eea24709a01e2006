//! What is free in a block group of the last commit: all of it but extents and what is never given out.

use crate::disk::extent::ExtentItem;
use crate::disk::flags::extent::TREE_BLOCK;
use crate::disk::{Key, KeyType, Logical};
use crate::error::{Addressed, Error, ExtentProblem, Result};
use crate::tree::TreeRoot;
use crate::volume::{ChunkMapping, Volume, excluded_ranges};

use super::FreeExtents;

/// All of a chunk but what is never given out.
pub fn without_excluded(chunk: &ChunkMapping) -> FreeExtents {
    let mut free = FreeExtents::default();
    free.add(chunk.logical, chunk.length);
    for (start, end) in excluded_ranges(chunk) {
        free.remove(start, end.0 - start.0);
    }
    free
}

/// What is never given out of a chunk.
pub fn excluded(chunk: &ChunkMapping) -> FreeExtents {
    let mut excluded = FreeExtents::default();
    for (start, end) in excluded_ranges(chunk) {
        excluded.remove(start, end.0 - start.0);
        excluded.add(start, end.0 - start.0);
    }
    excluded
}

/// What the extent tree of the last commit leaves of `free`, which are ranges of a chunk, and how many bytes the extents of
/// the chunk have. Extents that overlap or lie outside of it are an error: an allocation in a damaged filesystem makes the
/// damage worse.
pub fn without_extents(
    volume: &Volume,
    extent_tree: &TreeRoot,
    chunk: &ChunkMapping,
    mut free: FreeExtents,
) -> Result<(FreeExtents, u64)> {
    let mut used = 0;
    let nodesize = u64::from(volume.format().nodesize);
    let from = Key::new(chunk.logical.0, KeyType(0), 0);
    let to = Key::new(chunk.end().0 - 1, KeyType(u8::MAX), u64::MAX);
    let mut position = chunk.logical;
    let mut bad = None;
    let found = extent_tree.range(volume, from, to, |item| {
        let length = match item.key.key_type {
            KeyType::EXTENT_ITEM => item.key.offset,
            KeyType::METADATA_ITEM => nodesize,
            _ => return,
        };
        let start = Logical(item.key.objectid);
        let is_block =
            ExtentItem::read_prefix(item.data).is_some_and(|(extent, _)| extent.flags.get() & TREE_BLOCK != 0);
        let is_inside = start.checked_add(length).is_some_and(|end| end <= chunk.end());
        let problem = if start < position {
            Some(ExtentProblem::Overlaps)
        } else if !is_inside {
            Some(ExtentProblem::OutsideChunk)
        } else {
            (is_block && length != nodesize).then_some(ExtentProblem::BadItem)
        };
        if let Some(problem) = problem {
            bad = bad.or(Some((start, problem)));
            return;
        }
        position = Logical(start.0 + length);
        free.remove(start, length);
        used += length;
    });
    found.map_err(|bad| Error::Block {
        what: Addressed::ExtentTreeBlock,
        logical: bad.logical,
        problem: bad.into(),
    })?;
    match bad {
        Some((logical, problem)) => Err(Error::Block { what: Addressed::Extent, logical, problem: problem.into() }),
        None => Ok((free, used)),
    }
}
