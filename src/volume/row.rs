//! Rows of chunks with parity: what is written changes the parity of its row too.

use std::borrow::Cow;

use crate::disk::{Logical, STRIPE_LEN};
use crate::error::{Addressed, BlockError, Error, Result};

use super::chunk_map::ChunkMapping;
use super::opened::Volume;
use super::parity;
use super::segment::Segment;

/// What else is in a row, where it cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Beside {
    /// Is rebuilt from the rest of its row.
    Rebuilt,
    /// Is an error: the rest of its row is what is written anew.
    AsItIs,
}

/// What is to be written of one row.
pub(super) struct Row<'a> {
    pub chunk: &'a ChunkMapping,
    pub row: u64,
    /// By address, without overlap.
    parts: Vec<(Segment, &'a [u8])>,
}

impl<'a> Row<'a> {
    pub fn new(chunk: &'a ChunkMapping, row: u64) -> Self {
        Self { chunk, row, parts: Vec::new() }
    }

    pub fn push(&mut self, segment: Segment, bytes: &'a [u8]) {
        self.parts.push((segment, bytes));
    }

    /// All that is to be written: the parts as they are, and the parity columns of the sectors that a part changes, and of
    /// no others. Where the parts do not tell all of the data columns, the rest of them is read from `volume`, or rebuilt
    /// if its device is missing or fails. It is not verified: the caller sees to it that nothing in use is bad there.
    /// `is_written` tells whether there is a device for a column.
    pub fn writes(
        self,
        volume: &Volume,
        is_written: impl Fn(Segment) -> Result<bool>,
    ) -> Result<Vec<(Segment, Cow<'a, [u8]>)>> {
        let parity = self.parity(volume, is_written, Beside::Rebuilt)?;
        let parts = self.parts.into_iter().map(|(segment, bytes)| (segment, Cow::Borrowed(bytes)));
        Ok(parity.into_iter().map(|(segment, bytes)| (segment, Cow::Owned(bytes))).chain(parts).collect())
    }

    /// The parity columns of the sectors that a part changes, as they are with the parts.
    pub fn parity(
        &self,
        volume: &Volume,
        is_written: impl Fn(Segment) -> Result<bool>,
        beside: Beside,
    ) -> Result<Vec<(Segment, Vec<u8>)>> {
        let columns = self.chunk.data_stripes();
        let parities = u64::from(self.chunk.profile.geometry().nparity);
        let mut writes = Vec::new();
        for (start, end) in self.spans() {
            let at = |column| Segment { row: self.row, column, within: start };
            let parity_segments: Vec<Segment> = (columns..columns + parities).map(at).collect();
            let mut any_parity = false;
            for segment in &parity_segments {
                any_parity |= is_written(*segment)?;
            }
            // Without a device for it there is no parity to be kept right.
            if any_parity {
                let mut sums = vec![vec![0; (end - start) as usize]; parities as usize];
                let mut data = vec![0; (end - start) as usize];
                for column in (0..columns).rev() {
                    self.read_column(volume, at(column), &mut data, beside)?;
                    parity::prepend(&mut sums, &data);
                }
                writes.extend(parity_segments.into_iter().zip(sums));
            }
        }
        Ok(writes)
    }

    /// Start and end, within their stripe elements, of what any part changes; neither overlapping nor adjacent.
    fn spans(&self) -> Vec<(u64, u64)> {
        let span = |(segment, bytes): &(Segment, &[u8])| (segment.within, segment.within + bytes.len() as u64);
        let mut parts: Vec<(u64, u64)> = self.parts.iter().map(span).collect();
        parts.sort_unstable();
        let mut spans: Vec<(u64, u64)> = Vec::new();
        for (start, end) in parts {
            match spans.last_mut() {
                Some((_, last)) if start <= *last => *last = end.max(*last),
                _ => spans.push((start, end)),
            }
        }
        spans
    }

    /// Fills `data`, a span, with what a data column will hold from `start` on.
    fn read_column(&self, volume: &Volume, start: Segment, data: &mut [u8], beside: Beside) -> Result<()> {
        let span = start.within..start.within + data.len() as u64;
        let is_here = |segment: &Segment| segment.column == start.column && span.contains(&segment.within);
        let parts = || self.parts.iter().filter(|(segment, _)| is_here(segment));
        if parts().map(|(_, bytes)| bytes.len()).sum::<usize>() < data.len() {
            let offset = (self.row * self.chunk.data_stripes() + start.column) * STRIPE_LEN + start.within;
            let logical = Logical(self.chunk.logical.0 + offset);
            read_beside(volume, self.chunk, logical, data, beside)?;
        }
        for (segment, bytes) in parts() {
            let from = (segment.within - start.within) as usize;
            data[from..from + bytes.len()].copy_from_slice(bytes);
        }
        Ok(())
    }
}

/// Reads a part of a stripe element, or rebuilds it from all that can be read of the rest of its row.
fn read_beside(volume: &Volume, chunk: &ChunkMapping, logical: Logical, data: &mut [u8], beside: Beside) -> Result<()> {
    let Err(problem) = volume.read_segment(chunk, logical, 1, data) else { return Ok(()) };
    let may_rebuild = beside == Beside::Rebuilt && chunk.mirrors() > 1;
    let rebuilt = if may_rebuild { volume.read_segment(chunk, logical, 2, data) } else { Err(problem) };
    rebuilt.map_err(|problem| {
        let problem = BlockError::Unreadable(problem).into();
        Error::Block { what: Addressed::DataBeside, logical, problem }
    })
}
