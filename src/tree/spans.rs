//! Leaves by key, in trees that may be damaged: what cannot be read is a range of keys, and what is behind it is found.

use std::ops::ControlFlow;
use std::sync::Arc;

use crate::block::verify::Expected;
use crate::block::{Block, BlockKind, ItemRef};
use crate::disk::{Key, Logical};
use crate::volume::{BadCopy, NoGoodCopy, Volume};

use super::TreeRoot;
use super::cache::BlockCache;

/// The keys whose items stand in one leaf, or below one block that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The first key.
    pub first: Key,
    /// The first key that stands behind it; nothing at the end of the tree.
    pub end: Option<Key>,
}

impl Span {
    fn holds(&self, key: Key) -> bool {
        self.first <= key && self.end.is_none_or(|end| key < end)
    }
}

/// A leaf that was found by a key.
pub struct LeafRead {
    /// Keys that the leaf may hold.
    pub span: Span,
    bytes: Arc<Vec<u8>>,
    /// Copies of it, and of the nodes above it, that were found bad before a good one.
    pub bad: Vec<(Logical, BadCopy)>,
}

impl LeafRead {
    /// The items whose keys lie in the span, in the order of the leaf. Others stand there in damaged trees only.
    pub fn items(&self) -> impl Iterator<Item = ItemRef<'_>> {
        let leaf = Block::new(&self.bytes).and_then(|block| match block.kind() {
            BlockKind::Leaf(leaf) => Some(leaf),
            BlockKind::Node(_) => None,
        });
        let items = leaf.into_iter().flat_map(|leaf| leaf.items()).flatten();
        items.filter(|item| self.span.holds(item.key))
    }
}

/// A block that cannot be read, and the keys that stand below it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnreadableSpan {
    /// Keys that the block may hold.
    pub span: Span,
    /// The block, and what is wrong with its copies.
    pub block: NoGoodCopy,
}

/// What a visit of a range of keys meets.
pub enum LeafVisit<'a> {
    /// An item of the range.
    Item(ItemRef<'a>),
    /// A copy of the block at this address that is bad, while another one is good.
    BadCopy(Logical, &'a BadCopy),
    /// A block none of whose copies is good: items may be missing here.
    Unreadable(&'a UnreadableSpan),
}

impl TreeRoot {
    /// The leaf in which the item with this key stands, or would. The item with the greatest key below it stands there too, if
    /// the tree has any.
    ///
    /// # Errors
    ///
    /// No copy is good of a block on the way: the keys that stand below it, this one among them.
    pub fn leaf_at(&self, volume: &Volume, cache: &BlockCache, key: Key) -> Result<LeafRead, UnreadableSpan> {
        let mut span = Span { first: Key::MIN, end: None };
        let mut expected = self.expected();
        let mut bad = Vec::new();
        loop {
            let (bytes, bad_copies) = cache.read(volume, &expected).map_err(|block| UnreadableSpan { span, block })?;
            bad.extend(bad_copies.into_iter().map(|copy| (expected.logical, copy)));
            let Some(BlockKind::Node(node)) = Block::new(&bytes).map(|block| block.kind()) else {
                return Ok(LeafRead { span, bytes, bad });
            };
            let ptrs = node.ptrs();
            let after = ptrs.partition_point(|ptr| Key::from(&ptr.key) <= key);
            let index = after.saturating_sub(1);
            let Some(ptr) = ptrs.get(index) else {
                // A node without pointers: nothing stands below it, and nothing is known.
                let block = NoGoodCopy { logical: expected.logical, bad: Vec::new() };
                return Err(UnreadableSpan { span, block });
            };
            // Of a node whose keys are out of order nothing is taken that would lead back.
            if let Some(next) = ptrs.get(index + 1).map(|ptr| Key::from(&ptr.key)).filter(|next| *next > key) {
                span.end = Some(span.end.map_or(next, |end| end.min(next)));
            }
            if after > 0 {
                span.first = span.first.max(Key::from(&ptr.key));
            }
            expected = Expected::child(ptr, node.block().level());
        }
    }

    /// Visits what stands from `from` to `to`, both included, in the order of leaves, until `visit` breaks. A block that cannot
    /// be read is visited in its place, and the visit goes on behind it. Every step leads to a greater key, so that a damaged
    /// tree ends too.
    pub fn visit_range(
        &self,
        volume: &Volume,
        cache: &BlockCache,
        from: Key,
        to: Key,
        mut visit: impl FnMut(LeafVisit<'_>) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let mut next = Some(from);
        while let Some(key) = next.filter(|key| *key <= to) {
            let span = match self.leaf_at(volume, cache, key) {
                Ok(read) => {
                    for (logical, copy) in &read.bad {
                        visit(LeafVisit::BadCopy(*logical, copy))?;
                    }
                    for item in read.items().filter(|item| key <= item.key && item.key <= to) {
                        visit(LeafVisit::Item(item))?;
                    }
                    read.span
                }
                Err(unreadable) => {
                    visit(LeafVisit::Unreadable(&unreadable))?;
                    unreadable.span
                }
            };
            next = span.end;
        }
        ControlFlow::Continue(())
    }
}
