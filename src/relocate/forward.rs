//! Trees of files with other places: the mover writes each block that moves, or leads to what moves, once at a new place, however
//! many trees share it, and all that led to it lead to the copy.

use std::collections::{HashMap, HashSet};

use crate::block::edit::NodeMut;
use crate::block::verify::Expected;
use crate::block::{Block, BlockKind};
use crate::disk::flags::{MIXED_BACKREF_REV, header::WRITTEN};
use crate::disk::node::Header;
use crate::disk::{BlockGroupFlags, Logical, MAX_LEVEL, Profile, Transid};
use crate::error::{AddressProblem, Addressed, EditError, Error, ExtentProblem, Result};
use crate::trans::Filesystem;
use crate::tree::{Tree, TreeRoot};

use super::moving::{Moving, forward_leaf};
use super::portions::in_portions;
use super::writer::Writer;

/// Leaves that are read, changed and written together by all threads.
const TOGETHER: usize = 1024;
/// Of those, what one thread takes at a time.
const PORTION: usize = 64;

/// What moves.
pub struct What<'a> {
    /// Tree blocks at these addresses.
    pub is_moved: &'a dyn Fn(Logical) -> bool,
    /// Data.
    pub moving: &'a Moving,
    /// The leaves that refer to it.
    pub leaves: &'a HashSet<Logical>,
    /// Type of the space for tree blocks.
    pub flags: BlockGroupFlags,
    /// Profile of the block groups that those at the addresses go to.
    pub profile: Profile,
}

/// A block at its new place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forwarded {
    pub to: Logical,
    /// As its header says.
    pub generation: Transid,
}

/// What became of a block.
#[derive(Clone, Copy)]
struct Became {
    /// As it was.
    generation: Transid,
    level: u8,
    forwarded: Option<Forwarded>,
}

/// A leaf that is yet to be written.
#[derive(Clone, Copy)]
struct LeafJob {
    expected: Expected,
    forwarded: Forwarded,
}

/// Rewrites trees of one filesystem.
pub struct Forwarder<'f> {
    fs: &'f Filesystem,
    what: What<'f>,
    writer: &'f Writer<'f>,
    threads: usize,
    /// All nodes, and the leaves that have another place.
    became: HashMap<Logical, Became>,
    leaves: Vec<LeafJob>,
    nodes: Vec<(Logical, Vec<u8>)>,
}

/// The root of a tree that has another place.
#[derive(Clone, Copy, Debug)]
pub struct NewRoot {
    pub root: TreeRoot,
    /// Whether a block that others may share is newer now than the last snapshot of the tree: it must count as old still
    /// (`btrfs_block_can_be_shared` in fs/btrfs/ctree.c).
    pub is_shared: bool,
}

/// A tree that is walked down.
struct Descent<'t> {
    tree: &'t Tree,
    is_shared: bool,
}

impl<'f> Forwarder<'f> {
    /// Writes to what `fs` takes of its space.
    pub fn new(fs: &'f Filesystem, what: What<'f>, writer: &'f Writer<'f>, threads: usize) -> Self {
        let (became, leaves, nodes) = Default::default();
        Self { fs, what, writer, threads, became, leaves, nodes }
    }

    /// The new root of a tree; nothing if it stays as it is. Trees that are being dropped come last: of a node on the way to
    /// what is left of them not all counts.
    ///
    /// # Errors
    /// A block that cannot be read, no space, and what cannot be written.
    pub fn forward(&mut self, tree: &Tree) -> Result<Option<NewRoot>> {
        let mut descent = Descent { tree, is_shared: false };
        let became = self.block(&mut descent, &tree.root.expected(), tree.drop_progress.is_some(), MAX_LEVEL)?;
        let Some(Forwarded { to, generation }) = became else { return Ok(None) };
        let root = TreeRoot { logical: to, generation: Some(generation), ..tree.root };
        Ok(Some(NewRoot { root, is_shared: descent.is_shared }))
    }

    /// Writes what is left to be written. Returns the blocks that have another place, by their old ones.
    ///
    /// # Errors
    /// As those of [`Forwarder::forward`].
    pub fn finish(mut self) -> Result<HashMap<Logical, Forwarded>> {
        self.write_leaves()?;
        self.writer.write_blocks(std::mem::take(&mut self.nodes))?;
        let forwarded = self.became.into_iter();
        Ok(forwarded.filter_map(|(logical, became)| Some((logical, became.forwarded?))).collect())
    }

