//! What holds of every tree block, whatever it is for: whether it can be read, which copies are bad, and whether it is
//! what its place says.

use std::io;
use std::marker::PhantomData;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::block::Block;
use crate::block::item::{ItemProblem, Rules, check_block};
use crate::disk::fields::Uuid;
use crate::disk::flags::superblock::CHANGING_FSID;
use crate::disk::{Key, Logical, STRIPE_LEN, objectid};
use crate::table::{Part, Record, Room, Table, Writer};
use crate::tree::{Place, Scan, Tree, TreeRoot, Visit, Visitor};
use crate::volume::{BadCopy, Volume};

/// A block that could not be read, and with it all below it.
#[derive(Clone, Debug)]
pub struct Unread {
    pub tree: u64,
    pub block: Logical,
    pub level: u8,
    /// The first key, as the pointer to the block has it; that of a root is not known.
    pub first: Option<Key>,
    /// Keys of the block are below this.
    pub end: Option<Key>,
    /// What is wrong with each copy. Empty if no chunk holds the address.
    pub bad: Vec<BadCopy>,
    /// Whether another pointer to the block promises something else of it.
    pub is_disputed: bool,
}

impl Unread {
    pub fn new(place: &Place<'_>, bad: Vec<BadCopy>) -> Self {
        let Place { tree, expected, end, is_disputed } = *place;
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
    pub tree: u64,
    pub block: Logical,
    pub bad: Vec<BadCopy>,
}

/// A block that is not what its place says.
#[derive(Clone, Copy, Debug)]
pub enum Misfit {
    /// The header names another tree.
    Owner {
        tree: u64,
        block: Logical,
        have: u64,
    },
    ChunkTreeUuid {
        tree: u64,
        block: Logical,
        have: Uuid,
        expect: Uuid,
    },
    /// The block does not lie within one stripe of its chunk.
    CrossesStripe {
        tree: u64,
        block: Logical,
    },
    /// The last key is not below the first one of the next block.
    LastKey {
        tree: u64,
        block: Logical,
        have: Key,
        end: Key,
    },
}

/// A block that was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct BlockRecord {
    pub logical: Logical,
    pub generation: u64,
    /// As its header says.
    pub owner: u64,
    /// The first tree that it was reached in.
    pub tree: u64,
    pub level: u64,
    /// A bit for each copy, the lowest for mirror 1: those that are bad.
    pub bad_mirrors: u64,
}

impl Record for BlockRecord {
    fn key(&self) -> u64 {
        self.logical.0
    }
}

/// What blocks are judged by.
pub struct BlockRules<'r> {
    volume: &'r Volume,
    items: Rules,
    /// That of all blocks, if it is known.
    chunk_tree_uuid: Option<Uuid>,
    /// Takes a record of each block, if they are wanted.
    records: Option<Writer<'r>>,
}

impl<'r> BlockRules<'r> {
    pub fn new(volume: &'r Volume, scan: &Scan<'_>, records: Option<&'r Room>) -> Self {
        let items = Rules::new(volume.format(), volume.superblock());
        // A change of the fsid gives all blocks another one, too.
        let is_changing = volume.stored_superblock().flags.get() & CHANGING_FSID != 0;
        let chunk_tree_uuid = if is_changing { None } else { chunk_tree_uuid(volume, scan) };
        Self { volume, items, chunk_tree_uuid, records: records.map(Writer::new) }
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
    /// Mirrors of the next block that are bad.
    bad_mirrors: u64,
}

impl BlocksPart {
    pub fn unreadable(&mut self, place: &Place<'_>, bad: Vec<BadCopy>) {
        self.unread.push(Unread::new(place, bad));
    }

    pub fn bad_copies(&mut self, place: &Place<'_>, bad: Vec<BadCopy>) {
        let bit = |copy: &BadCopy| 1_u64.checked_shl(u32::from(copy.mirror).wrapping_sub(1)).unwrap_or_default();
        self.bad_mirrors = bad.iter().map(bit).fold(0, |mirrors, bit| mirrors | bit);
        self.bad.push(BadBlock { tree: place.tree.id(), block: place.expected.logical, bad });
    }

    /// Notes a good block.
    pub fn visit(&mut self, rules: &BlockRules<'_>, place: &Place<'_>, block: Block<'_>) {
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
        let Self { items, records, bad_mirrors, .. } = self;
        check_block(block, owner, &rules.items, &mut |problem| items.push(problem));
        let bad_mirrors = std::mem::take(bad_mirrors);
        if let Some(writer) = &rules.records {
            let (generation, level) = (block.generation().0, block.level().into());
            writer.push(records, BlockRecord { logical, generation, owner: have, tree, level, bad_mirrors });
        }
    }
}

/// What was learned of all blocks.
#[derive(Default)]
pub struct Blocks {
    /// Sorted by tree and key.
    pub unread: Vec<Unread>,
    pub bad: Vec<BadBlock>,
    pub misfits: Vec<Misfit>,
    /// What is wrong inside blocks.
    pub items: Vec<ItemProblem>,
    /// Each block that was reached, if that was asked for.
    pub records: Table<BlockRecord>,
    /// How many blocks were reached.
    pub count: u64,
    /// How many copies of them were read.
    pub copies: u64,
    parts: Vec<Part<BlockRecord>>,
}

impl Blocks {
    pub fn take(&mut self, part: BlocksPart) {
        self.unread.extend(part.unread);
        self.bad.extend(part.bad);
        self.misfits.extend(part.misfits);
        self.items.extend(part.items);
        self.parts.push(part.records);
    }

    /// Puts what was taken in order once the scan is done. Fails if temporary files cannot be used.
    pub fn finish(&mut self, scan: &Scan<'_>, rules: BlockRules<'_>) -> io::Result<()> {
        (self.count, self.copies) = (scan.blocks(), scan.copies());
        self.unread.sort_by_key(|unread| (unread.tree, unread.first, unread.block));
        self.bad.sort_by_key(|bad| (bad.tree, bad.block));
        let parts = std::mem::take(&mut self.parts);
        if let Some(writer) = rules.records {
            self.records = writer.finish(parts)?;
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
    pub fn new(visit: F) -> Self {
        Self { visit, part: PhantomData }
    }
}

impl<P, F: Fn(&mut P, &Tree, Visit<'_>) + Sync> Visitor for SecondLook<P, F> {
    type Part = (Vec<Unread>, P);

    fn visit(&self, (_, part): &mut Self::Part, place: &Place<'_>, visit: Visit<'_>) {
        (self.visit)(part, place.tree, visit);
    }

    fn unreadable(&self, (unread, _): &mut Self::Part, place: &Place<'_>, bad: Vec<BadCopy>) {
        unread.push(Unread::new(place, bad));
    }
}
