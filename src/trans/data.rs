//! Extents of data: space for them, the references to them, and their checksums.

use crate::block::extent_item::ExtentKind;
use crate::block::reference::FileExtent;
use crate::disk::flags::block_group;
use crate::disk::{BlockGroupFlags, Key, KeyType, Logical, objectid};
use crate::error::{AddressProblem, Addressed, Error, Result};
use crate::tree::TreeRoot;
use crate::tree::edit::{Blocks, Cursor, Editor};

use super::delayed_refs::FreedData;
use super::filesystem::Filesystem;

const DATA: BlockGroupFlags = BlockGroupFlags(block_group::DATA);

impl Filesystem {
    /// Space for an extent of `length` bytes, a multiple of the sector size, in one piece. An extent without a
    /// reference when the transaction is committed never was.
    ///
    /// # Errors
    /// [`Error::NoSpace`], the free space of a block group cannot be read, or [`Error::SimpleQuotas`].
    pub fn allocate_data(&self, length: u64) -> Result<Logical> {
        self.quotas.prepare()?;
        let sectorsize = self.volume().format().sectorsize;
        let logical = {
            let mut space = self.space();
            let profile = space.info(DATA).profile(u64::MAX);
            let is_whole = length > 0 && length.is_multiple_of(sectorsize.into());
            let taken = match is_whole {
                true => space.allocate_data(length, sectorsize, profile, |group| self.committed_free(group))?,
                false => None,
            };
            taken.ok_or_else(|| Error::NoSpace { what: "data", wanted: length, left: space.info(DATA).available() })?
        };
        self.delayed_refs.lock().add_data(logical, length);
        Ok(logical)
    }

    /// A file refers to an extent once more. Whether there is such an extent the commit finds out.
    ///
    /// # Errors
    /// The transaction knows the extent as another one, or [`Error::SimpleQuotas`].
    pub fn add_data_reference(&self, file: &FileExtent) -> Result<()> {
        self.count_data_reference(file, 1)
    }

    /// The reverse of [`Filesystem::add_data_reference`]. With its last reference an extent goes, and its checksums; its
    /// place is free after the commit.
    ///
    /// # Errors
    /// The transaction knows the extent as another one, or [`Error::SimpleQuotas`].
    pub fn drop_data_reference(&self, file: &FileExtent) -> Result<()> {
        self.count_data_reference(file, -1)
    }

    fn count_data_reference(&self, file: &FileExtent, by: i64) -> Result<()> {
        self.quotas.prepare()?;
        self.delayed_refs.lock().count(file.extent, ExtentKind::Data { length: file.length }, file.reference, by)
    }

    /// Gives back data that was allocated and that has no reference.
    pub(super) fn give_back_unreferenced(&self) -> Result<()> {
        let unreferenced = self.delayed_refs.lock().take_unreferenced();
        for FreedData { logical, length } in &unreferenced {
            self.space().give_back(*logical, *length);
        }
        self.delete_checksums(&unreferenced).map(drop)
    }

    /// Deletes the checksums of data that is no longer in use. Returns whether there was any.
    pub(super) fn delete_checksums(&self, freed: &[FreedData]) -> Result<bool> {
        if freed.is_empty() {
            return Ok(false);
        }
        let format = self.volume().format();
        let tree = self.tree(objectid::CSUM_TREE)?;
        let mut tree = tree.lock();
        let (root, mut store) = tree.parts(self);
        let csums = CsumForm { size: format.csum_type.size() as u64, sectorsize: format.sectorsize.into() };
        for FreedData { logical, length } in freed {
            csums.delete(root, &mut store, *logical, *length)?;
        }
        Ok(true)
    }
}

/// The form of checksum items: one checksum of `size` bytes for each sector, from the address that is the key's offset.
#[derive(Clone, Copy, Debug)]
pub struct CsumForm {
    /// Bytes of a checksum.
    pub size: u64,
    /// Bytes of data that it is of.
    pub sectorsize: u64,
}

impl CsumForm {
    /// Deletes the checksums of a range. Items that reach out of it keep the others (`btrfs_del_csums` in
    /// fs/btrfs/file-item.c).
    pub fn delete<S: Blocks>(&self, root: &mut TreeRoot, store: &mut S, logical: Logical, length: u64) -> Result<()> {
        let (start, end) = (logical.0, logical.0.saturating_add(length));
        // The item before may reach in.
        let mut from = match Cursor::at_or_before(root, store, key(start))? {
            Some(cursor) if is_checksum(cursor.item()?.key) => cursor.item()?.key,
            _ => key(start),
        };
        loop {
            let (found, mut data) = match Cursor::at_or_after(root, store, from)? {
                Some(cursor) => (cursor.item()?.key, cursor.item()?.data.to_vec()),
                None => return Ok(()),
            };
            if !is_checksum(found) || found.offset >= end {
                return Ok(());
            }
            let sectors = data.len() as u64 / self.size;
            let item_end = sectors.checked_mul(self.sectorsize).and_then(|bytes| found.offset.checked_add(bytes));
            let misaligned = |address: u64| !address.is_multiple_of(self.sectorsize);
            let is_whole = !data.is_empty() && (data.len() as u64).is_multiple_of(self.size);
            let is_sound = is_whole && !misaligned(found.offset);
            let item_end = item_end.filter(|_| is_sound).ok_or_else(|| damage(found))?;
            let Some(next) = found.successor() else { return Ok(()) };
            from = next;
            if item_end <= start {
                continue;
            }
            let bytes_before = |address: u64| ((address - found.offset) / self.sectorsize * self.size) as usize;
            let mut editor = Editor::new(root, store);
            match (found.offset < start, item_end > end) {
                (false, false) => editor.delete(found)?,
                (true, false) => editor.resize(found, bytes_before(start))?,
                (false, true) => {
                    editor.cut_front(found, bytes_before(end))?;
                    editor.set_key(found, key(end))?;
                }
                (true, true) => {
                    let rest = data.split_off(bytes_before(end));
                    editor.resize(found, bytes_before(start))?;
                    editor.insert(key(end), &rest)?;
                }
            }
        }
    }
}

fn key(logical: u64) -> Key {
    Key::new(objectid::EXTENT_CSUM, KeyType::EXTENT_CSUM, logical)
}

fn is_checksum(key: Key) -> bool {
    (key.objectid, key.key_type) == (objectid::EXTENT_CSUM, KeyType::EXTENT_CSUM)
}

fn damage(found: Key) -> Error {
    let problem = AddressProblem::Csums { key: found };
    Error::Block { what: Addressed::Csums, logical: Logical(found.offset), problem }
}
