//! Writing one copy of what has several: a repair and a scrub put the good bytes where bad ones were found.

use std::borrow::Cow;

use crate::disk::Logical;
use crate::error::{Error, Result};

use super::chunk_map::ChunkMapping;
use super::row::{Beside, Row};
use super::segment::Segment;
use super::writable::WritableVolume;
use super::write::Plan;

impl WritableVolume {
    /// Writes `bytes`, which the chunks of the last commit map to `logical`, to the copy `mirror`, counted from 1 as by
    /// [`super::Volume::read`], and to no other. The caller has verified that they are what should be there.
    ///
    /// In a chunk with parity mirror 1 is the data itself, whose parity stays as it is. All other mirrors are the parity: it is
    /// written anew, in the sectors of the range, from `bytes` and from what the other data columns hold there. Those are
    /// read and not verified: the caller sees to it that nothing in use is bad in them.
    ///
    /// Nothing is written of what is refused. After another error any part may have been written. The bytes are on the disk
    /// after the next barrier.
    ///
    /// # Errors
    /// An address that no chunk maps, a mirror that the chunk does not have, a device that is missing, stale or a seed, a
    /// place over a superblock, a column that cannot be read, a write that fails.
    pub fn write_copy(&self, logical: Logical, mirror: u16, bytes: &[u8]) -> Result<()> {
        let mut plan = Plan::new(self);
        let mut row: Option<Row<'_>> = None;
        let mut rest = bytes;
        for piece in self.volume().chunks().pieces(logical, bytes.len()) {
            let piece = piece.map_err(|logical| Error::NoChunk { logical })?;
            let (bytes, tail) = rest.split_at(piece.length);
            rest = tail;
            let (chunk, mirrors) = (piece.chunk, piece.chunk.mirrors());
            if !(1..=mirrors).contains(&mirror) {
                return Err(Error::NoMirror { logical: piece.logical, mirror, mirrors });
            }
            let segment = chunk.segment(piece.logical.0 - chunk.logical.0);
            if chunk.profile.geometry().nparity == 0 || mirror == 1 {
                self.refuse_missing(chunk, segment, mirror)?;
                plan.add(chunk, segment, mirror, Cow::Borrowed(bytes))?;
                continue;
            }
            if row.as_ref().is_none_or(|row| (row.chunk.logical, row.row) != (chunk.logical, segment.row)) {
                self.add_parity(&mut plan, row.replace(Row::new(chunk, segment.row)))?;
            }
            row.iter_mut().for_each(|row| row.push(segment, bytes));
        }
        self.add_parity(&mut plan, row)?;
        plan.run()
    }

    fn refuse_missing(&self, chunk: &ChunkMapping, segment: Segment, mirror: u16) -> Result<()> {
        match chunk.place_of(segment, mirror) {
            Some((stripe, _)) if self.volume().device(stripe).is_none() => {
                Err(self.volume().missing_error(stripe.devid, stripe.dev_uuid))
            }
            // A place outside of the stripe is refused with the write.
            _ => Ok(()),
        }
    }

    /// The parity of what changes in a row. Of two parity columns that whose device is missing is left out.
    fn add_parity<'a>(&self, plan: &mut Plan<'a>, row: Option<Row<'a>>) -> Result<()> {
        let Some(row) = row else { return Ok(()) };
        let is_present = |segment| self.refuse_missing(row.chunk, segment, 1).is_ok();
        let columns = row.chunk.data_stripes();
        let first = Segment { row: row.row, column: columns, within: 0 };
        let all = columns..columns + u64::from(row.chunk.profile.geometry().nparity);
        if !all.into_iter().any(|column| is_present(Segment { column, ..first })) {
            return self.refuse_missing(row.chunk, first, 1);
        }
        for (segment, bytes) in row.parity(self.volume(), |segment| Ok(is_present(segment)), Beside::AsItIs)? {
            plan.add(row.chunk, segment, 1, Cow::Owned(bytes))?;
        }
        Ok(())
    }
}
