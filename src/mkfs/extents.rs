//! The extents of a new filesystem: tree blocks and data, and who refers to them.

use std::collections::BTreeMap;
use std::iter::Peekable;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::block::extent_item::{Format, Kind, Record};
use crate::block::reference::Reference;
use crate::disk::flags::incompat;
use crate::disk::{Key, KeyType, Logical};
use crate::error::{Error, Result};
use crate::table::{self, Table};
use crate::tree::build::BuiltBlock;

use super::features::Quotas;
use super::maker::GENERATION;
use super::options::Options;

/// A tree block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct BlockRecord {
    logical: u64,
    pub owner: u64,
    first_objectid: u64,
    first_offset: u64,
    first_type: u32,
    level: u32,
}

impl BlockRecord {
    pub fn new(block: &BuiltBlock, owner: u64) -> Self {
        Self {
            logical: block.logical.0,
            owner,
            first_objectid: block.first_key.objectid,
            first_offset: block.first_key.offset,
            first_type: block.first_key.key_type.0.into(),
            level: block.level.into(),
        }
    }

    fn first_key(&self) -> Key {
        Key::new(self.first_objectid, KeyType(self.first_type as u8), self.first_offset)
    }
}

impl table::Record for BlockRecord {
    fn key(&self) -> u64 {
        self.logical
    }
}

/// A reference of a file to a data extent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct DataRef {
    /// Logical address and length of the extent.
    pub start: u64,
    pub length: u64,
    /// The tree and the inode.
    pub root: u64,
    pub inode: u64,
    /// Where in the file the extent would begin: the offset of the file extent less that within the extent.
    pub offset: u64,
    /// Number of file extents.
    pub count: u64,
}

impl table::Record for DataRef {
    fn key(&self) -> u64 {
        self.start
    }
}

/// The references of a data extent.
pub struct Refs<I: Iterator<Item = DataRef>> {
    all: Peekable<I>,
}

impl<I: Iterator<Item = DataRef>> Refs<I> {
    pub fn new(all: I) -> Self {
        Self { all: all.peekable() }
    }

    fn next_start(&mut self) -> Option<u64> {
        self.all.peek().map(|next| next.start)
    }

    /// Those of the next extent, which are never none.
    pub fn next_extent(&mut self) -> Option<Vec<DataRef>> {
        let first = self.all.next()?;
        let mut refs = vec![first];
        while let Some(next) = self.all.next_if(|next| next.start == first.start) {
            match refs.last_mut() {
                Some(last) if (last.root, last.inode, last.offset) == (next.root, next.inode, next.offset) => {
                    last.count += next.count;
                }
                _ => refs.push(next),
            }
        }
        Some(refs)
    }
}

/// All that is needed to say what the extent tree holds.
pub struct Extents<'a> {
    pub options: &'a Options,
    pub blocks: &'a Table<BlockRecord>,
    pub refs: &'a Table<DataRef>,
}

