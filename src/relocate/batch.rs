//! One batch: what is in some block groups goes elsewhere, in one transaction.

use std::collections::{HashMap, HashSet};

use crate::chunk::{begin, finish, with_system};
use crate::disk::flags::block_group;
use crate::disk::{BlockGroupFlags, Logical, MAX_LEVEL, Profile, objectid};
use crate::error::{Error, Result};
use crate::progress::Progress;
use crate::trans::Filesystem;
use crate::tree::TreeRoot;

use super::account::{Csums, Moves, move_extents};
use super::contents::DataExtent;
use super::copy::{Copied, copy};
use super::damage::{Damaged, files_of};
use super::forward::{Forwarded, Forwarder, What};
use super::moving::Moving;
use super::places::Places;
use super::trees::Trees;
use super::writer::Writer;

/// What is to be moved.
#[derive(Debug)]
pub struct Batch {
    /// Type bits of the block groups.
    pub flags: BlockGroupFlags,
    /// Profile of the block groups that it goes to.
    pub profile: Profile,
    /// Ranges of addresses that tree blocks are to leave, start and end, in order.
    pub ranges: Vec<(Logical, Logical)>,
    /// Extents of data, by address.
    pub data: Vec<DataExtent>,
    /// Tree blocks in the ranges.
    pub blocks: u64,
}

/// What was moved.
#[derive(Debug, Default)]
pub struct Done {
    /// Bytes of data.
    pub data_bytes: u64,
    /// Tree blocks that were written anew, but for those that describe space.
    pub tree_blocks: u64,
    /// Bytes that were taken from another copy.
    pub healed_bytes: u64,
    /// What is bad in every copy.
    pub damaged: Vec<Damaged>,
    /// Bytes that have left the block groups without being copied: tree blocks, and data that is only preallocated.
    pub bytes_left: u64,
}

impl Batch {
    fn has(&self, logical: Logical) -> bool {
        let index = self.ranges.partition_point(|(_, end)| *end <= logical);
        self.ranges.get(index).is_some_and(|(start, _)| *start <= logical)
    }

    /// Bytes of tree blocks in the ranges.
    pub fn block_bytes(&self, nodesize: u32) -> u64 {
        self.blocks.saturating_mul(nodesize.into())
    }

    /// Places for the data, and the bytes that have none.
    ///
    /// # Errors
    /// The free space of a block group cannot be read.
    pub fn place(&self, fs: &Filesystem) -> Result<(Vec<(DataExtent, Logical)>, u64)> {
        if self.data.is_empty() {
            return Ok((Vec::new(), 0));
        }
        let free = fs.free_ranges(self.flags, self.profile)?;
        let mut most = fs.space().info(self.flags).available();
        if self.flags.contains(block_group::METADATA) {
            // Tree blocks have the same room.
            most = most.saturating_sub(self.block_bytes(fs.volume().format().nodesize).saturating_mul(2));
        }
        Ok(Places::new(free, fs.volume().format().sectorsize).fill(&self.data, most))
    }

    /// Moves as much of the batch as there is room for; the block groups are closed to everything new.
    ///
    /// # Errors
    /// No space, damage, what cannot be read or written: the transaction is to be dropped.
    pub fn run(&self, fs: &Filesystem, threads: usize, progress: &Progress) -> Result<Done> {
        // To make room for them, blocks may have been copied that were all there was.
        if self.used(fs).iter().all(|used| *used == 0) {
            return Ok(Done::default());
        }
        if self.flags.contains(block_group::SYSTEM) {
            return self.leave_chunk_tree(fs);
        }
        let volume = fs.volume();
        let trees = Trees::read(volume)?;
        let used = self.used(fs);
        let (placed, _) = self.place(fs)?;
        placed.iter().for_each(|(extent, to)| fs.space().take_range(*to, extent.length));
        let moving = Moving::new(placed);
        let leaves = moving.find_leaves(volume, &trees.files, threads)?;
        if progress.is_stopped() {
            return Err(Error::Interrupted);
        }
        let writer = Writer::new(fs);
        let blocks = self.forward(fs, &trees, &moving, &leaves, &writer, threads)?;
        let csums = Csums::read(fs, &moving)?;
        csums.forward(fs, &moving)?;
        let is_closed = |logical| self.has(logical);
        let extent_tree = TreeRoot::root_tree(volume).find_child(volume, objectid::EXTENT_TREE)?;
        let no_tree = Error::NoTree { tree: objectid::EXTENT_TREE, name: "EXTENT_TREE" };
        let moves = Moves { blocks: &blocks, moving: &moving, is_closed: &is_closed };
        move_extents(fs, &extent_tree.ok_or(no_tree)?, &moves)?;
        let nodesize = u64::from(volume.format().nodesize);
        blocks.keys().for_each(|logical| fs.space().free(*logical, nodesize));
        moving.iter().for_each(|(extent, _)| fs.space().free(extent.start, extent.length));
        let own = if self.blocks > 0 { fs.leave_blocks(&trees.others, &is_closed)? } else { 0 };
        // Whatever lacks room has said so before the first byte of data is copied.
        fs.flush()?;
        self.verify_left(fs, &used, &moving)?;
        let copies = moving.copies(|extent| csums.any_of(extent));
        let copied = match fs.is_rehearsal() {
            true => Copied::default(),
            false => copy(fs, &copies, &csums, &writer, threads, progress)?,
        };
        let copied_bytes: u64 = copies.iter().map(|copy| copy.length).sum();
        Ok(Done {
            data_bytes: moving.bytes(),
            tree_blocks: blocks.len() as u64 + own,
            healed_bytes: copied.healed,
            damaged: files_of(volume, &trees.files, &copied.lost, threads),
            bytes_left: moving.bytes() - copied_bytes + self.block_bytes(volume.format().nodesize),
        })
    }

