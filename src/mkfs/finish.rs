//! The end of a filesystem that is made: what is left to write, and the superblocks.

use std::io;
use std::path::PathBuf;
use std::sync::PoisonError;

use zerocopy::IntoBytes;

use crate::chunk::array;
use crate::disk::flags::{block_group, compat_ro, incompat, superblock as superblock_flags};
use crate::disk::superblock::{MAGIC, RootBackup, SUPER_INFO_SIZE, super_offsets};
use crate::disk::{Superblock, Transid, objectid};
use crate::error::{Error, Failure, PartlyPublished, Result};
use crate::parallel::lock;
use crate::progress::Progress;
use crate::rebuild::{ExtentTree, Items, SpaceTrees};
use crate::tree::build::{Builder, BuiltTree};
use crate::volume::{ChunkMap, MkfsWriter, Target, validate_superblock};

use super::layout::Layout;
use super::maker::{GENERATION, Maker, State, TreeStore, new_tree};
use super::options::Options;
use super::space_map::NewSpace;
use super::trees::{self, Roots};
use super::usage::usage;

/// When superblocks may reach the disks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// After all that they lead to.
    Last,
    /// With all that they lead to. For new files, which no other program uses before the work is done and an error removes.
    Any,
}

/// What was made.
#[derive(Debug)]
pub struct Made {
    /// What the filesystem is.
    pub options: Options,
    /// The superblock of the first device.
    pub superblock: Box<Superblock>,
    /// The devices and what chunks have of them.
    pub layout: Layout,
    /// Block devices that the kernel could not be made to know, and why. A mount may need them named.
    pub unregistered: Vec<(PathBuf, io::Error)>,
}

impl Maker<'_> {
    /// Writes what is left, and returns when all of it is on the devices. If they are to be `shrunk`, they end so many
    /// bytes behind their last chunk. `progress` can stop it until superblocks are written.
    pub fn finish(self, order: Order, shrunk: Option<u64>, progress: &Progress) -> Result<Made> {
        self.finish_csums()?;
        let Maker { options, state, writer, blocks, refs, .. } = self;
        let (subvolumes, part) = {
            let mut state = lock(&state);
            (state.subvolumes.clone(), std::mem::take(&mut state.refs))
        };
        let refs = refs.finish(vec![part]).map_err(Error::Temporary)?;
        let build = |tree, items: &Items| {
            build(&options, TreeStore { state: &state, writer: &writer, blocks: &blocks, tree }, items)
        };
        let has_files = lock(&state).trees.contains_key(&objectid::FS_TREE);
        if !has_files {
            let directory = trees::root_directory(objectid::ROOT_DIR, options.identity.time, options.nodesize.into());
            build(objectid::FS_TREE, &directory)?;
        }
        build(objectid::DATA_RELOC_TREE, &trees::root_directory(objectid::ROOT_DIR, options.identity.time, 0))?;
        build(objectid::UUID_TREE, &trees::uuid_tree(&options, &subvolumes))?;
        if let Some(quotas) = options.quotas {
            let items = trees::quota_tree(&options, quotas, &lock(&state).trees, &usage(&refs)?);
            build(objectid::QUOTA_TREE, &items)?;
        }
        let mut state = state.into_inner().unwrap_or_else(PoisonError::into_inner);
        let blocks = blocks.finish(vec![std::mem::take(&mut state.blocks)]).map_err(Error::Temporary)?;
        let roots = Roots {
            options: &options,
            subvolumes: &subvolumes,
            default_subvolume: state.default_subvolume,
            is_read_only: state.is_read_only,
        };
        let csum_blocks = state.trees.get(&objectid::CSUM_TREE).map_or(0, |built| built.blocks);
        let space = NewSpace { layout: state.layout.clone(), roots: &roots, csum_blocks, shrunk };
        let extents = ExtentTree {
            nodesize: options.nodesize,
            is_skinny: options.has_incompat(incompat::SKINNY_METADATA),
            blocks: &blocks,
            data: &refs,
        };
        let built = state.trees.clone();
        let space_trees = SpaceTrees {
            form: new_tree(&options, objectid::ROOT_TREE),
            sectorsize: options.sectorsize,
            trees: space_trees(&options),
            extents,
            built: &built,
        };
        let settled = space_trees.settle(&space)?;
        state.layout = settled.map.layout.clone();
        state.layout.fit_images(&writer)?;
        let written = space_trees.write(&settled, |block, bytes| {
            writer.write(state.layout.chunk_at(block.logical)?, block.logical, bytes)
        })?;
        state.trees.extend(written);
        writer.flush()?;
        let superblock = superblock(&options, &state)?;
        if order == Order::Last {
            writer.barrier()?;
        }
        if progress.is_stopped() {
            return Err(Error::Interrupted);
        }
        let layout = state.layout;
        let published = publish(&options, &superblock, &layout, &writer, shrunk.is_some());
        published.map_err(|error| match erase_superblocks(&layout, &writer) {
            // Of new files nothing stays.
            Err(other) if order == Order::Last => Error::PartlyPublished(Box::new(PartlyPublished {
                reached: Vec::new(),
                devices: layout.devices.len(),
                failures: vec![
                    Failure { what: "superblocks", error },
                    Failure { what: "taking them back", error: other },
                ],
            })),
            _ => error,
        })?;
        let register = |target: &Target| Some((target.image.path().to_owned(), target.image.register().err()?));
        let unregistered = writer.targets().iter().filter_map(register).collect();
        Ok(Made { options, superblock, layout, unregistered })
    }
}

