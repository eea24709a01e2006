//! What holds of every tree block, whatever it is for: whether it can be read, which copies are bad, and whether it is
//! what its place says.

use std::io;
use std::marker::PhantomData;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::block::item::{ItemProblem, Rules, check_block};
use crate::block::reference::file_extents;
use crate::block::{Block, BlockKind};
use crate::disk::fields::Uuid;
use crate::disk::flags::superblock::CHANGING_FSID;
use crate::disk::{Key, Logical, STRIPE_LEN, objectid};
use crate::table::{MemoryBudget, Part, Record, Table, Writer};
use crate::tree::{BlockPlace, Scan, Tree, TreeRoot, Visit, Visitor};
use crate::volume::{BadCopy, Volume};

/// A block that could not be read, and with it all below it.
#[derive(Clone, Debug)]
pub struct Unread {
    /// Id of the tree.
    pub tree: u64,
    /// Logical address of the block.
    pub block: Logical,
    /// Its level; 0 for a leaf.
    pub level: u8,
    /// The first key, as the pointer to the block has it; that of a root is not known.
    pub first: Option<Key>,
    /// Keys of the block are below this.
    pub end: Option<Key>,
    /// What is wrong with each copy. Empty if no chunk holds the address.
    pub bad: Vec<BadCopy>,
    /// Whether another pointer to the block says something else of it.
    pub is_disputed: bool,
}

impl Unread {
    /// The block that a walk could not read at `place`.
    pub fn new(place: &BlockPlace<'_>, bad: Vec<BadCopy>) -> Self {
        let BlockPlace { tree, expected, end, is_disputed } = *place;
        let (level, first) = (expected.level.unwrap_or_default(), expected.first_key);
        Self { tree: tree.id(), block: expected.logical, level, first, end, bad, is_disputed }
    }

    /// Address, and object id of the first key, as the pointer to the block has them.
    pub fn pointer(&self) -> Option<(Logical, u64)> {
        Some((self.block, self.first?.objectid))
    }

    /// Whether items with this object id may stand in what could not be read.
    pub fn may_hold_objectid(&self, objectid: u64) -> bool {
        self.first.is_none_or(|first| first.objectid <= objectid) && self.end.is_none_or(|end| objectid <= end.objectid)
    }

    /// Whether items with keys from `from` to `to` may stand in what could not be read.
    pub fn may_hold_between(&self, from: Key, to: Key) -> bool {
        self.first.is_none_or(|first| first <= to) && self.end.is_none_or(|end| from < end)
    }
}

/// A block some copies of which are bad while another one is good.
#[derive(Clone, Debug)]
pub struct BadBlock {
    /// Id of the tree.
    pub tree: u64,
    /// Logical address of the block.
    pub block: Logical,
    /// The bad copies.
    pub bad: Vec<BadCopy>,
}

/// A block that is not what its place says.
#[derive(Clone, Copy, Debug)]
pub enum Misfit {
    /// The header names another tree.
    Owner {
        /// Id of the tree.
        tree: u64,
        /// Logical address of the block.
        block: Logical,
        /// Id of the tree in the header.
        have: u64,
    },
    /// The header has another uuid of the chunk tree.
    ChunkTreeUuid {
        /// Id of the tree.
        tree: u64,
        /// Logical address of the block.
        block: Logical,
        /// The uuid in the header.
        have: Uuid,
        /// The uuid of the filesystem.
        expect: Uuid,
    },
    /// The block does not lie within one stripe of its chunk.
    CrossesStripe {
        /// The tree that the block was reached in.
        tree: u64,
        /// Logical address of the block.
        block: Logical,
    },
    /// The last key is not below the first one of the next block.
    LastKey {
        /// Id of the tree.
        tree: u64,
        /// Logical address of the block.
        block: Logical,
        /// Its last key.
        have: Key,
        /// First key of the next block.
        end: Key,
    },
}

/// A block that was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct BlockRecord {
    /// Logical address of the block.
    pub logical: Logical,
    /// Its generation.
    pub generation: u64,
    /// As its header says.
    pub owner: u64,
    /// The first tree that it was reached in.
    pub tree: u64,
    /// Its level; 0 for a leaf.
    pub level: u64,
    /// A bit for each copy, the lowest for mirror 1: those that are bad.
    pub bad_mirrors: u64,
}

impl Record for BlockRecord {
    fn key(&self) -> u64 {
        self.logical.0
    }
}