impl Extents<'_> {
    /// Calls `emit` with all items of the extent tree in the order of their keys. `late` are blocks that the table does
    /// not have and `others` items of other kinds, both in order.
    pub fn for_each(
        &self,
        late: &[BlockRecord],
        others: &BTreeMap<Key, Vec<u8>>,
        mut emit: impl FnMut(Key, &[u8]) -> Result<()>,
    ) -> Result<()> {
        let mut table = self.blocks.iter().peekable();
        let mut late = late.iter().copied().peekable();
        let mut refs = Refs::new(self.refs.iter());
        let mut others = others.iter().peekable();
        loop {
            let starts = [
                table.peek().map(|block| block.logical),
                late.peek().map(|block| block.logical),
                refs.next_start(),
                others.peek().map(|(key, _)| key.objectid),
            ];
            let Some(least) = starts.into_iter().flatten().min() else { break };
            if let Some(block) = table.next_if(|block| block.logical == least) {
                self.emit_block(&block, &mut emit)?;
            }
            if let Some(block) = late.next_if(|block| block.logical == least) {
                self.emit_block(&block, &mut emit)?;
            }
            if starts[2] == Some(least)
                && let Some(extent) = refs.next_extent()
            {
                self.emit_data(extent, &mut emit)?;
            }
            // A block group begins where its first extent does, and its key is above that of an extent.
            while let Some((key, data)) = others.next_if(|(key, _)| key.objectid == least) {
                emit(*key, data)?;
            }
        }
        let failure = self.blocks.failure().or_else(|| self.refs.failure());
        failure.map_or(Ok(()), |failure| Err(Error::Temporary(failure)))
    }

    fn format(&self) -> Format {
        let is_skinny = self.options.has_incompat(incompat::SKINNY_METADATA);
        Format { nodesize: self.options.nodesize, is_skinny, generation: GENERATION }
    }

    fn emit_block(&self, block: &BlockRecord, emit: &mut impl FnMut(Key, &[u8]) -> Result<()>) -> Result<()> {
        let kind = Kind::Block { level: block.level as u8 };
        let mut record = Record::new(Logical(block.logical), kind, block.first_key(), &self.format());
        record.extent.refs = 1.into();
        record.refs.push((Reference::Tree { root: block.owner }, 1));
        emit(record.key, &record.to_bytes())
    }

    /// The extent with as many references as its item takes, the others in items of their own.
    fn emit_data(&self, data_refs: Vec<DataRef>, emit: &mut impl FnMut(Key, &[u8]) -> Result<()>) -> Result<()> {
        let Some(first) = data_refs.first().copied() else { return Ok(()) };
        let (logical, kind) = (Logical(first.start), Kind::Data { length: first.length });
        let mut record = Record::new(logical, kind, Key::MIN, &self.format());
        let count: u64 = data_refs.iter().map(|data_ref| data_ref.count).sum();
        record.extent.refs = count.into();
        record.owner = (self.options.quotas == Some(Quotas::Simple)).then_some(first.root);
        let reference = |data_ref: &DataRef| {
            let DataRef { root, inode: objectid, offset, count, .. } = *data_ref;
            (Reference::File { root, objectid, offset }, count)
        };
        let mut refs: Vec<_> = data_refs.iter().map(reference).collect();
        refs.sort_by_cached_key(|(reference, _)| reference.rank());
        let mut keyed = Vec::new();
        for (reference, count) in refs {
            match record.has_room_for(reference, self.options.nodesize) {
                true => record.refs.push((reference, count)),
                false => keyed.push((reference.key(logical), reference.data(count))),
            }
        }
        emit(record.key, &record.to_bytes())?;
        let mut free = 0;
        for (key, data) in keyed.into_iter().rev() {
            // One whose hash is taken has the next number.
            let offset = key.offset.max(free);
            free = offset.saturating_add(1);
            emit(Key { offset, ..key }, &data)?;
        }
        Ok(())
    }
}

/// What a tree of files refers to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Bytes of data extents.
    pub referenced: u64,
    /// Of those, what no other tree refers to.
    pub exclusive: u64,
    /// Bytes of extents whose owner is this tree.
    pub owned: u64,
}

/// The use of data by each tree.
pub fn usage(refs: &Table<DataRef>) -> Result<BTreeMap<u64, Usage>> {
    let mut usage: BTreeMap<u64, Usage> = BTreeMap::new();
    let mut extents = Refs::new(refs.iter());
    while let Some(extent) = extents.next_extent() {
        let Some(first) = extent.first() else { break };
        let mut roots: Vec<u64> = extent.iter().map(|data_ref| data_ref.root).collect();
        roots.dedup();
        for root in &roots {
            let usage = usage.entry(*root).or_default();
            usage.referenced += first.length;
            usage.exclusive += if roots.len() == 1 { first.length } else { 0 };
        }
        usage.entry(first.root).or_default().owned += first.length;
    }
    refs.failure().map_or(Ok(usage), |failure| Err(Error::Temporary(failure)))
}
