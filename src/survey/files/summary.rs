//! What a leaf, or all leaves below a node, say of inodes: those that may continue in the neighbours as they are, and
//! of those that lie inside what is wrong with them and the sum of their names.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::block::Leaf;
use crate::disk::Logical;
use crate::table::Record;

use super::inode::{Inode, Rules};

/// The inodes at both ends.
#[derive(Clone, Copy, Debug)]
enum Ends {
    None,
    /// All items are of one inode.
    One(Inode),
    Two(Inode, Inode),
}

/// The summary of a leaf, to be kept until the nodes above the leaf are joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct LeafRecord {
    leaf: Logical,
    names: u64,
    /// The inodes at both ends: as many as there are.
    ends: [Inode; 2],
    end_count: u32,
    is_faulty: u32,
}

impl LeafRecord {
    pub fn new(leaf: Logical, summary: &Summary) -> Self {
        let none = Inode::new(0);
        let (ends, end_count) = match summary.ends {
            Ends::None => ([none, none], 0),
            Ends::One(inode) => ([inode, none], 1),
            Ends::Two(first, last) => ([first, last], 2),
        };
        Self { leaf, names: summary.names, ends, end_count, is_faulty: summary.is_faulty.into() }
    }

    pub fn summary(&self) -> Summary {
        let [first, last] = self.ends;
        let ends = match self.end_count {
            0 => Ends::None,
            1 => Ends::One(first),
            _ => Ends::Two(first, last),
        };
        Summary { ends, names: self.names, has_unread: false, is_faulty: self.is_faulty != 0 }
    }
}

impl Record for LeafRecord {
    fn key(&self) -> u64 {
        self.leaf.0
    }
}

/// A leaf or a subtree. Neighbours are joined in the order of their keys.
#[derive(Clone, Copy, Debug)]
pub struct Summary {
    ends: Ends,
    /// Sum of name hashes: zero if entries, indexes and back references of a tree agree.
    pub names: u64,
    /// Whether a part could not be read.
    pub has_unread: bool,
    /// Whether any inode inside is not sound.
    pub is_faulty: bool,
}

/// Inodes that are not sound, with the block in which or below which all their items lie.
pub type Faulty = Vec<(Logical, Inode)>;

/// Where an inode is said to go on, whatever its number.
const ANY: u64 = u64::MAX;

impl Summary {
    pub fn empty() -> Self {
        Self { ends: Ends::None, names: 0, has_unread: false, is_faulty: false }
    }

    /// In the place of a block that could not be read; `first` is the object id of its first key.
    pub fn unread(first: u64) -> Self {
        let ends = Ends::Two(Inode::unknown(first), Inode::unknown(ANY));
        Self { ends, has_unread: true, ..Self::empty() }
    }

    /// Sums up a leaf. Whether any of its names leads to a subvolume is returned as well.
    pub fn of_leaf(leaf: Leaf<'_>, rules: &Rules<'_>, faulty: &mut Faulty) -> (Self, bool) {
        let block = leaf.block().logical();
        let mut summary = Self::empty();
        let (mut current, mut names_subvolumes): (Option<Inode>, bool) = Default::default();
        for item in leaf.items().flatten().filter(|item| Inode::is_number(item.key.objectid)) {
            let number = item.key.objectid;
            let inode = match &mut current {
                Some(inode) if inode.number == number => inode,
                _ => {
                    if let Some(before) = current.take() {
                        summary.append(before, block, rules, faulty);
                    }
                    current.insert(Inode::new(number))
                }
            };
            summary.names = summary.names.wrapping_add(inode.add(&item, rules));
            names_subvolumes |= inode.names_subvolumes();
        }
        if let Some(last) = current {
            summary.append(last, block, rules, faulty);
        }
        (summary, names_subvolumes)
    }

    /// Takes the next inode.
    fn append(&mut self, next: Inode, block: Logical, rules: &Rules<'_>, faulty: &mut Faulty) {
        self.ends = match self.ends {
            Ends::None => Ends::One(next),
            Ends::One(first) => Ends::Two(first, next),
            Ends::Two(first, last) => {
                self.complete(&last, block, rules, faulty);
                Ends::Two(first, next)
            }
        };
    }

    /// Takes what comes right of it below the node at `block`.
    pub fn join(&mut self, right: &Summary, block: Logical, rules: &Rules<'_>, faulty: &mut Faulty) {
        self.names = self.names.wrapping_add(right.names);
        self.has_unread |= right.has_unread;
        self.is_faulty |= right.is_faulty;
        let (head, tail) = match right.ends {
            Ends::None => return,
            Ends::One(inode) => (inode, None),
            Ends::Two(head, tail) => (head, Some(tail)),
        };
        match &mut self.ends {
            Ends::One(last) | Ends::Two(_, last) if last.number == head.number || last.number == ANY => {
                last.number = head.number;
                *last = last.followed_by(&head);
            }
            _ => self.append(head, block, rules, faulty),
        }
        if let Some(tail) = tail {
            self.append(tail, block, rules, faulty);
        }
    }

    /// Ends the tree; its first inode is returned.
    pub fn finish(&mut self, block: Logical, rules: &Rules<'_>, faulty: &mut Faulty) -> Option<Inode> {
        let (first, last) = match self.ends {
            Ends::None => return None,
            Ends::One(inode) => (inode, None),
            Ends::Two(first, last) => (first, Some(last)),
        };
        for inode in [Some(first), last].into_iter().flatten() {
            self.complete(&inode, block, rules, faulty);
        }
        Some(first)
    }

    fn complete(&mut self, inode: &Inode, block: Logical, rules: &Rules<'_>, faulty: &mut Faulty) {
        self.names = self.names.wrapping_sub(inode.names());
        let mut is_sound = true;
        inode.faults(rules, |_| is_sound = false);
        if !is_sound {
            self.is_faulty = true;
            faulty.push((block, *inode));
        }
    }
}
