//! Hard links: further names of files that have one already.

use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::table::Record;

use super::attributes::Attributes;

/// A further name of an inode, by the inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Link {
    /// Number of the inode.
    pub inode: u64,
    /// The directory that the name stands in, and its index there.
    pub parent: u64,
    /// Index of the name in its directory.
    pub index: u64,
    /// Where its entry stands among the records.
    pub position: u64,
}

impl Record for Link {
    fn key(&self) -> u64 {
        self.inode
    }
}

/// The files of a tree of which more names may come, by device and number.
#[derive(Debug, Default)]
pub struct Linked {
    /// The inode, and how many names are yet to come.
    known: HashMap<(u64, u64), (u64, u32)>,
}

impl Linked {
    /// The inode that a file is already; else it will be `new`.
    pub fn find(&mut self, attributes: &Attributes, new: u64) -> Option<u64> {
        if attributes.nlink < 2 || attributes.is_directory() {
            return None;
        }
        match self.known.entry((attributes.dev, attributes.ino)) {
            Slot::Vacant(slot) => {
                slot.insert((new, attributes.nlink - 1));
                None
            }
            Slot::Occupied(mut slot) => {
                let (inode, left) = slot.get_mut();
                let inode = *inode;
                *left -= 1;
                if *left == 0 {
                    slot.remove();
                }
                Some(inode)
            }
        }
    }
}
