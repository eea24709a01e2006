//! A tree with the blocks that this transaction has made of it, and where its edits get them.

use std::borrow::Cow;
use std::collections::HashMap;

use zerocopy::IntoBytes;

use crate::block::Block;
use crate::block::edit::NewBlock;
use crate::block::verify::Expected;
use crate::disk::flags::{BACKREF_REV_SHIFT, MIXED_BACKREF_REV, header::WRITTEN};
use crate::disk::node::Header;
use crate::disk::{Key, Logical};
use crate::error::{Error, Result};
use crate::tree::TreeRoot;
use crate::tree::edit::{Blocks, Cursor, Editor};

use super::Filesystem;
use super::references::Change;

/// The blocks of one tree that are new in this transaction, by address.
pub type NewBlocks = HashMap<Logical, Vec<u8>>;

/// A tree that is changed. No other tree shares its blocks.
#[derive(Debug)]
pub struct StagedTree {
    pub root: TreeRoot,
    pub blocks: NewBlocks,
}

impl StagedTree {
    pub fn new(root: TreeRoot) -> Self {
        Self { root, blocks: NewBlocks::new() }
    }

    pub fn edit<T>(
        &mut self,
        fs: &Filesystem,
        edit: impl FnOnce(&mut Editor<'_, Store<'_>>) -> Result<T>,
    ) -> Result<T> {
        let mut store = Store { fs, blocks: &mut self.blocks };
        edit(&mut Editor::new(&mut self.root, &mut store))
    }

    /// The data of the item with this key, if there is one.
    pub fn find(&mut self, fs: &Filesystem, key: Key) -> Result<Option<Vec<u8>>> {
        let store = Store { fs, blocks: &mut self.blocks };
        let cursor = Cursor::at(&self.root, &store, key)?;
        cursor.map(|cursor| Ok(cursor.item()?.data.to_vec())).transpose()
    }
}

/// The blocks of a tree: new ones as they are, others as the last commit has them.
pub struct Store<'a> {
    pub fs: &'a Filesystem,
    pub blocks: &'a mut NewBlocks,
}

impl Blocks for Store<'_> {
    type Bytes<'b>
        = Cow<'b, [u8]>
    where
        Self: 'b;

    fn read(&self, expected: &Expected) -> Result<Cow<'_, [u8]>> {
        match self.blocks.get(&expected.logical) {
            Some(bytes) => Ok(Cow::Borrowed(bytes)),
            None => self.fs.read_committed(expected).map(Cow::Owned),
        }
    }

    fn make_editable(&mut self, tree: u64, expected: &Expected, _: Option<Logical>) -> Result<Logical> {
        let old = expected.logical;
        if self.blocks.contains_key(&old) {
            return Ok(old);
        }
        let mut bytes = self.fs.read_committed(expected)?;
        let block = Block::new(&bytes).ok_or_else(|| problem(old, "is too short"))?;
        if block.header().owner.get() != tree {
            return Err(problem(old, "belongs to another tree"));
        }
        let (level, first_key) = (block.level(), block.first_key().unwrap_or_default());
        let new = self.fs.take_block(tree)?;
        let (header, _) = zerocopy::FromBytes::mut_from_prefix(&mut bytes).map_err(|_| problem(old, "is too short"))?;
        let header: &mut Header = header;
        // Of a sprout, the block may be that of a seed.
        header.fsid = self.fs.volume().superblock().metadata_fsid();
        header.chunk_tree_uuid = self.fs.chunk_tree_uuid();
        header.bytenr = new.0.into();
        header.generation = self.fs.generation().0.into();
        header.flags = (u64::from(MIXED_BACKREF_REV) << BACKREF_REV_SHIFT | WRITTEN).into();
        self.fs.change_reference(new, Change::Add { tree, level, first_key });
        self.fs.drop_block(old, tree, level);
        self.blocks.insert(new, bytes);
        Ok(new)
    }

    fn bytes_mut<const N: usize>(&mut self, blocks: [Logical; N]) -> Result<[&mut [u8]; N]> {
        let found = self.blocks.get_disjoint_mut(blocks.each_ref());
        if let Some(index) = found.iter().position(Option::is_none) {
            return Err(problem(blocks[index], "is not editable"));
        }
        Ok(found.map(|bytes| bytes.map(Vec::as_mut_slice).unwrap_or_default()))
    }

    fn allocate(&mut self, tree: u64, level: u8, first_key: Key) -> Result<Logical> {
        let logical = self.fs.take_block(tree)?;
        let mut bytes = vec![0; self.fs.volume().format().nodesize as usize];
        let new = NewBlock {
            logical,
            level,
            generation: self.fs.generation(),
            owner: tree,
            fsid: self.fs.volume().superblock().metadata_fsid(),
            chunk_tree_uuid: self.fs.chunk_tree_uuid(),
        };
        new.write(&mut bytes).map_err(|error| problem(logical, &error.to_string()))?;
        self.fs.change_reference(logical, Change::Add { tree, level, first_key });
        self.blocks.insert(logical, bytes);
        Ok(logical)
    }

    fn free(&mut self, tree: u64, block: Logical, level: u8) {
        self.blocks.remove(&block);
        self.fs.give_back_block(block, tree, level);
    }
}

fn problem(logical: Logical, problem: &str) -> Error {
    Error::Block { what: "tree block", logical, problem: problem.to_owned() }
}

/// The bytes of new blocks with their checksums, by address.
pub fn stamped(fs: &Filesystem, blocks: NewBlocks) -> impl Iterator<Item = (Logical, Vec<u8>)> {
    let csum_type = fs.volume().format().csum_type;
    blocks.into_iter().map(move |(logical, mut bytes)| {
        csum_type.stamp(bytes.as_mut_bytes());
        (logical, bytes)
    })
}
