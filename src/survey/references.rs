//! Extent items with what they claim, and the references that trees really have.
//!
//! Both are kept as sums of hashes ([`super::sketch`]); the records themselves are collected by a second look
//! ([`super::records`]).

use std::io;

use crate::block::Block;
use crate::block::reference::{Reference, file_extents, node_children};
use crate::disk::flags::extent::{DATA, FULL_BACKREF, TREE_BLOCK};
use crate::disk::{Logical, Transid, flags, objectid};
use crate::table::{Part, Writer};
use crate::tree::{Tree, Visit};

use super::extent_list::{Cursor, Extent, ExtentList};
use super::quotas::{Owned, Quotas};
use super::reference::{Claim, claims};
use super::sketch::{Buckets, Sketch};

/// What the walk over the extent tree gathers, by one thread.
#[derive(Default)]
pub struct ClaimsPart {
    extents: Part<Extent>,
    tree_bytes: u64,
    references: Sketch,
    /// Of each extent: the references it counts less those it lists.
    totals: Sketch,
    owned: Owned,
}

impl ClaimsPart {
    /// Takes a block of the extent tree.
    pub fn visit(&mut self, visit: Visit<'_>, nodesize: u32, quotas: &Quotas, extents: &Writer<'_>) {
        let Visit::Leaf(leaf) = visit else { return };
        claims(leaf, nodesize, |claim| match claim {
            Claim::Extent(extent) => {
                self.totals.add(extent.logical, &[extent.logical.0], extent.refs as i64);
                if extent.flags & TREE_BLOCK != 0 {
                    self.tree_bytes = self.tree_bytes.saturating_add(extent.length);
                }
                extents.push(&mut self.extents, extent);
            }
            Claim::Reference { extent, reference, count } => {
                self.totals.add(extent, &[extent.0], -(count as i64));
                self.references.add(extent, &reference.numbers(extent), count as i64);
            }
            Claim::Owner { root, generation, length } => self.owned.add(quotas, root, generation, length),
        });
    }
}

/// The extent items, and sums of what they claim.
#[derive(Default)]
pub struct Claims {
    /// The extents with items.
    pub extents: ExtentList,
    /// Bytes of all tree blocks.
    pub tree_bytes: u64,
    /// Data, by the trees that simple quotas count it for.
    pub owned: Owned,
    references: Sketch,
    totals: Sketch,
}

impl Claims {
    /// `extents` is what the parts wrote to.
    pub fn new(parts: Vec<ClaimsPart>, extents: Writer<'_>) -> io::Result<Self> {
        let (mut all, mut records) = (Self::default(), Vec::new());
        for part in parts {
            records.push(part.extents);
            all.tree_bytes = all.tree_bytes.saturating_add(part.tree_bytes);
            all.references.merge(&part.references);
            all.totals.merge(&part.totals);
            all.owned.merge(part.owned);
        }
        all.extents = ExtentList::new(extents.finish(records)?);
        Ok(all)
    }

    /// Where extents may be whose items count another number of references than they list; nothing if there are none.
    pub fn unequal_totals(&self) -> Option<Buckets> {
        self.totals.unequal()
    }

    /// Where extents may be whose claims differ from what was found; nothing if there are none.
    pub fn unequal_references(&self, found: &Found) -> Option<Buckets> {
        let mut differences = self.references.clone();
        differences.subtract(&found.sketch);
        differences.unequal()
    }
}

/// What a reference says of its extent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// The generation is not known of the log root tree.
    TreeBlock {
        /// Its level.
        level: u8,
        /// Its generation.
        generation: Option<Transid>,
    },
    /// Data.
    Data {
        /// Bytes of the extent on the disk.
        length: u64,
    },
}

/// An extent that is not what a reference says of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// The item of the extent.
    pub extent: Extent,
    /// The reference.
    pub reference: Reference,
    /// What the reference says of the extent.
    pub shape: Shape,
}

impl Mismatch {
    fn new(extent: Extent, reference: Reference, shape: Shape) -> Option<Self> {
        let (kind, have, expect) = match shape {
            Shape::TreeBlock { level, .. } => (TREE_BLOCK, extent.level_or_owner, u64::from(level)),
            Shape::Data { length } => (DATA, extent.length, length),
        };
        let is_generation = match shape {
            Shape::TreeBlock { generation: Some(generation), .. } => extent.generation == generation.0,
            _ => true,
        };
        let is_never_shared = matches!(reference, Reference::TreeBlock { root } if !objectid::may_share_blocks(root));
        let fits = extent.flags & kind != 0
            && have == expect
            && is_generation
            && !(is_never_shared && extent.flags & FULL_BACKREF != 0);
        (!fits).then_some(Self { extent, reference, shape })
    }
}

/// A tree block whose extent item has other back references than its header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackrefFlag {
    /// The tree that the block was reached in.
    pub tree: u64,
    /// Its extent item.
    pub extent: Extent,
    /// As in the header.
    pub header_flags: u64,
}