/// The trees that describe space.
fn space_trees(options: &Options) -> Vec<u64> {
    let always = [objectid::CHUNK_TREE, objectid::EXTENT_TREE, objectid::DEV_TREE, objectid::ROOT_TREE];
    let groups = options.has_compat_ro(compat_ro::BLOCK_GROUP_TREE).then_some(objectid::BLOCK_GROUP_TREE);
    let free_space = options.has_compat_ro(compat_ro::FREE_SPACE_TREE).then_some(objectid::FREE_SPACE_TREE);
    always.into_iter().chain(groups).chain(free_space).collect()
}

fn build(options: &Options, mut store: TreeStore<'_, '_>, items: &Items) -> Result<()> {
    let mut builder = Builder::new(new_tree(options, store.tree))?;
    items.iter().try_for_each(|(key, data)| builder.push(&mut store, *key, data))?;
    let built = builder.finish(&mut store)?;
    lock(store.state).trees.insert(store.tree, built);
    Ok(())
}

/// The superblock but for what differs from device to device and from copy to copy.
fn superblock(options: &Options, state: &State) -> Result<Box<Superblock>> {
    let generation = GENERATION.0;
    let tree = |id: u64| {
        let missing = || Error::Internal { problem: format!("tree {id} was not made") };
        state.trees.get(&id).copied().ok_or_else(missing)
    };
    let (root, chunk_root) = (tree(objectid::ROOT_TREE)?, tree(objectid::CHUNK_TREE)?);
    let mut superblock = Box::new(Superblock::zeroed());
    superblock.fsid = options.identity.fsid;
    superblock.flags = superblock_flags::WRITTEN.into();
    superblock.magic = MAGIC.into();
    superblock.generation = generation.into();
    (superblock.root, superblock.root_level) = (root.root.0.into(), root.level);
    (superblock.chunk_root, superblock.chunk_root_level) = (chunk_root.root.0.into(), chunk_root.level);
    superblock.chunk_root_generation = generation.into();
    superblock.total_bytes = state.layout.total_bytes().into();
    superblock.bytes_used = state.layout.used().into();
    superblock.root_dir_objectid = objectid::ROOT_TREE_DIR.into();
    superblock.num_devices = (state.layout.devices.len() as u64).into();
    superblock.sectorsize = options.sectorsize.into();
    superblock.nodesize = options.nodesize.into();
    superblock.__unused_leafsize = options.nodesize.into();
    superblock.stripesize = options.sectorsize.into();
    superblock.csum_type = options.csum_type.raw().into();
    superblock.compat_ro_flags = options.compat_ro.into();
    superblock.incompat_flags = (options.incompat | state.incompat).into();
    superblock.label[..options.label.len()].copy_from_slice(&options.label);
    // Without a free space tree the kernel is to know that there is no cache either.
    let has_tree = options.has_compat_ro(compat_ro::FREE_SPACE_TREE);
    superblock.cache_generation = if has_tree { 0 } else { u64::MAX }.into();
    superblock.uuid_tree_generation = generation.into();
    let chunks = state.layout.groups.iter().map(|group| &group.chunk);
    let system = chunks.filter(|chunk| chunk.flags.contains(block_group::SYSTEM));
    array::append_all(&mut superblock, system).map_err(|stripes| Error::SysChunkArrayFull { stripes })?;
    let mut backup = RootBackup::zeroed();
    for id in [objectid::EXTENT_TREE, objectid::FS_TREE, objectid::DEV_TREE, objectid::CSUM_TREE] {
        let BuiltTree { root, level, .. } = tree(id)?;
        backup.set_root(id, root, Transid(generation), level);
    }
    superblock.add_backup(&backup);
    Ok(superblock)
}

/// Writes what makes a filesystem of all that was written.
fn publish(options: &Options, superblock: &Superblock, layout: &Layout, writer: &MkfsWriter, cut: bool) -> Result<()> {
    write_superblocks(options, superblock, layout, writer)?;
    if cut {
        layout.cut_images(writer)?;
    }
    writer.barrier()
}

/// Takes back superblocks that were written before an error, lest they be taken for a filesystem. All are tried; returns
/// the first error.
fn erase_superblocks(layout: &Layout, writer: &MkfsWriter) -> Result<()> {
    let places = layout.devices.iter().zip(writer.targets()).flat_map(|(device, target)| {
        super_offsets(device.size).map(move |offset| target.image.write(offset, &[0; SUPER_INFO_SIZE]))
    });
    let erased = places.fold(Ok(()), Result::and);
    erased.and(writer.barrier())
}

/// Writes all copies, each validated as those of later commits are.
fn write_superblocks(options: &Options, superblock: &Superblock, layout: &Layout, writer: &MkfsWriter) -> Result<()> {
    let mut chunks = ChunkMap::default();
    for group in &layout.groups {
        let overlap = |(_, other)| Error::Internal { problem: format!("a new chunk overlaps chunk {other}") };
        chunks.insert(group.chunk.clone()).map_err(overlap)?;
    }
    for (device, target) in layout.devices.iter().zip(writer.targets()) {
        let mut copy = Box::new(*superblock);
        copy.dev_item = trees::dev_item(options, device);
        for offset in super_offsets(device.size) {
            copy.bytenr = offset.0.into();
            let invalid = |problem| Error::Internal { problem: format!("new superblock at {offset}: {problem}") };
            validate_superblock(&copy, offset, &chunks).map_err(invalid)?;
            options.csum_type.stamp(copy.as_mut_bytes());
            target.image.write(offset, copy.as_bytes())?;
        }
    }
    Ok(())
}
