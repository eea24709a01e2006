//! Where edits of a staged tree get their blocks.

use std::borrow::Cow;

use zerocopy::IntoBytes;

use crate::block::Block;
use crate::block::edit::NewBlock;
use crate::block::extent_item::ExtentKind;
use crate::block::verify::Expected;
use crate::disk::flags::{BACKREF_REV_SHIFT, MIXED_BACKREF_REV, header::WRITTEN};
use crate::disk::node::Header;
use crate::disk::volume::DevItem;
use crate::disk::{Key, Logical, Transid};
use crate::error::{AddressProblem, Addressed, DeviceProblem, Error, ExtentProblem, Result};
use crate::space::Payer;
use crate::tree::TreeRoot;
use crate::tree::edit::{Blocks, Cursor, Editor};

use super::chunks::{Chunks, device_key};
use super::delayed_refs::{Sharing, item};
use super::filesystem::Filesystem;
use super::sharing::{may_be_shared, update_ref_for_cow};
use super::staged::{NewBlocks, StagedTree};

impl StagedTree {
    /// What an edit takes.
    pub fn parts<'a>(&'a mut self, fs: &'a Filesystem) -> (&'a mut TreeRoot, Store<'a>) {
        let Self { root, blocks, last_snapshot, growth, payer } = self;
        (root, Store { fs, blocks, last_snapshot: *last_snapshot, growth, payer: *payer })
    }

    /// After an error other than a refusal ([`Error::Edit`]) the tree may be half changed: nothing can be committed then.
    pub fn edit<T>(
        &mut self,
        fs: &Filesystem,
        edit: impl FnOnce(&mut Editor<'_, Store<'_>>) -> Result<T>,
    ) -> Result<T> {
        let (root, mut store) = self.parts(fs);
        let edited = edit(&mut Editor::new(root, &mut store));
        if edited.as_ref().is_err_and(|error| !matches!(error, Error::Edit { .. })) {
            fs.poison();
        }
        edited
    }

    /// The last item whose key is not above `key`, if there is one.
    pub fn find_last(&mut self, fs: &Filesystem, key: Key) -> Result<Option<(Key, Vec<u8>)>> {
        let (root, store) = self.parts(fs);
        let cursor = Cursor::at_or_before(root, &store, key)?;
        cursor.map(|cursor| cursor.item().map(|item| (item.key, item.data.to_vec()))).transpose()
    }

    /// How this tree, the extent tree, has a block shared.
    pub(super) fn noted_sharing(&mut self, fs: &Filesystem, logical: Logical, level: u8) -> Result<Sharing> {
        let nodesize = fs.volume().format().nodesize;
        item::sharing(logical, ExtentKind::Block { level }, nodesize, |key| self.find(fs, key))
    }

    /// The data of the item with this key, if there is one.
    pub fn find(&mut self, fs: &Filesystem, key: Key) -> Result<Option<Vec<u8>>> {
        let (root, store) = self.parts(fs);
        let cursor = Cursor::at(root, &store, key)?;
        cursor.map(|cursor| Ok(cursor.item()?.data.to_vec())).transpose()
    }
}

impl Chunks {
    /// Writes a device's item as it is now into the chunk tree.
    pub fn update_device_item(&mut self, fs: &Filesystem, devid: u64) -> Result<()> {
        let item = self.device(devid)?.item;
        self.tree.edit(fs, |editor| {
            let data = editor.data_mut(device_key(devid))?;
            let data = data.get_mut(..size_of::<DevItem>());
            let error = Error::Device { devid, problem: DeviceProblem::ShortItem };
            data.ok_or(error)?.copy_from_slice(item.as_bytes());
            Ok(())
        })
    }
}

/// The blocks of a tree: new ones as they are, others as the last commit has them.
pub struct Store<'a> {
    fs: &'a Filesystem,
    blocks: &'a mut NewBlocks,
    last_snapshot: Option<Transid>,
    growth: &'a mut i64,
    payer: Payer,
}

