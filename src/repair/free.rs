//! Where a repair may write: what no survey reached, and what no extent item claims.
//!
//! A damaged extent tree, free space tree or used count does not decide where a repair writes. Nor does what it could not read:
//! an extent that only the extent tree knows of may hang below a lost block.

use crate::disk::flags::block_group::{METADATA, SYSTEM};
use crate::disk::{Logical, objectid};
use crate::error::{Error, Result};
use crate::space::{FreeExtents, without_excluded};
use crate::survey::Survey;
use crate::volume::{ChunkMapping, Device, Volume};

/// Whether blocks can be written to a chunk: seeds are not written, and no more devices are missing than it can do without.
fn is_writable(volume: &Volume, chunk: &ChunkMapping) -> bool {
    let devices = || chunk.stripes.iter().map(|stripe| volume.device(stripe));
    let missing = devices().filter(Option::is_none).count();
    missing <= usize::from(chunk.profile.geometry().tolerated_failures) && !devices().flatten().any(Device::is_seed)
}

/// Space for tree blocks.
#[derive(Clone)]
pub struct FreeBlocks {
    nodesize: u32,
    groups: Vec<Group>,
}

#[derive(Clone)]
struct Group {
    flags: u64,
    /// Of chunks with parity those in rows that hold nothing else.
    free: FreeExtents,
    /// Where earlier versions of blocks stand, which a later step may want.
    former: FreeExtents,
    /// The rest of it: writing there changes the parity of what is in use.
    partial: FreeExtents,
}

impl FreeBlocks {
    /// What is free in the chunks of `volume` that are for tree blocks, by each of `surveys`. They have kept their blocks.
    ///
    /// # Errors
    /// Records that cannot be read.
    pub fn new(volume: &Volume, surveys: &[&Survey]) -> Result<Self> {
        let nodesize = volume.format().nodesize;
        let for_blocks = |chunk: &&ChunkMapping| chunk.flags.0 & (METADATA | SYSTEM) != 0;
        let mut groups = Vec::new();
        for chunk in volume.chunks().iter().filter(for_blocks).filter(|chunk| is_writable(volume, chunk)) {
            let mut free = without_excluded(chunk);
            for survey in surveys {
                for extent in survey.used_over(chunk.logical, chunk.end(), nodesize) {
                    // No extent goes on in another chunk: the length of an extent that would is wrong.
                    if volume.chunks().find(extent.logical).is_some_and(|other| other.logical < chunk.logical) {
                        continue;
                    }
                    free.remove(extent.logical, extent.length);
                }
                for extent in survey.claims.extents.range(chunk.logical, chunk.end()) {
                    free.remove(extent.logical, extent.length);
                }
            }
            let (free, partial) = match chunk.row_length() {
                Some(row) => free.split_rows(chunk.logical, row),
                None => (free, FreeExtents::default()),
            };
            groups.push(Group { flags: chunk.flags.0, free, former: FreeExtents::default(), partial });
        }
        match surveys.iter().find_map(|survey| survey.failure()) {
            Some(failure) => Err(Error::Temporary(failure)),
            None => Ok(Self { nodesize, groups }),
        }
    }

    /// Has the places of `former` blocks, which are sorted, taken only if no others are left.
    pub fn spare(&mut self, former: &[Logical]) {
        let nodesize = u64::from(self.nodesize);
        for Group { free, former: spared, .. } in &mut self.groups {
            let ranges: Vec<(Logical, u64)> = free.iter().collect();
            for (start, length) in ranges {
                let end = Logical(start.0.saturating_add(length));
                let mut behind = start;
                let from = former.partition_point(|block| *block < start);
                for block in former[from..].iter().take_while(|block| **block < end) {
                    let next = Logical(block.0.saturating_add(nodesize));
                    if *block >= behind && next <= end {
                        free.remove(*block, nodesize);
                        spared.add(*block, nodesize);
                        behind = next;
                    }
                }
            }
        }
    }

    /// Takes the space of a block of `tree`.
    ///
    /// # Errors
    /// [`Error::NoSpace`]
    pub fn take(&mut self, tree: u64) -> Result<Logical> {
        let (bit, what) = match tree {
            objectid::CHUNK_TREE => (SYSTEM, "system"),
            _ => (METADATA, "metadata"),
        };
        let nodesize = self.nodesize;
        let of_kind = |groups: &mut Vec<Group>, take: fn(&mut Group) -> &mut FreeExtents| {
            groups.iter_mut().filter(|group| group.flags & bit != 0).find_map(|group| take(group).take_block(nodesize))
        };
        let block = of_kind(&mut self.groups, |group| &mut group.free);
        let block = block.or_else(|| of_kind(&mut self.groups, |group| &mut group.former));
        let block = block.or_else(|| of_kind(&mut self.groups, |group| &mut group.partial));
        let left = self.groups.iter().filter(|group| group.flags & bit != 0).map(|group| group.free.bytes()).sum();
        block.ok_or(Error::NoSpace { what, wanted: nodesize.into(), left })
    }
}
