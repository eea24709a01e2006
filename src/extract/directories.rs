//! The directories that are extracted.

use std::ops::Range;

use crate::files::InodeId;

/// The number of a directory. The root has the first one, and each has a greater one than the directory that it is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DirectoryNumber(u32);

impl DirectoryNumber {
    /// The directory that all others are in.
    pub const ROOT: Self = Self(0);
}

/// A directory that is extracted.
pub struct Directory {
    /// Of the root its own number.
    pub parent: DirectoryNumber,
    /// Its name there; empty for the root.
    pub name: Box<[u8]>,
    /// Nothing for one that was made for what is lost.
    pub inode: Option<InodeId>,
}

/// All of them, in the order of their numbers.
pub struct Directories {
    list: Vec<Directory>,
}

impl Directories {
    pub fn new(root: InodeId) -> Self {
        let root = Directory { parent: DirectoryNumber::ROOT, name: Box::default(), inode: Some(root) };
        Self { list: vec![root] }
    }

    /// Adds a directory; nothing if there are too many to number.
    pub fn add(&mut self, parent: DirectoryNumber, name: &[u8], inode: Option<InodeId>) -> Option<DirectoryNumber> {
        let number = DirectoryNumber(u32::try_from(self.list.len()).ok()?);
        self.list.push(Directory { parent, name: name.into(), inode });
        Some(number)
    }

    pub fn get(&self, number: DirectoryNumber) -> &Directory {
        &self.list[number.0 as usize]
    }

    /// The numbers from that of the directory `first` on; all of them for 0.
    pub fn numbers_from(&self, first: usize) -> impl DoubleEndedIterator<Item = DirectoryNumber> + use<> {
        self.numbers(first..self.list.len())
    }

    /// The numbers of directories that were added so many before them.
    pub fn numbers(&self, range: Range<usize>) -> impl DoubleEndedIterator<Item = DirectoryNumber> + use<> {
        (range.start as u32..range.end as u32).map(DirectoryNumber)
    }

    pub fn count(&self) -> usize {
        self.list.len()
    }

    /// The path of a directory; empty for the root.
    pub fn path(&self, number: DirectoryNumber) -> Vec<u8> {
        let mut names = Vec::new();
        let mut current = number;
        while current != DirectoryNumber::ROOT {
            let directory = self.get(current);
            names.push(&directory.name[..]);
            current = directory.parent;
        }
        names.reverse();
        names.join(&b'/')
    }

    /// The path of a name in a directory.
    pub fn path_of(&self, number: DirectoryNumber, name: &[u8]) -> Vec<u8> {
        let mut path = self.path(number);
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(name);
        path
    }
}