impl Store<'_> {
    /// The tree gives up a block that others may share for a copy of it: see [`update_ref_for_cow`].
    fn update_ref_for_cow(&self, tree: u64, block: Block<'_>) -> Result<()> {
        let fs = self.fs;
        // Until all is noted: another tree may give it up at the same time, and what waits may be brought into the tree.
        let mut extent_tree = fs.trees.extent.lock();
        let noted = extent_tree.noted_sharing(fs, block.logical(), block.level())?;
        update_ref_for_cow(&mut fs.delayed_refs.lock(), tree, block, noted)
    }
}

impl Blocks for Store<'_> {
    type Bytes<'b>
        = Cow<'b, [u8]>
    where
        Self: 'b;

    fn read(&self, expected: &Expected) -> Result<Cow<'_, [u8]>> {
        match self.blocks.get(&expected.logical) {
            // Where an extent item is missing, an address that is in use was handed out.
            Some(_) if expected.generation.is_some_and(|generation| generation != self.fs.generation()) => {
                Err(problem(expected.logical, ExtentProblem::NotNoted))
            }
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
        let block = Block::new(&bytes).ok_or_else(|| problem(old, AddressProblem::TooShort))?;
        if block.header().backref_rev() != MIXED_BACKREF_REV {
            return Err(problem(old, AddressProblem::OldBackrefs));
        }
        let may_be_shared = self.last_snapshot.is_some_and(|last| may_be_shared(block, last));
        if !may_be_shared && block.header().owner.get() != tree {
            return Err(problem(old, ExtentProblem::OtherTree));
        }
        let (level, first_key) = (block.level(), block.first_key().unwrap_or_default());
        let new = self.fs.take_block(tree, self.payer)?;
        match may_be_shared {
            true => self.update_ref_for_cow(tree, block)?,
            false => self.fs.delayed_refs.lock().drop_block(old, level, tree)?,
        }
        self.fs.delayed_refs.lock().add_block(new, level, first_key, tree);
        let (header, _) =
            zerocopy::FromBytes::mut_from_prefix(&mut bytes).map_err(|_| problem(old, AddressProblem::TooShort))?;
        let header: &mut Header = header;
        self.fs.set_place(header, new, self.fs.generation());
        header.owner = tree.into();
        header.flags = (u64::from(MIXED_BACKREF_REV) << BACKREF_REV_SHIFT | WRITTEN).into();
        self.blocks.insert(new, bytes);
        Ok(new)
    }

    fn bytes_mut<const N: usize>(&mut self, blocks: [Logical; N]) -> Result<[&mut [u8]; N]> {
        let found = self.blocks.get_disjoint_mut(blocks.each_ref());
        if let Some(index) = found.iter().position(Option::is_none) {
            return Err(problem(blocks[index], AddressProblem::NotEditable));
        }
        Ok(found.map(|bytes| bytes.map(Vec::as_mut_slice).unwrap_or_default()))
    }

    fn allocate(&mut self, tree: u64, level: u8, first_key: Key) -> Result<Logical> {
        let logical = self.fs.take_block(tree, self.payer)?;
        let mut bytes = vec![0; self.fs.volume().format().nodesize as usize];
        let new = NewBlock {
            logical,
            level,
            generation: self.fs.generation(),
            owner: tree,
            fsid: self.fs.volume().superblock().metadata_fsid(),
            chunk_tree_uuid: self.fs.chunk_tree_uuid(),
        };
        new.write(&mut bytes).map_err(|error| problem(logical, error))?;
        self.fs.delayed_refs.lock().add_block(logical, level, first_key, tree);
        self.blocks.insert(logical, bytes);
        *self.growth += 1;
        Ok(logical)
    }

    fn free(&mut self, tree: u64, block: Logical, level: u8) {
        self.blocks.remove(&block);
        *self.growth -= 1;
        self.fs.give_back_block(block, tree, level);
    }
}

fn problem(logical: Logical, problem: impl Into<AddressProblem>) -> Error {
    Error::Block { what: Addressed::TreeBlock, logical, problem: problem.into() }
}
