//! A tree with the blocks that this transaction has made of it.

use std::collections::HashMap;
use std::ops::{Deref, DerefMut};

use crate::disk::{CsumType, Logical, Transid};
use crate::space::Payer;
use crate::sync::MutexGuard;
use crate::tree::TreeRoot;

/// The blocks of one tree that are new in this transaction, by address.
pub type NewBlocks = HashMap<Logical, Vec<u8>>;

/// A tree that is changed.
#[derive(Debug)]
pub struct StagedTree {
    /// Root of the tree as it is now.
    pub root: TreeRoot,
    pub(super) blocks: NewBlocks,
    /// Of a tree of files, the generation of its last snapshot: others may share blocks that are not newer.
    pub(super) last_snapshot: Option<Transid>,
    /// Blocks that it has more than its root item says.
    pub(super) growth: i64,
    pub(super) payer: Payer,
}

impl StagedTree {
    /// A tree of which no other shares blocks.
    pub fn new(root: TreeRoot) -> Self {
        Self { root, blocks: NewBlocks::new(), last_snapshot: None, growth: 0, payer: Payer::Handle }
    }

    /// A tree of files.
    pub(super) fn of_files(root: TreeRoot, last_snapshot: Transid) -> Self {
        Self { last_snapshot: Some(last_snapshot), ..Self::new(root) }
    }

    /// Whether the transaction has changed it.
    pub fn is_changed(&self) -> bool {
        !self.blocks.is_empty()
    }

    /// Takes the new blocks out, with their checksums.
    pub(super) fn take_stamped(&mut self, csum_type: CsumType) -> impl Iterator<Item = (Logical, Vec<u8>)> + use<> {
        std::mem::take(&mut self.blocks).into_iter().map(move |(logical, mut bytes)| {
            csum_type.stamp(&mut bytes);
            (logical, bytes)
        })
    }
}

/// A tree while the commit edits it, or [`super::Filesystem::flush`] does beside running handles: new blocks come out of the
/// global reserve.
pub(super) struct ByCommit<'t>(MutexGuard<'t, StagedTree>);

impl<'t> ByCommit<'t> {
    pub fn new(mut tree: MutexGuard<'t, StagedTree>) -> Self {
        tree.payer = Payer::Commit;
        Self(tree)
    }
}

impl Deref for ByCommit<'_> {
    type Target = StagedTree;

    fn deref(&self) -> &StagedTree {
        &self.0
    }
}

impl DerefMut for ByCommit<'_> {
    fn deref_mut(&mut self) -> &mut StagedTree {
        &mut self.0
    }
}

impl Drop for ByCommit<'_> {
    fn drop(&mut self) {
        self.0.payer = Payer::Handle;
    }
}
