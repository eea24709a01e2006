//! Inodes as their items tell of them, whether a directory has a name for them or not.

use std::ops::ControlFlow;

use crate::block::ItemRef;
use crate::disk::inode::{Entries, InodeExtref, InodeItem, InodeRef};
use crate::disk::{Ino, Key, KeyType, TreeId, objectid};
use crate::error::Result;

use super::entries::is_name;
use super::id::{FileKind, InodeId};
use super::store::Files;

/// An inode with the names that it has itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TreeInode {
    /// Its number.
    pub ino: Ino,
    /// Number of names that the inode item says; nothing where that is lost.
    pub nlink: Option<u32>,
    /// As the inode item says, or else as its other items make likely.
    pub kind: FileKind,
    /// Directories and names in them, by its references. Names that no file can have are left out.
    pub names: Vec<(Ino, Vec<u8>)>,
}

impl TreeInode {
    fn new(ino: Ino) -> Self {
        Self { ino, nlink: None, kind: FileKind::Unknown, names: Vec::new() }
    }

    fn take(&mut self, item: &ItemRef<'_>) {
        match item.key.key_type {
            KeyType::INODE_ITEM => {
                if let Some((item, _)) = InodeItem::read_prefix(item.data) {
                    self.nlink = Some(item.nlink.get());
                    self.kind = FileKind::of_mode(item.mode.get());
                }
            }
            KeyType::INODE_REF => {
                let refs = Entries::<InodeRef>::new(item.data).flatten().filter(|named| is_name(named.name));
                self.names.extend(refs.map(|named| (Ino(item.key.offset), named.name.to_vec())));
            }
            KeyType::INODE_EXTREF => {
                let refs = Entries::<InodeExtref>::new(item.data).flatten().filter(|named| is_name(named.name));
                self.names.extend(refs.map(|named| (named.entry.parent_objectid.into(), named.name.to_vec())));
            }
            KeyType::DIR_ITEM | KeyType::DIR_INDEX if self.kind == FileKind::Unknown => self.kind = FileKind::Directory,
            KeyType::EXTENT_DATA if self.kind == FileKind::Unknown => self.kind = FileKind::File,
            _ => {}
        }
    }
}

impl Files<'_> {
    /// An inode as its items tell of it; nothing if it has none that can be read.
    ///
    /// # Errors
    ///
    /// There is no such tree.
    pub fn tree_inode(&self, id: InodeId) -> Result<Option<TreeInode>> {
        let key = |key_type| Key::new(id.ino.0, key_type, 0);
        let mut inode = None;
        self.scan(id.tree, key(KeyType(0)), Key::new(id.ino.0, KeyType(u8::MAX), u64::MAX), |item| {
            inode.get_or_insert_with(|| TreeInode::new(id.ino)).take(&item);
            // The items behind that one are many, and tell no more.
            match item.key.key_type >= KeyType::DIR_ITEM {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        })?;
        Ok(inode)
    }

    /// Inodes of a subvolume from the number `from` on, in order, about `limit` of them, and where to go on; nothing at the end.
    /// Those whose items stand in blocks that cannot be read are missing.
    ///
    /// # Errors
    ///
    /// There is no such tree.
    pub fn inodes(&self, tree: TreeId, from: Ino, limit: usize) -> Result<(Vec<TreeInode>, Option<Ino>)> {
        let mut inodes: Vec<TreeInode> = Vec::new();
        let (mut names, mut next) = (0, None);
        let (first, last) =
            (Key::new(from.0, KeyType(0), 0), Key::new(objectid::LAST_FREE, KeyType(u8::MAX), u64::MAX));
        self.scan(tree, first, last, |item| {
            let ino = Ino(item.key.objectid);
            if inodes.last().is_none_or(|inode| inode.ino != ino) {
                if inodes.len() + names >= limit {
                    next = Some(ino);
                    return ControlFlow::Break(());
                }
                inodes.push(TreeInode::new(ino));
            }
            let Some(inode) = inodes.last_mut() else { return ControlFlow::Continue(()) };
            let known = inode.names.len();
            inode.take(&item);
            names += inode.names.len() - known;
            ControlFlow::Continue(())
        })?;
        inodes.retain(|inode| inode.ino.0 >= objectid::FIRST_FREE);
        Ok((inodes, next))
    }
}