impl BackrefFlag {
    /// A block that a relocation made is referred to from its leaf or node alone, from the beginning. A block that its own tree
    /// reaches has no such references, unless it is older than the last snapshot: a relocation that failed leaves it with them
    /// (`update_ref_for_cow`, `btrfs_alloc_tree_block`).
    fn new(tree: &Tree, block: Block<'_>, extent: Extent) -> Option<Self> {
        let header = block.header();
        let header_flags = header.flag_bits();
        let is_copy = header_flags & flags::header::RELOC != 0;
        let is_own = header.owner.get() == tree.id()
            && tree.origin.is_some_and(|origin| block.generation() > origin.last_snapshot);
        let is_wrong = match extent.flags & FULL_BACKREF {
            0 => is_copy,
            _ => !is_copy && is_own,
        };
        (extent.flags & TREE_BLOCK != 0 && is_wrong).then_some(Self { tree: tree.id(), extent, header_flags })
    }
}

/// References that trees have, as a sum.
#[derive(Default)]
pub struct Found {
    sketch: Sketch,
    cursor: Cursor,
    /// What is yet to be compared with the extents that it leads to: these are not known before their tree was read.
    early: Vec<(Logical, Reference, Shape)>,
    /// What does not fit the extents that it leads to.
    pub mismatches: Vec<Mismatch>,
    /// Blocks whose header and extent item disagree about a relocation or about full back references.
    pub backref_flags: Vec<BackrefFlag>,
}

impl Found {
    /// Adds what another thread found.
    pub fn merge(&mut self, mut other: Found) {
        self.sketch.merge(&other.sketch);
        self.early.append(&mut other.early);
        self.mismatches.append(&mut other.mismatches);
        self.backref_flags.append(&mut other.backref_flags);
    }

    /// Notes the references of a block that is read before the extents are known: one without full back references.
    pub fn visit_early(&mut self, tree: &Tree, visit: Visit<'_>) {
        let (unknown, mut cursor) = (ExtentList::default(), Cursor::default());
        references(tree, visit, &unknown, &mut cursor, |extent, reference, shape, _| {
            self.note(extent, reference, shape);
        });
    }

    fn note(&mut self, extent: Logical, reference: Reference, shape: Shape) {
        self.sketch.add(extent, &reference.numbers(extent), 1);
        self.early.push((extent, reference, shape));
    }

    /// Notes the references that a block of a tree has, and what does not fit the extents that they lead to.
    pub fn visit(&mut self, tree: &Tree, visit: Visit<'_>, extents: &ExtentList) {
        let Self { sketch, cursor, mismatches, backref_flags, .. } = self;
        let extent = extents.find(visit.block().logical(), cursor);
        backref_flags.extend(extent.and_then(|extent| BackrefFlag::new(tree, visit.block(), extent)));
        references(tree, visit, extents, cursor, |logical, reference, shape, cursor| {
            sketch.add(logical, &reference.numbers(logical), 1);
            // A missing item shows in the sums.
            let extent = extents.find(logical, cursor);
            mismatches.extend(extent.and_then(|extent| Mismatch::new(extent, reference, shape)));
        });
    }

    /// Notes that a root item or the superblock refers to the root of a tree.
    pub fn root(&mut self, tree: &Tree) {
        let (extent, reference) = root_reference(tree);
        self.note(extent, reference, Shape::TreeBlock { level: tree.root.level, generation: tree.root.generation });
    }

    /// Compares what was noted early, once the extents are known.
    pub fn settle(&mut self, extents: &ExtentList) {
        for (logical, reference, shape) in std::mem::take(&mut self.early) {
            let extent = extents.find(logical, &mut self.cursor);
            self.mismatches.extend(extent.and_then(|extent| Mismatch::new(extent, reference, shape)));
        }
    }
}

/// The root of a relocation tree refers to itself.
pub fn root_reference(tree: &Tree) -> (Logical, Reference) {
    let (logical, root) = (tree.root.logical, tree.id());
    let reference = match root {
        objectid::TREE_RELOC => Reference::SharedBlock { parent: logical },
        _ => Reference::TreeBlock { root },
    };
    (logical, reference)
}

/// Hands each reference that a block has to `visit`, and `cursor` with it.
pub fn references(
    tree: &Tree,
    block: Visit<'_>,
    extents: &ExtentList,
    cursor: &mut Cursor,
    mut visit: impl FnMut(Logical, Reference, Shape, &mut Cursor),
) {
    let owner = tree.owner_of(block.block());
    let flags = extents.find(block.block().logical(), cursor).map_or(0, |extent| extent.flags);
    match block {
        Visit::Node(node, first) => {
            let level = node.block().level() - 1;
            node_children(node, owner, first, flags, |ptr, reference| {
                let generation = Some(ptr.generation.into());
                visit(ptr.blockptr.into(), reference, Shape::TreeBlock { level, generation }, cursor);
            });
        }
        Visit::Leaf(leaf) => file_extents(leaf, owner, flags, |file_extent| {
            visit(file_extent.extent, file_extent.reference, Shape::Data { length: file_extent.length }, cursor);
        }),
    }
}
