//! The parts that data is verified in, in the order of addresses, each with the leaves that hold its checksums.

use std::collections::VecDeque;
use std::iter::Peekable;

use crate::block::verify::Expected;
use crate::disk::flags::block_group;
use crate::disk::flags::extent::TREE_BLOCK;
use crate::disk::{Logical, STRIPE_LEN};
use crate::tree::{Levels, Tree, Walk};
use crate::volume::{ChunkMapping, Volume};

use super::super::csums::CsumRuns;
use super::super::extent_list::ExtentList;

/// Bytes of data in a segment, if the rows of its chunk are not longer.
const LENGTH: u64 = 16 << 20;

/// The same range of all stripes of a chunk.
pub struct Segment<'v> {
    pub chunk: &'v ChunkMapping,
    /// Bytes into each stripe; multiples of [`STRIPE_LEN`] where the chunk is striped, but for the end of the chunk.
    pub start: u64,
    pub end: u64,
    /// Of the checksum tree.
    pub leaves: Vec<Expected>,
    /// Tree blocks that have parity, first and last byte.
    pub tree_blocks: Vec<(Logical, Logical)>,
}

impl Segment<'_> {
    /// The addresses of its data.
    pub fn logical(&self) -> (Logical, Logical) {
        logical(self.chunk, self.start, self.end)
    }
}

fn logical(chunk: &ChunkMapping, start: u64, end: u64) -> (Logical, Logical) {
    let at = |offset: u64| Logical(chunk.logical.0.saturating_add(offset.saturating_mul(chunk.data_stripes())));
    (at(start), at(end).min(chunk.end()))
}

/// Yields all segments with data that has checksums, or tree blocks that have parity.
pub struct Segments<'a> {
    chunks: std::vec::IntoIter<&'a ChunkMapping>,
    current: Option<(&'a ChunkMapping, u64)>,
    walk: Peekable<Box<dyn Iterator<Item = Expected> + Send + 'a>>,
    /// Leaves that the next segment may need.
    held: VecDeque<Expected>,
    csums: &'a CsumRuns,
    extents: &'a ExtentList,
    nodesize: u64,
}

impl<'a> Segments<'a> {
    pub fn new(
        volume: &'a Volume,
        chunks: Vec<&'a ChunkMapping>,
        csum_trees: impl Iterator<Item = &'a Tree> + Send + 'a,
        csums: &'a CsumRuns,
        extents: &'a ExtentList,
    ) -> Self {
        let leaves = csum_trees.flat_map(|tree| Walk::new(volume, tree.root.expected(), Levels::Leaves));
        let walk: Box<dyn Iterator<Item = Expected> + Send + 'a> = Box::new(leaves);
        let (current, held) = Default::default();
        let nodesize = volume.format().nodesize.into();
        Self { chunks: chunks.into_iter(), current, walk: walk.peekable(), held, csums, extents, nodesize }
    }

    /// The leaves that may hold checksums of `start..end`.
    fn leaves(&mut self, start: Logical, end: Logical) -> Vec<Expected> {
        while let Some(leaf) = self.walk.next_if(|leaf| first(leaf) < end.0) {
            self.held.push_back(leaf);
        }
        while self.held.get(1).is_some_and(|next| first(next) <= start.0) {
            self.held.pop_front();
        }
        self.held.iter().copied().collect()
    }

    /// Tree blocks in a chunk with parity.
    fn tree_blocks(&self, chunk: &ChunkMapping, start: Logical, end: Logical) -> Vec<(Logical, Logical)> {
        let holds_blocks = chunk.flags.0 & (block_group::METADATA | block_group::SYSTEM) != 0;
        if chunk.profile.geometry().nparity == 0 || !holds_blocks {
            return Vec::new();
        }
        let extents = self.extents.range(Logical(start.0.saturating_sub(self.nodesize)), end);
        extents.filter(|extent| extent.flags & TREE_BLOCK != 0).map(|extent| (extent.logical, extent.end())).collect()
    }
}

/// The first address that a leaf has checksums of. That of a root is not known.
fn first(leaf: &Expected) -> u64 {
    leaf.first_key.map_or(0, |key| key.offset)
}

impl<'a> Iterator for Segments<'a> {
    type Item = Segment<'a>;

    fn next(&mut self) -> Option<Segment<'a>> {
        loop {
            let (chunk, start) = match self.current.take() {
                Some(current) => current,
                None => (self.chunks.next()?, 0),
            };
            // The last row of an odd chunk is cut: its addresses end with the chunk.
            let size = match chunk.is_striped() {
                true => chunk.stripe_size().next_multiple_of(STRIPE_LEN),
                false => chunk.length,
            };
            let step = (LENGTH / chunk.data_stripes()).next_multiple_of(STRIPE_LEN);
            let end = start.saturating_add(step).min(size);
            if end < size {
                self.current = Some((chunk, end));
            }
            let (first, last) = logical(chunk, start, end);
            let tree_blocks = self.tree_blocks(chunk, first, last);
            let has_csums = self.csums.is_any(first, last.0.saturating_sub(first.0));
            if has_csums || !tree_blocks.is_empty() {
                let leaves = if has_csums { self.leaves(first, last) } else { Vec::new() };
                return Some(Segment { chunk, start, end, leaves, tree_blocks });
            }
        }
    }
}
