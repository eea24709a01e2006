//! Entries of directories as their items say, and where they lead.

use std::ops::ControlFlow;

use crate::disk::inode::{DirItem, Entries};
use crate::disk::root::RootRef;
use crate::disk::{Ino, Key, KeyType, NAME_LEN, TreeId, objectid};
use crate::error::{FileProblem, Result};

use super::id::{EMPTY_SUBVOL_DIR, FileKind, InodeId};
use super::store::Files;

/// An entry of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirEntry {
    /// Without slashes and zero bytes, and neither `.` nor `..`.
    pub name: Vec<u8>,
    /// As the entry says; the inode's mode should say the same.
    pub kind: FileKind,
    /// Where it leads: of a subvolume, its root directory.
    pub inode: InodeId,
}

/// An entry as it stands in an item. That its name can be one is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RawEntry {
    pub name: Vec<u8>,
    pub raw_type: u8,
    pub location: Key,
}

/// Whether a file can have this name.
pub(super) fn is_name(name: &[u8]) -> bool {
    !name.is_empty()
        && name.len() <= NAME_LEN
        && name != b"."
        && name != b".."
        && !name.iter().any(|byte| matches!(byte, 0 | b'/'))
}

/// The entries of a `DIR_ITEM` or `DIR_INDEX` item.
pub(super) fn raw_entries(key: Key, data: &[u8]) -> impl Iterator<Item = Result<RawEntry, FileProblem>> {
    Entries::<DirItem>::new(data).map(move |named| {
        let named = named.map_err(|_| FileProblem::Cut { key_offset: key.offset })?;
        let name = named.name.to_vec();
        if !is_name(&name) {
            return Err(FileProblem::Name { name });
        }
        let location = Key::from(&named.entry.location);
        let leads_somewhere = match location.key_type {
            KeyType::INODE_ITEM => true,
            KeyType::ROOT_ITEM => objectid::is_fs_tree(location.objectid),
            _ => false,
        };
        if !leads_somewhere {
            let Key { objectid, key_type: KeyType(key_type), offset } = location;
            return Err(FileProblem::Location { name, objectid, key_type, offset });
        }
        Ok(RawEntry { name, raw_type: named.entry.r#type, location })
    })
}

impl Files<'_> {
    /// The entry with the inode that it leads to.
    pub(super) fn resolve(&self, directory: InodeId, raw: RawEntry) -> DirEntry {
        let RawEntry { name, raw_type, location } = raw;
        let inode = match location.key_type {
            KeyType::ROOT_ITEM => self.subvolume_at(directory, &name, TreeId(location.objectid)),
            _ => InodeId::new(directory.tree, Ino(location.objectid)),
        };
        DirEntry { name, kind: FileKind::of_dir_type(raw_type), inode }
    }

    /// The root directory of the subvolume that an entry leads to. In a snapshot such an entry leads to a subvolume that stands
    /// elsewhere, and the kernel shows an empty directory in its place.
    fn subvolume_at(&self, directory: InodeId, name: &[u8], child: TreeId) -> InodeId {
        match self.has_root_ref(directory, name, child) {
            true => {
                let root = self.tree(child).map_or(Ino(objectid::ROOT_DIR), |subtree| subtree.directory);
                InodeId::new(child, root)
            }
            false => InodeId::new(directory.tree, EMPTY_SUBVOL_DIR),
        }
    }

    /// Whether a subvolume stands under this name in this directory, by its reference or, where that is lost, its back
    /// reference. Where neither can be read it is taken for true.
    pub(super) fn has_root_ref(&self, directory: InodeId, name: &[u8], child: TreeId) -> bool {
        let keys = [
            Key::new(directory.tree.0, KeyType::ROOT_REF, child.0),
            Key::new(child.0, KeyType::ROOT_BACKREF, directory.tree.0),
        ];
        let mut is_known = true;
        for key in keys {
            let mut is_here = false;
            let unreadable = self.scan_root_tree(key, key, |item| {
                is_here = root_ref(item.data).is_some_and(|(dirid, found)| dirid == directory.ino && found == name);
                ControlFlow::Break(())
            });
            if is_here {
                return true;
            }
            is_known &= unreadable.is_none();
        }
        !is_known
    }
}

/// Directory and name in a reference to a subvolume.
pub(super) fn root_ref(data: &[u8]) -> Option<(Ino, &[u8])> {
    let (root_ref, rest) = RootRef::read_prefix(data)?;
    Some((root_ref.dirid.into(), rest.get(..root_ref.name_len.get().into())?))
}
