//! What is to be done in one step.

use std::collections::BTreeMap;

use crate::disk::fields::Uuid;
use crate::disk::{Ino, Key, KeyType, Logical, Superblock, TreeId, objectid};
use crate::extract::DoubtfulInodes;
use crate::survey::Survey;
use crate::tree::{Tree, TreeRoot};
use crate::volume::Volume;

use super::copies::{Copy, StripeRange};
use super::edits::Edits;
use super::fix::Fix;

/// What the trees of space need.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Space {
    /// Nothing.
    #[default]
    Sound,
    /// Block groups and free space are noted anew: extents are as they should be.
    Groups,
    /// All of them are built anew.
    All,
}

/// Keys of a tree, from the first one to before the end, whose items may be of an earlier commit, or missing in part.
#[derive(Clone, Copy, Debug)]
pub struct Doubt {
    pub tree: u64,
    pub first: Option<Key>,
    pub end: Option<Key>,
}

impl Doubt {
    /// About all that one inode has.
    pub fn of_inode(tree: u64, inode: u64) -> Self {
        let first_of = |inode| Key::new(inode, KeyType(0), 0);
        Self { tree, first: Some(first_of(inode)), end: inode.checked_add(1).map(first_of) }
    }

    /// The inodes that it is about, if it is about any.
    pub fn inodes(&self) -> Option<DoubtfulInodes> {
        let has_inodes = objectid::is_fs_tree(self.tree) || self.tree == objectid::ROOT_TREE;
        let first = self.first.map_or(0, |first| first.objectid);
        // The end is the key of another inode, or of the same one.
        let last = self.end.map_or(u64::MAX, |end| end.predecessor().map_or(0, |last| last.objectid));
        let inodes = DoubtfulInodes { tree: TreeId(self.tree), first: Ino(first), last: Ino(last) };
        (has_inodes && first <= last).then_some(inodes)
    }
}

/// What the checksum tree that is made anew holds beside what is made of the data.
#[derive(Clone, Debug, Default)]
pub struct NewCsums {
    /// Whether the checksums stay that there are.
    pub keeps_old: bool,
    /// Data whose checksums go, sorted and without overlap.
    pub gone: Vec<(u64, u64)>,
    /// Checksums in which a bit was put back, by sector.
    pub put_back: BTreeMap<u64, Vec<u8>>,
}

/// The plan of one step.
pub struct Plan<'p> {
    /// The filesystem that it begins with.
    pub volume: &'p Volume,
    /// What is known of it.
    pub survey: &'p Survey,
    /// Changes of trees.
    pub edits: Edits,
    /// Copies of blocks to be written anew.
    pub copies: Vec<Copy>,
    /// Copies of data to be written anew, and parity after them.
    pub data: Vec<StripeRange>,
    /// The superblock as it is to be, but for roots, generation and totals.
    pub superblock: Box<Superblock>,
    /// Whether superblocks are to be written.
    pub is_superblock_due: bool,
    /// What the trees of space need.
    pub space: Space,
    /// Whether the device tree is built anew.
    pub devices: bool,
    /// Trees that are missing, and begin without items.
    pub new_trees: Vec<u64>,
    /// Whether the checksum tree is made anew.
    pub csums: Option<NewCsums>,
    /// Devices whose superblocks have the number of another one, by uuid, with their own.
    pub devids: Vec<(Uuid, u64)>,
    /// Where earlier versions of blocks stand, sorted: what is still lost below those that come back may be there.
    pub former: Vec<Logical>,
    /// Items that may not be what was lost.
    pub doubts: Vec<Doubt>,
    /// What is done, for the report.
    pub fixes: Vec<Fix>,
}

impl<'p> Plan<'p> {
    /// A plan of nothing.
    pub fn new(volume: &'p Volume, survey: &'p Survey) -> Self {
        Self {
            volume,
            survey,
            edits: Edits::default(),
            copies: Vec::new(),
            data: Vec::new(),
            superblock: Box::new(*volume.superblock()),
            is_superblock_due: false,
            space: Space::Sound,
            devices: false,
            new_trees: Vec::new(),
            csums: None,
            devids: Vec::new(),
            former: Vec::new(),
            doubts: Vec::new(),
            fixes: Vec::new(),
        }
    }

    /// Whether nothing is to be done.
    pub fn is_empty(&self) -> bool {
        self.edits.is_empty()
            && self.copies.is_empty()
            && self.data.is_empty()
            && !self.is_superblock_due
            && self.space == Space::Sound
            && !self.devices
            && self.new_trees.is_empty()
            && self.csums.is_none()
    }

    /// Whether trees other than those of space change.
    pub fn changes_trees(&self) -> bool {
        !self.edits.is_empty() || !self.new_trees.is_empty() || self.csums.is_some()
    }

    /// The trees of space need this at the least.
    pub fn need(&mut self, space: Space) {
        self.space = self.space.max(space);
    }

    /// A tree with this id that the survey reached.
    pub fn tree(&self, id: u64) -> Option<Tree> {
        let trees = &self.survey.trees;
        let all = trees.others.iter().chain([&trees.root_tree]).chain(&trees.extent_tree);
        // Of several the last counts, as for the kernel.
        all.rev().find(|tree| tree.id() == id).copied()
    }

    /// The root of such a tree.
    pub fn root(&self, id: u64) -> Option<TreeRoot> {
        self.tree(id).map(|tree| tree.root)
    }

    /// Notes a fix.
    pub fn fix(&mut self, fix: Fix) {
        self.fixes.push(fix);
    }
}
