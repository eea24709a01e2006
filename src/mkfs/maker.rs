//! A filesystem while it is made: what is put into it, and what of that must be known in the end.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};

use crate::disk::flags::incompat;
use crate::disk::inode::Timespec;
use crate::disk::{Logical, Transid, objectid};
use crate::error::{Error, Result};
use crate::image::{Image, Origin};
use crate::parallel::lock;
use crate::rebuild::{BlockRef, CsumTree, DataRange, DataRef};
use crate::table::{MemoryBudget, Part, Writer};
use crate::tree::build::{Builder, BuiltBlock, BuiltTree, NewTree, Store};
use crate::volume::MkfsWriter;

use super::estimate::Estimate;
use super::features::Quotas;
use super::layout::{ChunkKind, Layout};
use super::options::Options;

/// The one transaction that a new filesystem has seen.
pub const GENERATION: Transid = Transid(1);

/// A device that the filesystem is made on.
#[derive(Debug)]
pub struct NewDevice {
    /// The image.
    pub image: Image,
    /// Bytes of the filesystem on it.
    pub size: u64,
    /// Whether the image, a file, becomes larger if the content needs that.
    pub grows: bool,
}

/// A subvolume other than the top-level tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subvolume {
    /// The id of its tree.
    pub id: u64,
    /// The tree in which its name stands, and there the directory, its index and the name.
    pub parent: u64,
    pub directory: u64,
    pub index: u64,
    pub name: Vec<u8>,
    pub read_only: bool,
}

/// A filesystem that is being made. It takes content from any number of threads; what depends on their order is where
/// things stand.
#[derive(Debug)]
pub struct Maker<'r> {
    pub(super) options: Options,
    pub(super) state: Mutex<State>,
    pub(super) writer: MkfsWriter,
    csums: Mutex<CsumTree>,
    pub(super) blocks: Writer<'r>,
    pub(super) refs: Writer<'r>,
}

/// All that threads change together.
#[derive(Debug)]
pub(super) struct State {
    pub layout: Layout,
    pub blocks: Part<BlockRef>,
    pub refs: Part<DataRef>,
    /// The trees that were built.
    pub trees: BTreeMap<u64, BuiltTree>,
    pub subvolumes: Vec<Subvolume>,
    pub default_subvolume: u64,
    /// Whether the top level is.
    pub is_read_only: bool,
    pub incompat: u64,
}

/// Kind of the chunks that a tree's blocks lie in.
pub(super) fn kind_of(tree: u64) -> ChunkKind {
    if tree == objectid::CHUNK_TREE { ChunkKind::System } else { ChunkKind::Metadata }
}

impl<'r> Maker<'r> {
    /// Begins a filesystem on devices whose ids count from 1 in their order. `room` is memory for what grows with the
    /// content; there is more of it in temporary files.
    pub fn new(
        options: Options,
        devices: Vec<NewDevice>,
        estimate: &Estimate,
        budget: &'r MemoryBudget,
    ) -> Result<Self> {
        let sizes = devices.iter().map(|device| (device.size, device.grows));
        let layout = Layout::begin(&options, sizes, estimate)?;
        let images = (1..).zip(devices.into_iter().map(|device| device.image));
        let state = State {
            layout,
            blocks: Part::default(),
            refs: Part::default(),
            trees: BTreeMap::new(),
            subvolumes: Vec::new(),
            default_subvolume: objectid::FS_TREE,
            is_read_only: false,
            incompat: 0,
        };
        let csums = Mutex::new(csum_tree(&options)?);
        let (blocks, refs) = (Writer::new(budget), Writer::new(budget));
        Ok(Self { options, state: Mutex::new(state), writer: MkfsWriter::new(images), csums, blocks, refs })
    }

    /// What the filesystem will be.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// The generation of all that is made.
    pub fn generation(&self) -> Transid {
        GENERATION
    }

