//! Walks over the blocks of a tree, from left to right.

use std::collections::HashSet;

use crate::block::verify::Expected;
use crate::block::{Block, BlockKind};
use crate::disk::node::KeyPtr;
use crate::disk::{Key, Logical, Transid};
use crate::volume::{BadCopy, Volume};

use super::visitor::{BlockPlace, Tree, Visit, Visitor};

/// Which blocks a walk yields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Levels {
    /// All, parents before children.
    All,
    /// Those of one level.
    Only(u8),
    /// Leaves, and each node that cannot be read in the place of the leaves below it.
    Leaves,
}

/// Yields pointers to blocks; only the nodes above them are read. What stands below a node that cannot be read is
/// skipped: a caller that reads the blocks that are yielded meets that node as well, and its error. A walk over one level
/// yields no node above it: its gaps show in the walks over those levels.
///
/// Memory is that of one path through the tree and the addresses of its nodes. A node that is reached twice is entered
/// once, and of the pointers of a node to the same block only the first is followed: a damaged tree cannot make a walk
/// endless, nor much longer than the image.
pub struct Walk<'v> {
    volume: &'v Volume,
    levels: Levels,
    root: Option<Expected>,
    path: Vec<Frame>,
    entered: HashSet<Logical>,
    buffer: Vec<u8>,
}

/// A node on the path.
struct Frame {
    level: u8,
    ptrs: Vec<KeyPtr>,
    next: usize,
}

impl<'v> Walk<'v> {
    /// A walk over the tree or subtree with this root.
    pub fn new(volume: &'v Volume, root: Expected, levels: Levels) -> Self {
        let (path, entered, buffer) = Default::default();
        Self { volume, levels, root: Some(root), path, entered, buffer }
    }

    /// Puts the children of `expected` on the path, if it is a node and there is more to yield below it.
    fn enter(&mut self, expected: &Expected) -> Option<u8> {
        let lowest = match self.levels {
            Levels::All | Levels::Leaves => 0,
            Levels::Only(lowest) => lowest,
        };
        let (volume, buffer) = (self.volume, &mut self.buffer);
        let (level, ptrs) = volume.undisturbed(|| {
            let read = volume.read_block(expected, buffer).ok()?;
            let ptrs = match read.block.kind() {
                BlockKind::Node(node) if read.block.level() > lowest => node.ptrs().to_vec(),
                _ => Vec::new(),
            };
            Some((read.block.level(), ptrs))
        })?;
        if level > lowest && self.entered.insert(expected.logical) {
            let mut children = HashSet::new();
            let is_new = |ptr: &KeyPtr| children.insert(Logical::from(ptr.blockptr));
            self.path.push(Frame { level, ptrs: ptrs.into_iter().filter(is_new).collect(), next: 0 });
        }
        Some(level)
    }

    fn yields(&self, level: u8, readable: bool) -> bool {
        match self.levels {
            Levels::All => true,
            Levels::Only(only) => level == only,
            Levels::Leaves => level == 0 || !readable,
        }
    }
}

impl Iterator for Walk<'_> {
    type Item = Expected;

    fn next(&mut self) -> Option<Expected> {
        if let Some(root) = self.root.take() {
            // The level of an unreadable root may be unknown: it is yielded by the walk that the tree begins with.
            let entered = self.enter(&root);
            if entered.or(root.level).is_none_or(|level| self.yields(level, entered.is_some())) {
                return Some(root);
            }
        }
        loop {
            let frame = self.path.last_mut()?;
            let Some(ptr) = frame.ptrs.get(frame.next) else {
                self.path.pop();
                continue;
            };
            frame.next += 1;
            let child = Expected::child(ptr, frame.level);
            let level = frame.level - 1;
            let is_entered = level > 0 && self.levels != Levels::Only(level);
            let readable = !is_entered || self.enter(&child).is_some();
            if self.yields(level, readable) {
                return Some(child);
            }
        }
    }
}

/// The blocks that serial walks have entered: each is entered once by pointers that say the same generation, so that
/// damaged trees end.
#[derive(Default)]
pub struct Entered {
    blocks: HashSet<(Logical, Option<Transid>)>,
    buffer: Vec<u8>,
}

/// Walks over a tree on the caller's thread, from left to right, and reads the first good copy of each block. What
/// `visitor` learns is added to `part`.
pub fn walk<V: Visitor>(volume: &Volume, tree: &Tree, entered: &mut Entered, visitor: &V, part: &mut V::Part) {
    let mut scratch = Vec::new();
    let read = |expected: &Expected, buffer: &mut Vec<u8>| {
        let (bytes, bad) = volume.undisturbed(|| match volume.read_block(expected, &mut scratch) {
            Ok(read) => Ok((read.block.bytes().to_vec(), read.bad)),
            Err(error) => Err(error.bad),
        })?;
        *buffer = bytes;
        Ok(bad)
    };
    walk_by(read, tree, entered, visitor, part);
}

/// As [`walk`], where `read` fills the buffer with a good copy of a block. It returns the bad ones that it met.
pub(super) fn walk_by<V: Visitor>(
    mut read: impl FnMut(&Expected, &mut Vec<u8>) -> Result<Vec<BadCopy>, Vec<BadCopy>>,
    tree: &Tree,
    entered: &mut Entered,
    visitor: &V,
    part: &mut V::Part,
) {
    // Whether a block is on the path to the first key that is not dropped yet stands beside it.
    let mut pending = vec![(tree.root.expected(), None::<Key>, tree.drop_progress.is_some())];
    while let Some((expected, end, on_dropped_path)) = pending.pop() {
        let place = BlockPlace { tree, expected, end, is_disputed: false };
        if !entered.blocks.insert((expected.logical, expected.generation)) {
            visitor.again(part, &place);
            continue;
        }
        let read = read(&expected, &mut entered.buffer);
        let (block, bad) = match (read, Block::new(&entered.buffer)) {
            (Ok(bad), Some(block)) => (block, bad),
            (Ok(bad) | Err(bad), _) => {
                visitor.unreadable(part, &place, bad);
                continue;
            }
        };
        if !bad.is_empty() {
            visitor.bad_copies(part, &place, bad, block);
        }
        let node = match block.kind() {
            BlockKind::Leaf(leaf) => {
                visitor.visit(part, &place, Visit::Leaf(leaf));
                continue;
            }
            BlockKind::Node(node) => node,
        };
        let (ptrs, level) = (node.ptrs(), block.level());
        let kept = tree.kept(ptrs, level, on_dropped_path);
        let first = kept.first;
        visitor.visit(part, &place, Visit::Node(node, first));
        for (index, ptr) in ptrs.iter().enumerate().skip(first).rev() {
            let end = ptrs.get(index + 1).map(|next| Key::from(&next.key)).or(end);
            pending.push((Expected::child(ptr, level), end, kept.is_on_path(index)));
        }
    }
}