/// An extent of data that a file refers to; `length` in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct UsedData {
    /// Logical address of the extent.
    pub logical: Logical,
    /// Bytes of the extent on the disk.
    pub length: u64,
}

impl Record for UsedData {
    fn key(&self) -> u64 {
        self.logical.0
    }
}

/// Where records of blocks, and of data that leaves refer to, are written to.
struct Kept<'r> {
    blocks: Writer<'r>,
    data: Writer<'r>,
}

/// What blocks are judged by.
pub struct BlockRules<'r> {
    volume: &'r Volume,
    items: Rules,
    /// That of all blocks, if it is known.
    chunk_tree_uuid: Option<Uuid>,
    /// Take a record of each block and of each reference to data, if they are wanted.
    kept: Option<Kept<'r>>,
}

impl<'r> BlockRules<'r> {
    pub fn new(volume: &'r Volume, scan: &Scan<'_>, records: Option<&'r MemoryBudget>) -> Self {
        let items = Rules::new(volume.format(), volume.superblock());
        // A change of the fsid gives all blocks another one, too.
        let is_changing = volume.stored_superblock().has_flag(CHANGING_FSID);
        let chunk_tree_uuid = if is_changing { None } else { chunk_tree_uuid(volume, scan) };
        let kept = records.map(|budget| Kept { blocks: Writer::new(budget), data: Writer::new(budget) });
        Self { volume, items, chunk_tree_uuid, kept }
    }
}

impl BlockRules<'_> {
    fn crosses_stripe(&self, block: Logical) -> bool {
        let length = u64::from(self.volume.format().nodesize);
        let within = self.volume.chunks().find(block).map(|chunk| (block.0 - chunk.logical.0) % STRIPE_LEN);
        within.is_some_and(|within| within + length > STRIPE_LEN)
    }
}

/// What one thread learns of blocks.
#[derive(Default)]
pub struct BlocksPart {
    unread: Vec<Unread>,
    bad: Vec<BadBlock>,
    misfits: Vec<Misfit>,
    items: Vec<ItemProblem>,
    records: Part<BlockRecord>,
    data: Part<UsedData>,
    longest_data: u64,
    /// Mirrors of the next block that are bad.
    bad_mirrors: u64,
}

impl BlocksPart {
    pub fn unreadable(&mut self, place: &BlockPlace<'_>, bad: Vec<BadCopy>) {
        self.unread.push(Unread::new(place, bad));
    }

    pub fn bad_copies(&mut self, place: &BlockPlace<'_>, bad: Vec<BadCopy>) {
        let bit = |copy: &BadCopy| 1_u64.checked_shl(u32::from(copy.mirror).wrapping_sub(1)).unwrap_or_default();
        self.bad_mirrors = bad.iter().map(bit).fold(0, |mirrors, bit| mirrors | bit);
        self.bad.push(BadBlock { tree: place.tree.id(), block: place.expected.logical, bad });
    }

    /// Notes a good block.
    pub fn visit(&mut self, rules: &BlockRules<'_>, place: &BlockPlace<'_>, block: Block<'_>) {
        let (tree, logical, header) = (place.tree.id(), place.expected.logical, block.header());
        let (have, owner) = (header.owner.get(), place.tree.owner_of(block));
        if have != owner {
            self.misfits.push(Misfit::Owner { tree, block: logical, have });
        }
        let uuid = header.chunk_tree_uuid;
        if let Some(expect) = rules.chunk_tree_uuid.filter(|expect| *expect != uuid) {
            self.misfits.push(Misfit::ChunkTreeUuid { tree, block: logical, have: uuid, expect });
        }
        if rules.crosses_stripe(logical) {
            self.misfits.push(Misfit::CrossesStripe { tree, block: logical });
        }
        if let (Some(have), Some(end)) = (block.last_key(), place.end)
            && have >= end
        {
            self.misfits.push(Misfit::LastKey { tree, block: logical, have, end });
        }
        let Self { items, records, data, longest_data, bad_mirrors, .. } = self;
        check_block(block, owner, &rules.items, &mut |problem| items.push(problem));
        let bad_mirrors = std::mem::take(bad_mirrors);
        if let Some(kept) = &rules.kept {
            let (generation, level) = (block.generation().0, block.level().into());
            kept.blocks.push(records, BlockRecord { logical, generation, owner: have, tree, level, bad_mirrors });
            if let BlockKind::Leaf(leaf) = block.kind() {
                file_extents(leaf, owner, 0, |file| {
                    kept.data.push(data, UsedData { logical: file.extent, length: file.length });
                    *longest_data = file.length.max(*longest_data);
                });
            }
        }
    }
}

