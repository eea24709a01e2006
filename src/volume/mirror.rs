//! Reading logical ranges from whichever copy is good.

use crate::block::Block;
use crate::block::verify::{BlockError, Expected};
use crate::disk::{Logical, Physical, STRIPE_LEN};
use crate::error::{Addressed, BadCopy, Error, NoGoodCopy, ReadProblem};

use super::chunk_map::{ChunkMap, ChunkMapping, StripeMapping};
use super::opened::Volume;
use super::parity;

/// A verified block, and the copies that were tried before and found bad.
pub struct BlockRead<'a> {
    /// The block.
    pub block: Block<'a>,
    /// Copies that were tried first and are bad.
    pub bad: Vec<BadCopy>,
}

/// A verified copy of a tree block: a view of where it lies, or else in the buffer that it was read into.
#[derive(Clone, Copy)]
pub struct BlockCopy<'v>(Option<Block<'v>>);

impl<'v> BlockCopy<'v> {
    /// The block; `buffer` is the one that it was read with.
    pub fn block<'b>(self, buffer: &'b [u8]) -> Block<'b>
    where
        'v: 'b,
    {
        self.0.unwrap_or_else(|| Block::new(buffer).expect("a verified block is longer than a header"))
    }
}

impl From<NoGoodCopy> for Error {
    fn from(bad: NoGoodCopy) -> Self {
        Self::Block { what: Addressed::TreeBlock, logical: bad.logical, problem: bad.into() }
    }
}

impl Volume {
    /// Reads and verifies a tree block, from the first copy that is good. `buffer` is for one that cannot be viewed where it
    /// lies, and is resized as needed.
    ///
    /// # Errors
    /// No copy is good: what is wrong with each.
    pub fn read_block<'b>(&'b self, expected: &Expected, buffer: &'b mut Vec<u8>) -> Result<BlockRead<'b>, NoGoodCopy> {
        let mut bad = Vec::new();
        for mirror in 1..=self.mirrors(expected.logical) {
            match self.read_copy(expected, mirror, buffer) {
                Ok(copy) => return Ok(BlockRead { block: copy.block(buffer), bad }),
                Err(error) => {
                    bad.push(BadCopy { mirror, place: self.place(expected.logical, mirror), error });
                }
            }
        }
        Err(NoGoodCopy { logical: expected.logical, bad })
    }

