//! What is known of a block besides its bytes.

use crate::block::item::{Rules, check_block};
use crate::block::verify::{Expected, Format};
use crate::block::{Block, BlockKind};
use crate::disk::fields::Uuid;
use crate::disk::{Key, Logical, Transid};
use crate::finding::{Finding, Severity};
use crate::survey::{Cursor, Survey};

/// What says the same as a pointer and the header of its block, and is neither of them. By default nothing does.
#[derive(Clone, Copy, Debug, Default)]
pub struct Witness {
    /// The generation in the block's extent item.
    pub generation: Option<Transid>,
    /// The first key, as another pointer to the block has it; of the first block of a node also the key of the pointer to the
    /// node.
    pub first_key: Option<Key>,
    /// The generation of the node with the pointer: what is below it is not newer.
    pub newest: Option<Transid>,
}

impl Witness {
    /// What the extent tree says of the block at `logical`.
    pub fn of_extent_item(survey: &Survey, logical: Logical) -> Self {
        let extent = survey.claims.extents.find(logical, &mut Cursor::default());
        Self { generation: extent.map(|extent| Transid(extent.generation)), ..Self::default() }
    }
}

/// The place of a block in its tree, and the rules that hold there.
#[derive(Clone, Copy)]
pub struct Place<'p> {
    /// What the pointer says of the block.
    pub expected: Expected,
    /// Keys of the block are below this.
    pub end: Option<Key>,
    /// The tree that the block was reached in.
    pub tree: u64,
    /// The owner that the header has to name; nothing where several may stand there, as snapshots share blocks.
    pub owner: Option<u64>,
    /// The uuid of the chunk tree in all headers, if it is known.
    pub chunk_tree_uuid: Option<Uuid>,
    /// What all blocks of the filesystem have in common.
    pub format: &'p Format,
    /// The rules of items.
    pub rules: &'p Rules,
    /// What is known of generation and first key from elsewhere.
    pub witness: Witness,
}

impl Place<'_> {
    /// Whether these bytes are the block.
    pub fn is_held_by(&self, bytes: &[u8]) -> bool {
        self.format.csum_type.matches(bytes) && self.agrees(bytes)
    }

    /// Whether all but the checksum is as it should be.
    pub(super) fn agrees(&self, bytes: &[u8]) -> bool {
        self.agrees_but_for(bytes, usize::MAX)
    }

    /// Whether all but the checksum is as it should be, and the rules find no more than `most` that is no damage.
    pub(super) fn agrees_but_for(&self, bytes: &[u8], most: usize) -> bool {
        let Some(block) = Block::new(bytes) else { return false };
        let header = block.header();
        let is_placed = self.owner.is_none_or(|owner| header.owner.get() == owner)
            && self.chunk_tree_uuid.is_none_or(|uuid| header.chunk_tree_uuid == uuid)
            && self.format.verify_place(block, &self.expected).is_ok()
            && !self.is_past_end(block);
        if !is_placed || newer_pointer(block).is_some() {
            return false;
        }
        let findings = self.findings(block);
        findings.first.is_none() && findings.lesser <= most
    }

    /// Whether the last key does not lie before the end.
    pub(super) fn is_past_end(&self, block: Block<'_>) -> bool {
        block.last_key().zip(self.end).is_some_and(|(last, end)| last >= end)
    }

    /// What the rules say of a block.
    pub(super) fn findings(&self, block: Block<'_>) -> Findings {
        let mut findings = Findings::default();
        check_block(block, self.tree, self.rules, &mut |problem| {
            if problem.severity() < Severity::Error {
                findings.lesser += 1;
                return;
            }
            let slot = problem.place.slot.map(|slot| slot as usize);
            findings.first = Some(findings.first.map_or(slot, |first| first.min(slot)));
        });
        findings
    }

    /// Whether the block is right by itself, and what it says of itself is as likely as what the pointer says.
    pub(super) fn is_disputed(&self, bytes: &[u8]) -> bool {
        let own = Self { expected: Expected { generation: None, first_key: None, ..self.expected }, ..*self };
        let Some(block) = Block::new(bytes).filter(|_| own.agrees(bytes)) else { return false };
        let is_newer = self.witness.newest.is_some_and(|newest| block.generation() > newest);
        let is_sure_generation = self.expected.generation == self.witness.generation || is_newer;
        let is_disputed_generation =
            self.expected.generation.is_some_and(|expected| expected != block.generation()) && !is_sure_generation;
        let is_disputed_key = self.expected.first_key.is_some_and(|expected| Some(expected) != block.first_key())
            && self.expected.first_key != self.witness.first_key;
        is_disputed_generation || is_disputed_key
    }
}

/// What the rules find in a block.
#[derive(Default)]
pub(super) struct Findings {
    /// The first slot with damage; `Some(None)` where it is the block that is damaged.
    pub first: Option<Option<usize>>,
    /// How much they find that is unusual, such as items of unknown types, and no damage.
    pub lesser: usize,
}

/// The first slot with a pointer that is newer than its node: a block is not written without those above it.
pub(super) fn newer_pointer(block: Block<'_>) -> Option<usize> {
    let BlockKind::Node(node) = block.kind() else { return None };
    node.ptrs().iter().position(|ptr| Transid::from(ptr.generation) > block.generation())
}