/// What was learned of all blocks.
#[derive(Default)]
pub struct Blocks {
    /// Sorted by tree and key.
    pub unread: Vec<Unread>,
    /// Blocks with bad copies beside good ones.
    pub bad: Vec<BadBlock>,
    /// Blocks that are not what their places say.
    pub misfits: Vec<Misfit>,
    /// What is wrong inside blocks.
    pub items: Vec<ItemProblem>,
    /// Each block that was reached, if that was asked for.
    pub records: Table<BlockRecord>,
    /// Data that leaves refer to, if that was asked for; once for each reference.
    pub data: Table<UsedData>,
    /// Bytes of the longest extent of that data.
    pub longest_data: u64,
    /// How many blocks were reached.
    pub count: u64,
    /// How many copies of them were read.
    pub copies: u64,
    parts: Vec<(Part<BlockRecord>, Part<UsedData>)>,
}

impl Blocks {
    /// Takes what one thread learned.
    pub fn take(&mut self, part: BlocksPart) {
        self.unread.extend(part.unread);
        self.bad.extend(part.bad);
        self.misfits.extend(part.misfits);
        self.items.extend(part.items);
        self.parts.push((part.records, part.data));
        self.longest_data = part.longest_data.max(self.longest_data);
    }

    /// Puts what was taken in order once the scan is done. Fails if temporary files cannot be used.
    pub fn finish(&mut self, scan: &Scan<'_>, rules: BlockRules<'_>) -> io::Result<()> {
        (self.count, self.copies) = (scan.blocks(), scan.copies());
        self.unread.sort_by_key(|unread| (unread.tree, unread.first, unread.block));
        self.bad.sort_by_key(|bad| (bad.tree, bad.block));
        let (records, data) = std::mem::take(&mut self.parts).into_iter().unzip();
        if let Some(kept) = rules.kept {
            self.records = kept.blocks.finish(records)?;
            self.data = kept.data.finish(data)?;
        }
        Ok(())
    }

    /// Whether items with this object id may stand in parts of the tree that could not be read.
    pub fn may_hide(&self, tree: u64, objectid: u64) -> bool {
        self.unread.iter().any(|unread| unread.tree == tree && unread.may_hold_objectid(objectid))
    }

    /// Whether the extent's items may stand in a part of the extent tree that could not be read.
    pub fn may_hide_extent(&self, extent: Logical) -> bool {
        self.may_hide(objectid::EXTENT_TREE, extent.0)
    }

    /// Whether any block of the tree could not be read.
    pub fn lack_of(&self, tree: u64) -> bool {
        self.unread.iter().any(|unread| unread.tree == tree)
    }
}

/// What two of three roots say: one wrong header must not make all others wrong.
fn chunk_tree_uuid(volume: &Volume, scan: &Scan<'_>) -> Option<Uuid> {
    let uuid_of = |root: &TreeRoot| {
        let bytes = scan.read_ahead(&root.expected())?;
        Block::new(&bytes).map(|block| block.header().chunk_tree_uuid)
    };
    let roots = [TreeRoot::chunk_tree(volume), TreeRoot::root_tree(volume)];
    let [of_chunks, of_roots] = [&roots[0], &roots[1]].map(uuid_of);
    if of_chunks == of_roots {
        return of_chunks;
    }
    // Which trees there are is read for this alone.
    let third = roots[1].children(volume).first().and_then(uuid_of)?;
    [of_chunks, of_roots].contains(&Some(third)).then_some(third)
}

/// The visitor of a second look: notes what cannot be read, which the first one has told, and hands blocks on.
pub struct SecondLook<P, F> {
    visit: F,
    part: PhantomData<fn() -> P>,
}

impl<P, F: Fn(&mut P, &Tree, Visit<'_>) + Sync> SecondLook<P, F> {
    /// A second look that hands each block to `visit`.
    pub fn new(visit: F) -> Self {
        Self { visit, part: PhantomData }
    }
}

impl<P, F: Fn(&mut P, &Tree, Visit<'_>) + Sync> Visitor for SecondLook<P, F> {
    type Part = (Vec<Unread>, P);

    fn visit(&self, (_, part): &mut Self::Part, place: &BlockPlace<'_>, visit: Visit<'_>) {
        (self.visit)(part, place.tree, visit);
    }

    fn unreadable(&self, (unread, _): &mut Self::Part, place: &BlockPlace<'_>, bad: Vec<BadCopy>) {
        unread.push(Unread::new(place, bad));
    }
}
