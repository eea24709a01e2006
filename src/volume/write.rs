//! Writing logical ranges to all their copies, with the parity of their rows.
//!
//! All is planned before anything is written: what cannot be mapped, or would be written where it must not, costs nothing.

use std::borrow::Cow;
use std::io;

use crate::disk::superblock::is_over_superblock;
use crate::disk::{Logical, Physical};
use crate::error::{AddressProblem, Addressed, Error, Result};

use super::chunk_map::{ChunkMap, ChunkMapping};
use super::row::Row;
use super::segment::Segment;
use super::writable::WritableVolume;

/// Bytes that are to stand at a logical address: a tree block, or data.
#[derive(Clone, Copy, Debug)]
pub struct Staged<'a> {
    /// Logical address of the block.
    pub logical: Logical,
    /// Its bytes, checksum included.
    pub bytes: &'a [u8],
}

/// Adjacent writes are joined up to so many bytes.
const JOINED: usize = 1 << 20;

impl WritableVolume {
    /// Writes what is `staged`, sorted by address and without overlap, to every copy that `chunks` map it to. Of a chunk
    /// with parity a row that is written in part is read first, and what else is in it is taken for good; until all of its
    /// columns are on the disk, its parity does not protect what else is in it. After an error any part may have been
    /// written.
    ///
    /// # Errors
    /// A block has no place on the devices or the wrong one: nothing is written then. Rows with parity that cannot be
    /// completed, and images that cannot be written.
    pub fn write(&self, chunks: &ChunkMap, staged: &[Staged<'_>]) -> Result<()> {
        let mut plan = Plan::new(self);
        plan.add_all(chunks, staged)?;
        plan.run()
    }

    /// Writes the first copy, and no parity, of ranges that are bad on their device: the parity of their rows is right
    /// already, for it is what they were rebuilt from.
    pub(super) fn write_columns(&self, chunks: &ChunkMap, mended: &[Staged<'_>]) -> Result<()> {
        let mut plan = Plan::new(self);
        for Staged { logical, bytes } in mended {
            let mut rest = *bytes;
            for piece in chunks.pieces(*logical, bytes.len()) {
                let piece = piece.map_err(|logical| Error::NoChunk { logical })?;
                let (bytes, tail) = rest.split_at(piece.length);
                rest = tail;
                let segment = piece.chunk.segment(piece.logical.0 - piece.chunk.logical.0);
                plan.add(piece.chunk, segment, 1, Cow::Borrowed(bytes))?;
            }
        }
        plan.run()
    }
}

/// Bytes for one place of one device.
struct DeviceWrite<'a> {
    /// Index in the devices of the volume.
    device: usize,
    physical: Physical,
    bytes: Cow<'a, [u8]>,
}

impl DeviceWrite<'_> {
    fn end(&self) -> u64 {
        self.physical.0.saturating_add(self.bytes.len() as u64)
    }
}

/// All of a write, before its first byte.
pub(super) struct Plan<'a> {
    volume: &'a WritableVolume,
    writes: Vec<DeviceWrite<'a>>,
}

impl<'a> Plan<'a> {
    pub fn new(volume: &'a WritableVolume) -> Self {
        Self { volume, writes: Vec::new() }
    }

