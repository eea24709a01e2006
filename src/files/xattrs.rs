//! Extended attributes.

use std::ops::ControlFlow;

use crate::disk::inode::{DirItem, Entries};
use crate::disk::{Key, KeyType, hash};
use crate::error::{FileProblem, Result};

use super::id::InodeId;
use super::store::{Files, tree_block};

/// An extended attribute. ACLs are such, in the form that the kernel gives to programs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Xattr {
    /// With its prefix, as `user.`; it may be any bytes.
    pub name: Vec<u8>,
    /// Its value.
    pub value: Vec<u8>,
}

impl Files<'_> {
    /// The extended attributes of an inode, in the order of their items. A block that cannot be read and an item that is cut
    /// short are errors among them.
    ///
    /// # Errors
    ///
    /// There is no such tree.
    pub fn xattrs(&self, id: InodeId) -> Result<Vec<Result<Xattr>>> {
        let key = |offset| Key::new(id.ino.0, KeyType::XATTR_ITEM, offset);
        let mut xattrs = Vec::new();
        let unreadable = self.scan(id.tree, key(0), key(u64::MAX), |item| {
            let entries = Entries::<DirItem>::new(item.data);
            xattrs.extend(entries.map(|named| match named {
                Ok(named) => Ok(Xattr { name: named.name.to_vec(), value: named.data.to_vec() }),
                Err(_) => Err(id.error(FileProblem::Cut { key_offset: item.key.offset })),
            }));
            ControlFlow::Continue(())
        })?;
        xattrs.extend(unreadable.map(|unreadable| Err(id.error(tree_block(&unreadable.block)))));
        Ok(xattrs)
    }

    /// The value of one extended attribute; nothing if the inode has none of this name.
    ///
    /// # Errors
    ///
    /// There is no such tree, or the block in which it would stand cannot be read.
    pub fn xattr(&self, id: InodeId, name: impl AsRef<[u8]>) -> Result<Option<Vec<u8>>> {
        let name = name.as_ref();
        let key = Key::new(id.ino.0, KeyType::XATTR_ITEM, hash::dir_item(name));
        let value = self.item(id, key, |data| {
            let found = Entries::<DirItem>::new(data).flatten().find(|named| named.name == name);
            found.map(|named| named.data.to_vec())
        })?;
        Ok(value.flatten())
    }
}
