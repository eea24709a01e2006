//! Names that inodes have by themselves: their references to directories.

use std::collections::HashSet;
use std::ops::ControlFlow;

use crate::disk::inode::{Entries, InodeExtref, InodeRef};
use crate::disk::{Ino, Key, KeyType, TreeId, hash};
use crate::error::{Error, FileProblem, Result};

use super::entries::{RawEntry, is_name};
use super::id::InodeId;
use super::store::{Files, tree_block};

impl Files<'_> {
    /// Whether what an entry leads to has the entry's name itself. What cannot be read is taken for true.
    pub(super) fn is_confirmed(&self, directory: InodeId, raw: &RawEntry) -> bool {
        let RawEntry { name, location, .. } = raw;
        if location.key_type == KeyType::ROOT_ITEM {
            return self.has_root_ref(directory, name, TreeId(location.objectid));
        }
        let id = InodeId::new(directory.tree, Ino(location.objectid));
        let names = |data: &[u8]| Entries::<InodeRef>::new(data).flatten().any(|named| named.name == name);
        let by_ref = self.item(id, Key::new(id.ino.0, KeyType::INODE_REF, directory.ino.0), names);
        let is_parent = |entry: &InodeExtref| entry.parent_objectid.get() == directory.ino.0;
        let names = |data: &[u8]| {
            Entries::<InodeExtref>::new(data).flatten().any(|named| is_parent(named.entry) && named.name == name)
        };
        let extref = Key::new(id.ino.0, KeyType::INODE_EXTREF, hash::inode_extref(directory.ino.0, name));
        match by_ref {
            Ok(Some(true)) | Err(_) => true,
            Ok(_) => !matches!(self.item(id, extref, names), Ok(None | Some(false))),
        }
    }

    /// A path of an inode from the root directory of its subvolume, by the references that inodes have to their directories:
    /// it needs no directory to be readable. The root directory's is empty; of several names the first is taken.
    ///
    /// # Errors
    ///
    /// A reference is missing ([`FileProblem::NoInode`]) or cannot be read, or directories form a loop
    /// ([`FileProblem::Loop`]).
    pub fn path_in_subvolume(&self, id: InodeId) -> Result<Vec<u8>> {
        let (path, lost) = self.known_path(id);
        lost.map_or(Ok(path), Err)
    }

    /// The end of the path that [`Self::path_in_subvolume`] returns, as much of it as can be told, and what keeps the rest from it.
    pub fn known_path(&self, id: InodeId) -> (Vec<u8>, Option<Error>) {
        let mut names = Vec::new();
        let lost = self.names_upwards(id, &mut names).err();
        names.reverse();
        (names.join(&b'/'), lost)
    }

    fn names_upwards(&self, id: InodeId, names: &mut Vec<Vec<u8>>) -> Result<()> {
        let root = self.tree(id.tree)?.directory;
        let (mut current, mut met) = (id, HashSet::new());
        while current.ino != root {
            if !met.insert(current.ino) {
                return Err(current.error(FileProblem::Loop));
            }
            let (parent, name) = self.first_name(current)?;
            names.push(name);
            current.ino = parent;
        }
        Ok(())
    }

    /// The first directory and name that an inode refers to.
    fn first_name(&self, id: InodeId) -> Result<(Ino, Vec<u8>)> {
        let key = |key_type, offset| Key::new(id.ino.0, key_type, offset);
        let (from, to) = (key(KeyType::INODE_REF, 0), key(KeyType::INODE_EXTREF, u64::MAX));
        let mut found = None;
        let unreadable = self.scan(id.tree, from, to, |item| {
            let first = match item.key.key_type {
                KeyType::INODE_REF => {
                    let named = Entries::<InodeRef>::new(item.data).flatten().next();
                    named.map(|named| (item.key.offset, named.name))
                }
                KeyType::INODE_EXTREF => {
                    let named = Entries::<InodeExtref>::new(item.data).flatten().next();
                    named.map(|named| (named.entry.parent_objectid.get(), named.name))
                }
                _ => None,
            };
            let first = first.filter(|(_, name)| is_name(name));
            found = first.map(|(parent, name)| (Ino(parent), name.to_vec()));
            if found.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        match (found, unreadable) {
            (Some(found), _) => Ok(found),
            (None, Some(unreadable)) => Err(id.error(tree_block(&unreadable.block))),
            (None, None) => Err(id.error(FileProblem::NoInode)),
        }
    }
}