    /// What becomes of a block, which is below a level, and of all below it.
    fn block(
        &mut self,
        descent: &mut Descent<'_>,
        expected: &Expected,
        on_dropped_path: bool,
        below: usize,
    ) -> Result<Option<Forwarded>> {
        let logical = expected.logical;
        let error = |problem| Error::Block { what: Addressed::TreeBlock, logical, problem };
        let malformed = |what| error(EditError::Malformed(what).into());
        let level = expected.level.filter(|level| usize::from(*level) < below).ok_or_else(|| malformed("level"))?;
        let generation = expected.generation.ok_or_else(|| malformed("generation"))?;
        if let Some(became) = self.became.get(&logical) {
            return match (became.generation, became.level) == (generation, level) {
                true => Ok(became.forwarded),
                false => Err(error(ExtentProblem::Mistaken.into())),
            };
        }
        let is_moved = (self.what.is_moved)(logical);
        let forwarded = match level {
            0 if !is_moved && !self.what.leaves.contains(&logical) => return Ok(None),
            0 => {
                let forwarded = self.place(generation, is_moved)?;
                self.leaves.push(LeafJob { expected: *expected, forwarded });
                Some(forwarded)
            }
            _ => self.node(descent, expected, (level, generation), on_dropped_path)?,
        };
        self.became.insert(logical, Became { generation, level, forwarded });
        if self.leaves.len() >= TOGETHER {
            self.write_leaves()?;
            self.writer.write_blocks(std::mem::take(&mut self.nodes))?;
        }
        Ok(forwarded)
    }

    /// What becomes of a node: it has another place if it moves or if what is below it does.
    fn node(
        &mut self,
        descent: &mut Descent<'_>,
        expected: &Expected,
        (level, generation): (u8, Transid),
        on_dropped_path: bool,
    ) -> Result<Option<Forwarded>> {
        let mut bytes = read(self.fs, expected)?;
        let kept = {
            let Some(BlockKind::Node(node)) = Block::new(&bytes).map(|block| block.kind()) else { return Ok(None) };
            let kept = descent.tree.kept(node.ptrs(), level, on_dropped_path);
            let children = node.ptrs().iter().enumerate().skip(kept.first);
            children.map(|(slot, ptr)| (slot, Expected::child(ptr, level), kept.is_on_path(slot))).collect::<Vec<_>>()
        };
        let mut changes = Vec::new();
        for (slot, child, on_path) in kept {
            if let Some(forwarded) = self.block(descent, &child, on_path, level.into())? {
                let last = descent.tree.origin.map(|origin| origin.last_snapshot);
                descent.is_shared |= last.is_some_and(|last| child.generation.is_some_and(|old| old <= last));
                changes.push((slot, forwarded));
            }
        }
        let is_moved = (self.what.is_moved)(expected.logical);
        if changes.is_empty() && !is_moved {
            return Ok(None);
        }
        let forwarded = self.place(generation, is_moved)?;
        let logical = expected.logical;
        let malformed =
            |problem: EditError| Error::Block { what: Addressed::TreeBlock, logical, problem: problem.into() };
        {
            let mut node = NodeMut::new(&mut bytes).map_err(malformed)?;
            for (slot, Forwarded { to, generation }) in changes {
                node.set_ptr(slot, to, generation).map_err(malformed)?;
            }
        }
        stamp(self.fs, &mut bytes, forwarded);
        self.nodes.push((forwarded.to, bytes));
        Ok(Some(forwarded))
    }

    /// A place for a block of this generation.
    fn place(&self, generation: Transid, is_moved: bool) -> Result<Forwarded> {
        let profile = is_moved.then_some(self.what.profile);
        let to = self.fs.take_block_of(self.what.flags, profile)?;
        let is_kept = self.fs.keeps_generation(generation);
        Ok(Forwarded { to, generation: if is_kept { generation } else { self.fs.generation() } })
    }

    /// Writes the leaves that wait, on all threads.
    fn write_leaves(&mut self) -> Result<()> {
        let jobs = std::mem::take(&mut self.leaves);
        let (fs, writer, moving) = (self.fs, self.writer, self.what.moving);
        in_portions(self.threads, &jobs, PORTION, |jobs| {
            let mut blocks = Vec::with_capacity(jobs.len());
            for LeafJob { expected, forwarded } in jobs {
                let mut bytes = read(fs, expected)?;
                forward_leaf(&mut bytes, expected, moving)?;
                stamp(fs, &mut bytes, *forwarded);
                blocks.push((forwarded.to, bytes));
            }
            writer.write_blocks(blocks)
        })
    }
}

fn read(fs: &Filesystem, expected: &Expected) -> Result<Vec<u8>> {
    let mut buffer = Vec::new();
    let bytes = fs.volume().read_block(expected, &mut buffer)?.block.bytes().to_vec();
    match Block::new(&bytes) {
        Some(block) if block.header().backref_rev() == MIXED_BACKREF_REV => Ok(bytes),
        _ => {
            let problem = AddressProblem::OldBackrefs;
            Err(Error::Block { what: Addressed::TreeBlock, logical: expected.logical, problem })
        }
    }
}

/// Brings the header of a block up to date, with its checksum.
fn stamp(fs: &Filesystem, bytes: &mut [u8], Forwarded { to, generation }: Forwarded) {
    if let Ok((header, _)) = <Header as zerocopy::FromBytes>::mut_from_prefix(bytes) {
        fs.set_place(header, to, generation);
        header.flags |= WRITTEN;
    }
    fs.volume().format().csum_type.stamp(bytes);
}
