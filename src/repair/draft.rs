//! One step of a repair: new blocks, and the superblocks that lead to them, all of it staged.

use std::collections::BTreeMap;

use zerocopy::IntoBytes;

use crate::block::edit::NewBlock;
use crate::disk::flags::block_group;
use crate::disk::superblock::RootBackup;
use crate::disk::volume::Chunk;
use crate::disk::{DiskKey, Logical, Superblock, Transid};
use crate::error::{Error, Result};
use crate::tree::TreeRoot;
use crate::tree::build::NewTree;
use crate::volume::chunk_items::chunk_key;
use crate::volume::{ChunkMap, ChunkMapping, Commit, Staged, Volume, WritableVolume};

use super::free::FreeBlocks;

/// Tree blocks that every filesystem has (`btrfs_validate_super`).
const LEAST_BLOCKS: u64 = 6;

/// New blocks of a staged filesystem, which no superblock leads to yet.
pub struct Draft {
    volume: WritableVolume,
    /// Space for more of them.
    pub free: FreeBlocks,
    /// The superblock that is to be: roots and generation are filled in by [`Draft::publish`].
    pub superblock: Box<Superblock>,
    /// Roots of trees with root items, for the backup roots.
    pub roots: BTreeMap<u64, TreeRoot>,
    form: NewTree,
}

impl Draft {
    /// A step that begins with `volume`, on which all that is written is staged.
    ///
    /// # Errors
    /// The generation is the last there can be, or the chunk root cannot be read.
    pub fn new(volume: WritableVolume, free: FreeBlocks) -> Result<Self> {
        let opened = volume.volume();
        let superblock = Box::new(*opened.superblock());
        let newest = superblock.generation().max(opened.stored_superblock().generation());
        let is_last = || Error::Damaged { problem: "the generation is the last possible".to_owned() };
        let format = opened.format();
        let form = NewTree {
            owner: 0,
            generation: Transid(newest.0.checked_add(1).ok_or_else(is_last)?),
            fsid: superblock.metadata_fsid(),
            chunk_tree_uuid: TreeRoot::chunk_tree(opened).chunk_tree_uuid(opened)?,
            nodesize: format.nodesize,
            csum_type: format.csum_type,
        };
        Ok(Self { volume, free, superblock, roots: BTreeMap::new(), form })
    }

    /// The filesystem that the step begins with.
    pub fn volume(&self) -> &Volume {
        self.volume.volume()
    }

    /// Generation of all new blocks.
    pub fn generation(&self) -> Transid {
        self.form.generation
    }

    /// What the new blocks of a tree have in common.
    pub fn form(&self, owner: u64) -> NewTree {
        NewTree { owner, ..self.form }
    }

    /// A block of `owner` without elements.
    ///
    /// # Errors
    /// The nodesize is none.
    pub fn new_block(&self, owner: u64, level: u8) -> Result<Vec<u8>> {
        let NewTree { generation, fsid, chunk_tree_uuid, .. } = self.form;
        let mut bytes = vec![0; self.form.nodesize as usize];
        let new = NewBlock { logical: Logical(0), level, generation, owner, fsid, chunk_tree_uuid };
        new.write(&mut bytes).map_err(|error| Error::Internal { problem: error.to_string() })?;
        Ok(bytes)
    }

    /// Gives a finished block of `tree` a place, and writes it there.
    ///
    /// # Errors
    /// No space, and what cannot be written.
    pub fn place(&mut self, tree: u64, bytes: &mut [u8]) -> Result<Logical> {
        let logical = self.free.take(tree)?;
        crate::block::edit::set_logical(bytes, logical)
            .map_err(|error| Error::Internal { problem: error.to_string() })?;
        self.form.csum_type.stamp(bytes);
        self.write(logical, bytes)?;
        Ok(logical)
    }

    /// Writes a block that has its place and its checksum.
    ///
    /// # Errors
    /// What cannot be written.
    pub fn write(&self, logical: Logical, bytes: &[u8]) -> Result<()> {
        self.volume.write(self.volume().chunks(), &[Staged { logical, bytes }])
    }

    /// Stages superblocks that lead to these roots, with the totals and the system chunk array that the chunk tree gives.
    ///
    /// # Errors
    /// A superblock that leads nowhere, or that is none.
    pub fn publish(mut self, root: &TreeRoot, chunk_root: &TreeRoot) -> Result<()> {
        let mut superblock = self.superblock;
        let old = self.volume.volume().superblock().generation();
        if Transid::from(superblock.uuid_tree_generation) == old {
            superblock.uuid_tree_generation = self.form.generation.0.into();
        }
        superblock.generation = self.form.generation.0.into();
        (superblock.root, superblock.root_level) = (root.logical.0.into(), root.level);
        (superblock.chunk_root, superblock.chunk_root_level) = (chunk_root.logical.0.into(), chunk_root.level);
        if let Some(generation) = chunk_root.generation {
            superblock.chunk_root_generation = generation.0.into();
        }
        let dev_items = chunk_root.dev_items(self.volume.volume())?;
        if !dev_items.is_empty() {
            superblock.num_devices = (dev_items.len() as u64).into();
            let total = dev_items.iter().try_fold(0_u64, |sum, item| sum.checked_add(item.total_bytes.get()));
            superblock.total_bytes = total.unwrap_or(superblock.total_bytes.get()).into();
        }
        // What is in use is counted when the trees of space are built; less than this no superblock may say.
        let least = LEAST_BLOCKS * u64::from(self.form.nodesize);
        superblock.bytes_used = superblock.bytes_used.get().max(least).into();
        let chunks = fill_array(&mut superblock, self.volume.volume(), chunk_root)?;
        let mut backup = RootBackup::zeroed();
        for (tree, root) in &self.roots {
            backup.set_root(*tree, root.logical, root.generation.unwrap_or_default(), root.level);
        }
        let commit = Commit {
            staged: &[],
            mended: &[],
            chunks: &chunks,
            superblock: &superblock,
            backup: &backup,
            dev_items: &dev_items,
        };
        self.volume.publish(&commit)?.wholly()
    }
}

/// Makes the system chunk array hold the system chunks of the chunk tree, as many as have room. Returns all chunks.
fn fill_array(superblock: &mut Superblock, volume: &Volume, chunk_root: &TreeRoot) -> Result<ChunkMap> {
    let (mut array, mut chunks) = (Vec::new(), ChunkMap::default());
    let room = superblock.sys_chunk_array.len();
    chunk_root.range(volume, chunk_key(Logical(0)), chunk_key(Logical(u64::MAX)), |item| {
        let Some((chunk, stripes, _)) = Chunk::read_with_stripes(item.data) else { return };
        let entry = [DiskKey::from(item.key).as_bytes(), item.data].concat();
        let is_system = chunk.block_group_flags().contains(block_group::SYSTEM);
        if is_system && array.len() + entry.len() <= room {
            array.extend(entry);
        }
        // What makes no sense, or overlaps, is no chunk.
        let mapping = ChunkMapping::new(Logical(item.key.offset), chunk, stripes).ok();
        mapping.into_iter().for_each(|mapping| drop(chunks.insert(mapping)));
    })?;
    superblock.sys_chunk_array.fill(0);
    superblock.sys_chunk_array[..array.len()].copy_from_slice(&array);
    superblock.sys_chunk_array_size = (array.len() as u32).into();
    Ok(chunks)
}