    /// Bytes in use in the block groups, each by its start.
    fn used(&self, fs: &Filesystem) -> Vec<u64> {
        let space = fs.space();
        self.ranges.iter().map(|(start, _)| space.group(*start).map_or(0, |group| group.used)).collect()
    }

    /// Whether what was to leave the block groups has left them: extents that nothing leads to stay where they are.
    fn verify_left(&self, fs: &Filesystem, used: &[u64], moving: &Moving) -> Result<()> {
        let left = self.used(fs);
        let stays = |start: Logical, end: Logical| {
            let data = self.data.iter().filter(|extent| start <= extent.start && extent.start < end);
            data.filter(|extent| moving.to(extent.start).is_none()).map(|extent| extent.length).sum::<u64>()
        };
        for ((start, end), left) in self.ranges.iter().zip(&left) {
            let is_whole = fs.space().group(*start).is_some_and(|group| group.end() == *end);
            if is_whole && *left > stays(*start, *end) {
                let problem = format!("block group {start} has extents that belong to no tree");
                return Err(Error::Damaged { problem });
            }
        }
        match left.iter().sum::<u64>() < used.iter().sum() {
            true => Ok(()),
            false => Err(Error::Damaged { problem: "there are extents that belong to no tree".to_owned() }),
        }
    }

    /// Gives all blocks of trees of files that have to change other places, and the root items the new roots.
    fn forward(
        &self,
        fs: &Filesystem,
        trees: &Trees,
        moving: &Moving,
        leaves: &HashSet<Logical>,
        writer: &Writer<'_>,
        threads: usize,
    ) -> Result<HashMap<Logical, Forwarded>> {
        let is_moved = |logical| self.blocks > 0 && self.has(logical);
        let flags = BlockGroupFlags(block_group::METADATA);
        let what = What { is_moved: &is_moved, moving, leaves, flags, profile: self.profile };
        let mut forwarder = Forwarder::new(fs, what, writer, threads);
        for tree in &trees.files {
            if let Some(new) = forwarder.forward(tree)? {
                fs.move_root(&new.root, new.is_shared.then_some(fs.generation()))?;
            }
        }
        forwarder.finish()
    }

    /// The chunk tree leaves SYSTEM block groups.
    fn leave_chunk_tree(&self, fs: &Filesystem) -> Result<Done> {
        let used = self.used(fs);
        let mut handle = begin(fs, 0)?;
        let left = {
            let mut chunks = fs.chunks();
            // Those above them are copied, too.
            let blocks = self.blocks.saturating_add(MAX_LEVEL as u64);
            let bytes = blocks.saturating_mul(fs.volume().format().nodesize.into());
            let is_left = |logical| self.has(logical);
            with_system(&mut handle, &mut chunks, bytes, |chunks| chunks.tree.edit(fs, |editor| editor.leave(&is_left)))
        };
        finish(handle)?;
        let tree_blocks = left?;
        fs.flush()?;
        self.verify_left(fs, &used, &Moving::default())?;
        let bytes_left = tree_blocks.saturating_mul(fs.volume().format().nodesize.into());
        Ok(Done { tree_blocks, bytes_left, ..Done::default() })
    }
}
