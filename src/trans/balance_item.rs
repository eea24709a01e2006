//! The item of a balance that is paused or was interrupted, in the root tree.

use crate::disk::flags::block_group;
use crate::disk::volume::BalanceItem;
use crate::disk::{BlockGroupFlags, Key, KeyType, objectid};
use crate::error::{AddressProblem, Addressed, Error, Result};

use super::filesystem::Filesystem;
use super::handle::Handle;

/// Its key.
pub(super) const KEY: Key = Key::new(objectid::BALANCE, KeyType::TEMPORARY_ITEM, 0);

impl Filesystem {
    /// The item of a balance that the kernel would go on with at the next mount; `None` if there is none.
    ///
    /// # Errors
    /// The root tree cannot be read, or the item is too short.
    pub fn balance_item(&self) -> Result<Option<BalanceItem>> {
        let mut tree = self.trees.root.lock();
        let Some(data) = tree.find(self, KEY)? else { return Ok(None) };
        let too_short = || Error::Block {
            what: Addressed::BalanceItem,
            logical: tree.root.logical,
            problem: AddressProblem::TooShort,
        };
        BalanceItem::read_prefix(&data).map(|(item, _)| Some(*item)).ok_or_else(too_short)
    }
}

impl Handle<'_> {
    /// Deletes the item of a balance, which ends with the commit. New chunks have the profiles of the others from now on.
    ///
    /// # Errors
    /// There is no such item, or the root tree cannot be changed.
    pub fn delete_balance_item(&mut self) -> Result<()> {
        self.fs.trees.root.lock().edit(self.fs, |editor| editor.delete(KEY))?;
        let mut space = self.fs.space();
        for type_bits in [block_group::DATA, block_group::METADATA, block_group::SYSTEM] {
            space.info_mut(BlockGroupFlags(type_bits)).convert_target = None;
        }
        Ok(())
    }
}
