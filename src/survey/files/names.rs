//! Names in directories: each stands in an entry, in an index and in a back reference of its inode.

use crate::block::ItemRef;
use crate::disk::inode::{DirItem, Entries, InodeExtref, InodeRef, dir_type};
use crate::disk::{Key, KeyType};
use crate::mix::{mix, mix_bytes};

/// Which item holds a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Holder {
    /// DIR_ITEM.
    Entry,
    /// DIR_INDEX.
    Index,
    /// INODE_REF or INODE_EXTREF.
    Reference,
}

/// A name, as one item has it.
#[derive(Clone, Copy, Debug)]
pub struct Name<'a> {
    pub directory: u64,
    pub name: &'a [u8],
    /// The inode, or the subvolume.
    pub inode: u64,
    /// What the key of an entry is that of; of a back reference that of an inode item.
    pub location: KeyType,
    /// The index; nothing in an entry.
    pub index: u64,
    /// The type; nothing in a back reference.
    pub entry_type: u8,
}

impl Name<'_> {
    pub fn leads_to_inode(&self) -> bool {
        self.location == KeyType::INODE_ITEM
    }

    pub fn name_hash(&self) -> u64 {
        mix_bytes(self.name)
    }

    /// Of what an entry and an index have in common.
    pub fn entry_hash(&self) -> u64 {
        self.entry_hash_of(self.name_hash())
    }

    /// Of what an index and a back reference have in common.
    pub fn link_hash(&self) -> u64 {
        self.link_hash_of(self.name_hash())
    }

    /// [`Name::entry_hash`] and [`Name::link_hash`] at once.
    pub fn hashes(&self) -> (u64, u64) {
        let name = self.name_hash();
        (self.entry_hash_of(name), self.link_hash_of(name))
    }

    fn entry_hash_of(&self, name: u64) -> u64 {
        let location = u64::from(self.location.0) << 8 | u64::from(self.entry_type);
        mix(&[1, self.directory, self.inode, location, name])
    }

    fn link_hash_of(&self, name: u64) -> u64 {
        mix(&[2, self.directory, self.inode, self.index, name])
    }

    /// Of the name in its directory.
    pub fn place(&self) -> u64 {
        mix(&[self.directory, self.name_hash()])
    }
}

/// Hands each name of an item to `visit`; there are none in items of other types.
pub fn names_of<'a>(item: &ItemRef<'a>, mut visit: impl FnMut(Holder, Name<'a>)) {
    let Key { objectid, key_type, offset } = item.key;
    let reference = |directory: u64, index: u64, name: &'a [u8]| Name {
        directory,
        name,
        inode: objectid,
        location: KeyType::INODE_ITEM,
        index,
        entry_type: dir_type::UNKNOWN,
    };
    match key_type {
        KeyType::INODE_REF => {
            for named in Entries::<InodeRef>::new(item.data).map_while(Result::ok) {
                visit(Holder::Reference, reference(offset, named.entry.index.get(), named.name));
            }
        }
        KeyType::INODE_EXTREF => {
            for named in Entries::<InodeExtref>::new(item.data).map_while(Result::ok) {
                let (directory, index) = (named.entry.parent_objectid.get(), named.entry.index.get());
                visit(Holder::Reference, reference(directory, index, named.name));
            }
        }
        KeyType::DIR_ITEM | KeyType::DIR_INDEX => {
            let is_index = key_type == KeyType::DIR_INDEX;
            for named in Entries::<DirItem>::new(item.data).map_while(Result::ok) {
                let location = Key::from(&named.entry.location);
                let name = Name {
                    directory: objectid,
                    name: named.name,
                    inode: location.objectid,
                    location: location.key_type,
                    index: if is_index { offset } else { 0 },
                    entry_type: named.entry.r#type & !dir_type::ENCRYPTED,
                };
                visit(if is_index { Holder::Index } else { Holder::Entry }, name);
            }
        }
        _ => {}
    }
}
