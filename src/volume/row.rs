//! Rows of chunks with parity: what is written changes the parity of its row too.

use std::borrow::Cow;

use crate::disk::{Logical, STRIPE_LEN};
use crate::error::{Error, Result};

use super::segment::Segment;
use super::{ChunkMapping, Volume, parity};

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

    /// All that is to be written: the parts as they are, and the parity columns as far as any part changes them. Where
    /// the parts do not tell all of the data columns, the rest of them is read from `volume`, or rebuilt if its device is
    /// missing or fails. `is_written` tells whether there is a device for a column.
    pub fn writes(
        self,
        volume: &Volume,
        is_written: impl Fn(Segment) -> Result<bool>,
    ) -> Result<Vec<(Segment, Cow<'a, [u8]>)>> {
        let columns = self.chunk.data_stripes();
        let start = self.parts.iter().map(|(segment, _)| segment.within).min().unwrap_or_default();
        let end = self.parts.iter().map(|(segment, bytes)| segment.within + bytes.len() as u64).max().unwrap_or(start);
        let parities = u64::from(self.chunk.profile.geometry().nparity);
        let at = |column| Segment { row: self.row, column, within: start };
        let parity_segments: Vec<Segment> = (columns..columns + parities).map(at).collect();
        let mut any_parity = false;
        for segment in &parity_segments {
            any_parity |= is_written(*segment)?;
        }
        let mut sums = vec![vec![0; (end - start) as usize]; parities as usize];
        if any_parity {
            let mut data = vec![0; (end - start) as usize];
            for column in (0..columns).rev() {
                self.read_column(volume, at(column), &mut data)?;
                parity::prepend(&mut sums, &data);
            }
        } else {
            // Nothing is left to be kept right.
            sums.clear();
        }
        let parts = self.parts.into_iter().map(|(segment, bytes)| (segment, Cow::Borrowed(bytes)));
        Ok(parts.chain(parity_segments.into_iter().zip(sums.into_iter().map(Cow::Owned))).collect())
    }

    /// Fills `data` with what a data column will hold from `start` on.
    fn read_column(&self, volume: &Volume, start: Segment, data: &mut [u8]) -> Result<()> {
        let parts = || self.parts.iter().filter(|(segment, _)| segment.column == start.column);
        if parts().map(|(_, bytes)| bytes.len()).sum::<usize>() < data.len() {
            let offset = (self.row * self.chunk.data_stripes() + start.column) * STRIPE_LEN + start.within;
            let logical = Logical(self.chunk.logical.0 + offset);
            read_best(volume, self.chunk, logical, data)?;
        }
        for (segment, bytes) in parts() {
            let from = (segment.within - start.within) as usize;
            data[from..from + bytes.len()].copy_from_slice(bytes);
        }
        Ok(())
    }
}

/// Reads a part of a stripe element, or rebuilds it from all that can be read of the rest of its row.
fn read_best(volume: &Volume, chunk: &ChunkMapping, logical: Logical, data: &mut [u8]) -> Result<()> {
    let Err(problem) = volume.read_segment(chunk, logical, 1, data) else { return Ok(()) };
    let rebuilt = if chunk.mirrors() > 1 { volume.read_segment(chunk, logical, 2, data) } else { Err(problem) };
    rebuilt.map_err(|problem| Error::Block { what: "data beside what is to be written, at", logical, problem })
}