    fn add_all(&mut self, chunks: &'a ChunkMap, staged: &[Staged<'a>]) -> Result<()> {
        let mut previous_end = Logical(0);
        let mut chunk_checked = None;
        let mut row: Option<Row<'a>> = None;
        for Staged { logical, bytes } in staged {
            let error = |problem| Error::Block { what: Addressed::Write, logical: *logical, problem };
            if *logical < previous_end {
                return Err(error(AddressProblem::Overlaps));
            }
            previous_end = logical.checked_add(bytes.len() as u64).ok_or_else(|| error(AddressProblem::NoEnd))?;
            let mut rest = *bytes;
            for piece in chunks.pieces(*logical, bytes.len()) {
                let piece = piece.map_err(|_| error(AddressProblem::NotMapped))?;
                let (bytes, tail) = rest.split_at(piece.length);
                rest = tail;
                let chunk = piece.chunk;
                if chunk_checked != Some(chunk.logical) {
                    self.refuse_too_many_missing(chunk)?;
                    chunk_checked = Some(chunk.logical);
                }
                let segment = chunk.segment(piece.logical.0 - chunk.logical.0);
                let geometry = chunk.profile.geometry();
                if geometry.nparity == 0 {
                    for mirror in 1..=geometry.ncopies {
                        self.add(chunk, segment, mirror, Cow::Borrowed(bytes))?;
                    }
                    continue;
                }
                if row.as_ref().is_none_or(|row| (row.chunk.logical, row.row) != (chunk.logical, segment.row)) {
                    self.add_row(row.replace(Row::new(chunk, segment.row)))?;
                }
                if let Some(row) = &mut row {
                    row.push(segment, bytes);
                }
            }
        }
        self.add_row(row)
    }

    /// What cannot be read back is not worth writing.
    fn refuse_too_many_missing(&self, chunk: &ChunkMapping) -> Result<()> {
        let mut missing = 0;
        for stripe in &chunk.stripes {
            missing += usize::from(self.volume.target(stripe)?.is_none());
        }
        let tolerated = usize::from(chunk.profile.geometry().tolerated_failures);
        if missing > tolerated {
            let problem = AddressProblem::MissingStripes { missing, tolerated, profile: chunk.profile.name() };
            return Err(Error::Block { what: Addressed::Chunk, logical: chunk.logical, problem });
        }
        Ok(())
    }

    fn add_row(&mut self, row: Option<Row<'a>>) -> Result<()> {
        let Some(row) = row else { return Ok(()) };
        let chunk = row.chunk;
        let is_written = |segment| Ok(self.place(chunk, segment, 1, 0)?.is_some());
        for (segment, bytes) in row.writes(self.volume.volume(), is_written)? {
            self.add(chunk, segment, 1, bytes)?;
        }
        Ok(())
    }

    /// Adds one copy of bytes that lie in one stripe; nothing where its device is missing.
    pub fn add(&mut self, chunk: &ChunkMapping, segment: Segment, mirror: u16, bytes: Cow<'a, [u8]>) -> Result<()> {
        if let Some((device, physical)) = self.place(chunk, segment, mirror, bytes.len())? {
            self.writes.push(DeviceWrite { device, physical, bytes });
        }
        Ok(())
    }

    /// Device and place that `length` bytes are written to; nothing where the device is missing.
    fn place(
        &self,
        chunk: &ChunkMapping,
        segment: Segment,
        mirror: u16,
        length: usize,
    ) -> Result<Option<(usize, Physical)>> {
        let row = segment.row;
        let error = |problem| Error::Block { what: Addressed::Chunk, logical: chunk.logical, problem };
        let place = chunk.place_of(segment, mirror).and_then(|(stripe, physical)| {
            let end = physical.checked_add(length as u64)?;
            (end.0 - stripe.physical.0 <= chunk.stripe_size()).then_some((stripe, physical))
        });
        // A length that is no multiple of the rows' would have the last row reach into the next chunk.
        let (stripe, physical) = place.ok_or_else(|| error(AddressProblem::PastStripes { row }))?;
        if is_over_superblock(physical, length as u64) {
            return Err(error(AddressProblem::OverSuperblock { row }));
        }
        Ok(self.volume.target(stripe)?.map(|device| (device, physical)))
    }

    /// Writes device by device in the order of places.
    pub fn run(mut self) -> Result<()> {
        self.writes.sort_by_key(|write| (write.device, write.physical));
        for pair in self.writes.windows(2) {
            if pair[0].device == pair[1].device && pair[0].end() > pair[1].physical.0 {
                let image = self.volume.volume().devices()[pair[1].device].image();
                let source = io::Error::other("two addresses are mapped to this place");
                return Err(Error::Write { path: image.path().to_owned(), offset: pair[1].physical, source });
            }
        }
        let mut joined = Vec::new();
        let mut writes = self.writes.iter().peekable();
        while let Some(first) = writes.next() {
            let (mut end, image) = (first.end(), self.volume.volume().devices()[first.device].image());
            joined.clear();
            joined.extend_from_slice(&first.bytes);
            while let Some(next) = writes.next_if(|next| {
                (next.device, next.physical.0) == (first.device, end) && joined.len() + next.bytes.len() <= JOINED
            }) {
                joined.extend_from_slice(&next.bytes);
                end = next.end();
            }
            image.write(first.physical, &joined)?;
        }
        Ok(())
    }
}
