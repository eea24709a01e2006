//! The extent tree, but for the block group items in it, which the caller brings.

use std::iter::Peekable;

use crate::block::extent_item::{ExtentKind, Format, Record};
use crate::block::reference::Reference;
use crate::disk::flags::extent::FULL_BACKREF;
use crate::disk::{Key, KeyType, Logical, Transid};
use crate::error::{Error, ExtentProblem, Result};
use crate::table::Table;

use super::records::{BlockRef, DataExtent, DataExtents, DataRef};

/// The facts that an extent tree is made of. The references of one extent are in memory together.
#[derive(Clone, Copy)]
pub struct ExtentTree<'a> {
    /// Bytes of a tree block.
    pub nodesize: u32,
    /// Whether tree blocks have items with skinny metadata.
    pub is_skinny: bool,
    /// References to tree blocks.
    pub blocks: &'a Table<BlockRef>,
    /// References to data.
    pub data: &'a Table<DataRef>,
}

impl ExtentTree<'_> {
    /// Calls `emit` with all items in the order of their keys. `more_blocks` are sorted records that the table does not have,
    /// and `others` items of other kinds, in order.
    ///
    /// # Errors
    /// Records that contradict each other, extents that overlap, a table that cannot be read, and those of `emit`.
    pub fn for_each<D: AsRef<[u8]>>(
        &self,
        more_blocks: &[BlockRef],
        others: impl Iterator<Item = (Key, D)>,
        mut emit: impl FnMut(Key, &[u8]) -> Result<()>,
    ) -> Result<()> {
        let mut blocks = Blocks { table: self.blocks.iter().peekable(), more: more_blocks.iter().copied().peekable() };
        let mut data = DataExtents::new(self.data.iter());
        let mut others = others.peekable();
        let (mut refs, mut previous_end) = (Vec::new(), 0);
        loop {
            let starts = [blocks.next_start(), data.next_start(), others.peek().map(|(key, _)| key.objectid)];
            let Some(least) = starts.into_iter().flatten().min() else { break };
            let mut claim = |length: u64| -> Result<()> {
                let problem = if least < previous_end { ExtentProblem::Overlaps } else { ExtentProblem::NoEnd };
                let end = least.checked_add(length).filter(|_| least >= previous_end);
                previous_end = end.ok_or(Error::Extent { logical: Logical(least), problem })?;
                Ok(())
            };
            if starts[0] == Some(least)
                && let Some(block) = blocks.next_block(&mut refs)?
            {
                claim(self.nodesize.into())?;
                self.emit_block(&block, &refs, &mut emit)?;
            }
            if starts[1] == Some(least)
                && let Some(extent) = data.next_extent()?
            {
                claim(extent.length)?;
                self.emit_data(extent, &mut emit)?;
            }
            // A block group begins where its first extent does, and its key is above that of an extent.
            while let Some((key, data)) = others.next_if(|(key, _)| key.objectid == least) {
                emit(key, data.as_ref())?;
            }
        }
        let failure = self.blocks.failure().or_else(|| self.data.failure());
        failure.map_or(Ok(()), |failure| Err(Error::Temporary(failure)))
    }

    fn format(&self, generation: Transid) -> Format {
        Format { nodesize: self.nodesize, is_skinny: self.is_skinny, generation }
    }

    fn emit_block(
        &self,
        block: &BlockRef,
        refs: &[(Reference, u64)],
        emit: &mut impl FnMut(Key, &[u8]) -> Result<()>,
    ) -> Result<()> {
        let built = block.block();
        let (kind, format) = (ExtentKind::Block { level: built.level }, self.format(block.generation()));
        let mut record = Record::new(built.logical, kind, built.first_key, &format);
        if block.has_full_backref() {
            record.extent.flags |= FULL_BACKREF;
        }
        self.emit(built.logical, record, refs, emit)
    }

    fn emit_data(&self, extent: DataExtent, emit: &mut impl FnMut(Key, &[u8]) -> Result<()>) -> Result<()> {
        let DataExtent { start, length, generation, owner, mut refs } = extent;
        let mut record = Record::new(start, ExtentKind::Data { length }, Key::MIN, &self.format(generation));
        record.owner = owner;
        refs.sort_by_cached_key(|(reference, _)| reference.rank());
        self.emit(start, record, &refs, emit)
    }

    /// The extent with as many references as its item takes, the others in items of their own. `refs` are in the order of
    /// their ranks.
    fn emit(
        &self,
        logical: Logical,
        mut record: Record,
        refs: &[(Reference, u64)],
        emit: &mut impl FnMut(Key, &[u8]) -> Result<()>,
    ) -> Result<()> {
        record.extent.refs = refs.iter().fold(0, |sum: u64, (_, count)| sum.saturating_add(*count)).into();
        let mut keyed = Vec::new();
        for (reference, count) in refs {
            match record.has_room_for(*reference, self.nodesize) {
                true => record.refs.push((*reference, *count)),
                false => keyed.push((reference.key(logical), reference.data(*count))),
            }
        }
        emit(record.key, &record.to_bytes())?;
        // Ranks ascend by type and descend within a type.
        keyed.reverse();
        keyed.sort_by_key(|(key, _)| key.key_type);
        let mut free = Key::MIN;
        for (key, data) in keyed {
            // A reference whose hash is taken has the next number.
            let is_taken = key.key_type == KeyType::EXTENT_DATA_REF && key < free;
            let key = if is_taken { free } else { key };
            free = Key { offset: key.offset.saturating_add(1), ..key };
            emit(key, &data)?;
        }
        Ok(())
    }
}

/// The records of blocks of both sources, sorted.
struct Blocks<T: Iterator<Item = BlockRef>, M: Iterator<Item = BlockRef>> {
    table: Peekable<T>,
    more: Peekable<M>,
}

impl<T: Iterator<Item = BlockRef>, M: Iterator<Item = BlockRef>> Blocks<T, M> {
    fn peek(&mut self) -> Option<BlockRef> {
        let heads = [self.table.peek().copied(), self.more.peek().copied()];
        heads.into_iter().flatten().min()
    }

    fn next_start(&mut self) -> Option<u64> {
        self.peek().map(|block| block.block().logical.0)
    }

    /// The next block. `refs` becomes its references, in the order of their ranks, each once.
    fn next_block(&mut self, refs: &mut Vec<(Reference, u64)>) -> Result<Option<BlockRef>> {
        refs.clear();
        let Some(mut first) = self.peek() else { return Ok(None) };
        let logical = first.block().logical;
        while let Some(next) = self.peek().filter(|next| next.block().logical == logical) {
            if !next.is_same_block(&first) {
                return Err(Error::Extent { logical, problem: ExtentProblem::TwoWays });
            }
            // Of two equal records either may go.
            let _ = self.table.next_if_eq(&next).or_else(|| self.more.next_if_eq(&next));
            refs.extend(next.reference().map(|reference| (reference, 1)));
            if next.has_full_backref() {
                first = first.with_full_backref();
            }
        }
        refs.sort_by_key(|(reference, _)| reference.rank());
        refs.dedup();
        match refs.is_empty() {
            true => Err(Error::Extent { logical, problem: ExtentProblem::NoReference }),
            false => Ok(Some(first)),
        }
    }
}