    /// Reads and verifies the copy `mirror` (from 1) of a tree block. `buffer` is for one that cannot be viewed where it lies,
    /// and is resized as needed.
    ///
    /// # Errors
    /// What is wrong with the copy.
    pub fn read_copy(
        &self,
        expected: &Expected,
        mirror: u16,
        buffer: &mut Vec<u8>,
    ) -> Result<BlockCopy<'_>, BlockError> {
        if let Some(devid) = self.missing(expected.logical, mirror) {
            return Err(BlockError::Missing { devid });
        }
        let length = self.format.nodesize as usize;
        // What is wrong with a view is told by reading: it may be a page that cannot be read.
        if let Some(view) = self.view(expected.logical, mirror, length)
            && let Ok(block) = self.format.verify(view, expected)
        {
            return Ok(BlockCopy(Some(block)));
        }
        buffer.resize(length, 0);
        self.read(expected.logical, mirror, buffer).map_err(BlockError::Unreadable)?;
        self.format.verify(buffer, expected)?;
        Ok(BlockCopy(None))
    }

    /// The bytes of a copy where they lie, if they can be viewed and are in one piece there.
    fn view(&self, logical: Logical, mirror: u16, length: usize) -> Option<&[u8]> {
        let piece = self.chunks.pieces(logical, length).next()?.ok().filter(|piece| piece.length == length)?;
        let (stripe, physical) = piece.chunk.place(logical, mirror)?;
        self.device(stripe)?.image().view(physical, length)
    }

    /// The result of `work`, which reads tree blocks. It is done again where a mapped page could not be read meanwhile: views
    /// that were verified before may have shown zeroes since. What could not be read once is read without a map from then on,
    /// so that this ends.
    pub fn undisturbed<T>(&self, mut work: impl FnMut() -> T) -> T {
        loop {
            let faulted = self.faulted_images();
            let result = work();
            if self.faulted_images() == faulted {
                return result;
            }
        }
    }

    /// Images of which a mapped page could not be read.
    pub(super) fn faulted_images(&self) -> usize {
        self.devices.iter().filter(|device| device.image().has_faulted()).count()
    }

    /// Ways to read what is at `logical`; 0 if no chunk holds it.
    pub fn mirrors(&self, logical: Logical) -> u16 {
        self.chunks.find(logical).map_or(0, ChunkMapping::mirrors)
    }

    /// Device id and offset of a copy; nothing for a rebuild from parity.
    pub fn place(&self, logical: Logical, mirror: u16) -> Option<(u64, Physical)> {
        let (stripe, physical) = self.chunks.find(logical)?.place(logical, mirror)?;
        Some((stripe.devid, physical))
    }

    /// The id of the device that holds this copy, if it is missing.
    pub fn missing(&self, logical: Logical, mirror: u16) -> Option<u64> {
        let (stripe, _) = self.chunks.find(logical)?.place(logical, mirror)?;
        self.device(stripe).is_none().then_some(stripe.devid)
    }

    /// Fills `buffer` from the copy `mirror` (from 1) of a logical range, which may span stripes and chunks. All of it has
    /// to be readable in that copy. A caller that wants the best of all copies reads sector by sector.
    ///
    /// # Errors
    /// Why the copy cannot be read.
    pub fn read(&self, logical: Logical, mirror: u16, buffer: &mut [u8]) -> Result<(), ReadProblem> {
        self.read_through(&self.chunks, logical, mirror, buffer)
    }

    /// As [`Volume::read`], through other chunks than those of the volume.
    pub(super) fn read_through(
        &self,
        chunks: &ChunkMap,
        logical: Logical,
        mirror: u16,
        buffer: &mut [u8],
    ) -> Result<(), ReadProblem> {
        let mut rest = buffer;
        for piece in chunks.pieces(logical, rest.len()) {
            let piece = piece.map_err(|logical| ReadProblem::NoChunk { logical })?;
            let (part, tail) = std::mem::take(&mut rest).split_at_mut(piece.length);
            self.read_segment(piece.chunk, piece.logical, mirror, part)?;
            rest = tail;
        }
        Ok(())
    }

    /// `buffer` lies within one stripe element.
    pub(super) fn read_segment(
        &self,
        chunk: &ChunkMapping,
        logical: Logical,
        mirror: u16,
        buffer: &mut [u8],
    ) -> Result<(), ReadProblem> {
        if chunk.profile.geometry().nparity > 0 && mirror > 1 {
            return self.rebuild(chunk, logical, mirror, buffer);
        }
        let (stripe, physical) = chunk.place(logical, mirror).ok_or(ReadProblem::OutOfRange)?;
        self.read_stripe(stripe, physical, buffer)
    }

    fn read_stripe(&self, stripe: &StripeMapping, physical: Physical, buffer: &mut [u8]) -> Result<(), ReadProblem> {
        let device = self.device(stripe).ok_or(ReadProblem::MissingDevice { devid: stripe.devid })?;
        device.image().read(physical, buffer).map_err(|error| ReadProblem::Image(error.to_string()))
    }

    /// Rebuilds a data segment from the rest of its row. Mirror 2 takes only the segment itself for lost; each higher
    /// one takes another stripe of the row for damaged too.
    fn rebuild(
        &self,
        chunk: &ChunkMapping,
        logical: Logical,
        mirror: u16,
        buffer: &mut [u8],
    ) -> Result<(), ReadProblem> {
        let segment = chunk.segment(logical.0 - chunk.logical.0);
        let columns = chunk.stripes.len() as u64;
        let count = chunk.stripes.iter().filter(|stripe| self.device(stripe).is_none()).count();
        if count > usize::from(chunk.profile.geometry().nparity) {
            return Err(ReadProblem::MissingDevices { count });
        }
        let mut others = (0..columns).filter(|column| *column != segment.column);
        let also_damaged = usize::from(mirror).checked_sub(3).and_then(|index| others.nth(index));
        let mut row = Vec::with_capacity(columns as usize);
        for column in 0..columns {
            if column == segment.column || Some(column) == also_damaged {
                row.push(None);
                continue;
            }
            let stripe = &chunk.stripes[chunk.stripe_index(segment.row, column, 1)];
            let physical = stripe.physical.checked_add(segment.row * STRIPE_LEN + segment.within);
            let mut data = vec![0; buffer.len()];
            let read = physical.map(|physical| self.read_stripe(stripe, physical, &mut data));
            row.push(matches!(read, Some(Ok(()))).then_some(data));
        }
        let parity = chunk.profile.geometry().nparity.into();
        let rebuilt = parity::rebuild(&row, parity, segment.column as usize).ok_or(ReadProblem::TooFewStripes)?;
        buffer.copy_from_slice(&rebuilt);
        Ok(())
    }
}
