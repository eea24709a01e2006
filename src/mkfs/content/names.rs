//! The names in a directory.

use crate::disk::inode::dir_type;
use crate::disk::{Key, KeyType, hash};

use super::super::source::{Entry, FIRST_INDEX, What};

/// The names of a directory in the order of their indexes, which begin with [`FIRST_INDEX`].
#[derive(Debug, Default)]
pub struct Names {
    bytes: Vec<u8>,
    names: Vec<Name>,
    /// Hashes and places in `names`, sorted.
    by_hash: Vec<(u32, u32)>,
}

#[derive(Clone, Copy, Debug)]
struct Name {
    target: u64,
    /// Where the name ends in `bytes`; it begins where the one before ends.
    end: u32,
    entry_type: u8,
    is_subvolume: bool,
}

/// A name, and where it leads to.
#[derive(Clone, Copy, Debug)]
pub struct Named<'n> {
    pub name: &'n [u8],
    pub index: u64,
    pub location: Key,
    pub entry_type: u8,
}

impl Names {
    pub fn push(&mut self, entry: &Entry) {
        self.bytes.extend_from_slice(&entry.name);
        self.names.push(Name {
            target: entry.target,
            end: self.bytes.len() as u32,
            entry_type: entry.attributes.entry_type().unwrap_or(dir_type::UNKNOWN),
            is_subvolume: entry.what == What::SUBVOLUME,
        });
    }

    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// The size of the directory: each name counts twice, for it stands under its hash and under its index.
    pub fn size(&self) -> u64 {
        2 * self.bytes.len() as u64
    }

    pub fn sort(&mut self) {
        self.by_hash =
            (0..self.names.len()).map(|place| (hash::dir_item(self.get(place).name) as u32, place as u32)).collect();
        self.by_hash.sort_unstable();
    }

    fn get(&self, place: usize) -> Named<'_> {
        let start = place.checked_sub(1).map_or(0, |before| self.names[before].end as usize);
        let Name { target, end, entry_type, is_subvolume } = self.names[place];
        let location = match is_subvolume {
            true => Key::new(target, KeyType::ROOT_ITEM, u64::MAX),
            false => Key::new(target, KeyType::INODE_ITEM, 0),
        };
        Named { name: &self.bytes[start..end as usize], index: FIRST_INDEX + place as u64, location, entry_type }
    }

    pub fn by_index(&self) -> impl Iterator<Item = Named<'_>> {
        (0..self.names.len()).map(|place| self.get(place))
    }

    /// The names of each hash, the hashes in order. [`Names::sort`] comes first.
    pub fn by_hash(&self) -> impl Iterator<Item = (u64, impl Iterator<Item = Named<'_>>)> {
        let same = self.by_hash.chunk_by(|a, b| a.0 == b.0);
        same.map(|same| (same[0].0.into(), same.iter().map(|(_, place)| self.get(*place as usize))))
    }
}