    /// The time of what has none of its own.
    pub fn time(&self) -> Timespec {
        self.options.identity.time
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// Begins the tree of a subvolume, or the top-level tree, to which items are pushed in the order of their keys. A
    /// top-level tree that is never begun has an empty directory.
    pub fn tree(&self, id: u64) -> Result<TreeWriter<'_, 'r>> {
        Ok(TreeWriter { maker: self, id, builder: Builder::new(new_tree(&self.options, id))? })
    }

    /// Takes space for data: at least `least` and at most `most` bytes, in one piece. Addresses ascend from call to call.
    pub(super) fn allocate_data(&self, least: u64, most: u64) -> Result<(Logical, u64)> {
        let mut state = self.state();
        let taken = state.layout.take_data(least, most)?;
        state.layout.fit_images(&self.writer)?;
        Ok(taken)
    }

    pub(super) fn write_at(&self, logical: Logical, bytes: &[u8], origin: Option<Origin<'_>>) -> Result<()> {
        let mut rest = bytes;
        let mut done = 0;
        while !rest.is_empty() {
            let logical = Logical(logical.0 + done);
            let chunk = self.state().layout.chunk_at(logical)?.clone();
            let inside = (chunk.end().0 - logical.0).min(rest.len() as u64);
            let (piece, tail) = rest.split_at(inside as usize);
            self.writer.write_or_share(&chunk, logical, piece, origin.map(|origin| origin.after(done)))?;
            (done, rest) = (done + inside, tail);
        }
        Ok(())
    }

    pub(super) fn add_csums(&self, logical: Logical, csums: &[u8]) -> Result<()> {
        let mut pending = lock(&self.csums);
        pending.push(&mut self.store(objectid::CSUM_TREE), logical, csums)
    }

    /// Under simple quotas an extent names the tree that it was made for.
    pub(super) fn add_owner(&self, extent: DataRange, root: u64) {
        if self.options.quotas == Some(Quotas::Simple) {
            self.refs.push(&mut self.state().refs, DataRef::owner(extent, root));
        }
    }

    pub(super) fn add_reference(&self, extent: DataRange, root: u64, inode: u64, offset: u64) {
        self.refs.push(&mut self.state().refs, DataRef::extent_data(extent, root, inode, offset, 1));
    }

    /// Makes the tree of this id a subvolume: its root item, its references and its place among the uuids. Its name in
    /// the directory is content of the parent's tree.
    pub fn add_subvolume(&self, subvolume: Subvolume) {
        self.state().subvolumes.push(subvolume);
    }

    /// The subvolume that is mounted if none is named; the top-level tree if nothing is said.
    pub fn set_default_subvolume(&self, id: u64) {
        let mut state = self.state();
        state.default_subvolume = id;
        state.incompat |= if id == objectid::FS_TREE { 0 } else { incompat::DEFAULT_SUBVOL };
    }

    /// Makes the top level read-only.
    pub fn set_read_only(&self) {
        self.state().is_read_only = true;
    }

    /// Adds features that the content uses, such as compressions.
    pub fn add_incompat(&self, bits: u64) {
        self.state().incompat |= bits;
    }

    fn store(&self, tree: u64) -> TreeStore<'_, 'r> {
        TreeStore { state: &self.state, writer: &self.writer, blocks: &self.blocks, tree }
    }

    pub(super) fn finish_csums(&self) -> Result<()> {
        let empty = csum_tree(&self.options)?;
        let csums = std::mem::replace(&mut *lock(&self.csums), empty);
        let built = csums.finish(&mut self.store(objectid::CSUM_TREE))?;
        self.state().trees.insert(objectid::CSUM_TREE, built);
        Ok(())
    }
}

/// What the blocks of a tree have in common.
pub(super) fn new_tree(options: &Options, owner: u64) -> NewTree {
    NewTree {
        owner,
        generation: GENERATION,
        fsid: options.identity.fsid,
        chunk_tree_uuid: options.identity.chunk_tree(),
        nodesize: options.nodesize,
        csum_type: options.csum_type,
    }
}

fn csum_tree(options: &Options) -> Result<CsumTree> {
    CsumTree::new(new_tree(options, objectid::CSUM_TREE), options.sectorsize)
}

/// A tree of files that is being filled.
#[derive(Debug)]
pub struct TreeWriter<'m, 'r> {
    maker: &'m Maker<'r>,
    id: u64,
    builder: Builder,
}

impl<'m, 'r> TreeWriter<'m, 'r> {
    pub(super) fn maker(&self) -> &'m Maker<'r> {
        self.maker
    }

    /// The id of the tree.
    pub(super) fn id(&self) -> u64 {
        self.id
    }

    /// Adds an item, whose key is above those of all before it.
    pub fn push(&mut self, key: crate::disk::Key, data: &[u8]) -> Result<()> {
        self.builder.push(&mut self.maker.store(self.id), key, data)
    }

    /// Writes the rest of the tree.
    pub fn finish(self) -> Result<()> {
        let built = self.builder.finish(&mut self.maker.store(self.id))?;
        match self.maker.state().trees.insert(self.id, built) {
            None => Ok(()),
            Some(_) => Err(Error::Internal { problem: format!("tree {} was made twice", self.id) }),
        }
    }
}

/// Blocks that are written as they come.
pub(super) struct TreeStore<'m, 'r> {
    pub state: &'m Mutex<State>,
    pub writer: &'m MkfsWriter,
    pub blocks: &'m Writer<'r>,
    pub tree: u64,
}

impl Store for TreeStore<'_, '_> {
    fn allocate(&mut self) -> Result<Logical> {
        let mut state = lock(self.state);
        let logical = state.layout.take_block(kind_of(self.tree))?;
        state.layout.fit_images(self.writer)?;
        Ok(logical)
    }

    fn write(&mut self, block: &BuiltBlock, bytes: &[u8]) -> Result<()> {
        let chunk = {
            let mut state = lock(self.state);
            self.blocks.push(&mut state.blocks, BlockRef::tree_block(block, GENERATION, self.tree));
            state.layout.chunk_at(block.logical)?.clone()
        };
        self.writer.write(&chunk, block.logical, bytes)
    }
}
