//! Which inodes were met.

use std::collections::HashMap;

use crate::disk::TreeId;
use crate::files::InodeId;

const WORDS: usize = 8;
const INODES: u64 = 64 * WORDS as u64;

/// A set of inodes, in which those of near numbers take a bit each.
#[derive(Default)]
pub struct Visited {
    bits: HashMap<(TreeId, u64), [u64; WORDS]>,
}

impl Visited {
    /// Adds an inode.
    pub fn add(&mut self, id: InodeId) {
        let (part, word, bit) = place(id);
        self.bits.entry((id.tree, part)).or_default()[word] |= bit;
    }

    /// Whether an inode was added.
    pub fn has(&self, id: InodeId) -> bool {
        let (part, word, bit) = place(id);
        self.bits.get(&(id.tree, part)).is_some_and(|words| words[word] & bit != 0)
    }
}

fn place(id: InodeId) -> (u64, usize, u64) {
    let within = id.ino.0 % INODES;
    (id.ino.0 / INODES, (within / 64) as usize, 1 << (within % 64))
}
