//! Writing the devices of a filesystem that is being made: every byte once, to all copies, and rows with their parity.
//!
//! Nothing is read: what is not written of a row with parity is zeroes.

use std::collections::BTreeMap;

use crate::disk::superblock::is_over_superblock;
use crate::disk::{Logical, Physical, STRIPE_LEN};
use crate::error::{Error, Result};
use crate::image::Image;

use super::segment::Segment;
use super::{ChunkMapping, parity, run_on_each};

/// Adjacent writes are joined up to so many bytes.
const JOINED: usize = 1 << 20;
/// Runs of writes of a device that may go on: those of copies on one device, of metadata and of data.
const RUNS: usize = 6;

/// A device that is written.
#[derive(Debug)]
pub struct Target {
    pub devid: u64,
    pub image: Image,
    /// The one that was begun last at the end.
    runs: Vec<Run>,
}

/// Bytes that are not written yet.
#[derive(Debug)]
struct Run {
    start: Physical,
    bytes: Vec<u8>,
}

/// A row of a chunk with parity, of which a part is not there yet.
#[derive(Debug)]
struct OpenRow {
    chunk: ChunkMapping,
    /// Its data columns, one after the other.
    data: Vec<u8>,
    filled: usize,
}

/// What writes to all devices.
#[derive(Debug)]
pub struct FirstWriter {
    targets: Vec<Target>,
    /// By start of the chunk and number of the row.
    rows: BTreeMap<(Logical, u64), OpenRow>,
}

impl FirstWriter {
    /// `images` are the devices and their ids.
    pub fn new(images: impl IntoIterator<Item = (u64, Image)>) -> Self {
        let target = |(devid, image)| Target { devid, image, runs: Vec::new() };
        Self { targets: images.into_iter().map(target).collect(), rows: BTreeMap::new() }
    }

    pub fn targets(&self) -> &[Target] {
        &self.targets
    }

    pub fn image_mut(&mut self, devid: u64) -> Option<&mut Image> {
        self.targets.iter_mut().find(|target| target.devid == devid).map(|target| &mut target.image)
    }

    /// Writes bytes at an address of the chunk, where nothing was written before. Rows with parity are held in memory
    /// until they are full: whoever writes about in the order of addresses keeps few of them open.
    pub fn write(&mut self, chunk: &ChunkMapping, logical: Logical, bytes: &[u8]) -> Result<()> {
        let outside = || Error::NoChunk { logical };
        let mut offset = logical.0.checked_sub(chunk.logical.0).ok_or_else(outside)?;
        if offset.checked_add(bytes.len() as u64).is_none_or(|end| end > chunk.length) {
            return Err(outside());
        }
        let mut rest = bytes;
        while !rest.is_empty() {
            let in_stripe = if chunk.is_striped() { (STRIPE_LEN - offset % STRIPE_LEN) as usize } else { rest.len() };
            let (piece, tail) = rest.split_at(in_stripe.min(rest.len()));
            let segment = chunk.segment(offset);
            if chunk.profile.geometry().nparity > 0 {
                self.add_to_row(chunk, segment, piece)?;
            } else {
                for mirror in 1..=chunk.profile.geometry().ncopies {
                    self.put(chunk, segment, mirror, piece)?;
                }
            }
            offset += piece.len() as u64;
            rest = tail;
        }
        Ok(())
    }

    fn add_to_row(&mut self, chunk: &ChunkMapping, segment: Segment, piece: &[u8]) -> Result<()> {
        let size = (chunk.data_stripes() * STRIPE_LEN) as usize;
        let key = (chunk.logical, segment.row);
        let new = || OpenRow { chunk: chunk.clone(), data: vec![0; size], filled: 0 };
        let row = self.rows.entry(key).or_insert_with(new);
        let start = (segment.column * STRIPE_LEN + segment.within) as usize;
        row.data[start..start + piece.len()].copy_from_slice(piece);
        row.filled += piece.len();
        if row.filled == size
            && let Some(row) = self.rows.remove(&key)
        {
            self.write_row(segment.row, &row)?;
        }
        Ok(())
    }

    fn write_row(&mut self, number: u64, row: &OpenRow) -> Result<()> {
        let mut parities = vec![vec![0; STRIPE_LEN as usize]; row.chunk.profile.geometry().nparity.into()];
        let columns = row.data.chunks_exact(STRIPE_LEN as usize);
        columns.clone().rev().for_each(|column| parity::prepend(&mut parities, column));
        for (column, bytes) in columns.chain(parities.iter().map(Vec::as_slice)).enumerate() {
            self.put(&row.chunk, Segment { row: number, column: column as u64, within: 0 }, 1, bytes)?;
        }
        Ok(())
    }

    /// Writes one copy of bytes that lie in one stripe.
    fn put(&mut self, chunk: &ChunkMapping, segment: Segment, mirror: u16, bytes: &[u8]) -> Result<()> {
        let error = |problem: &str| {
            let problem = format!("row {}: {problem}", segment.row);
            Error::Block { what: "chunk", logical: chunk.logical, problem }
        };
        let place = chunk.place_of(segment, mirror);
        let (stripe, physical) = place.ok_or_else(|| error("reaches past the end of its stripes"))?;
        if is_over_superblock(physical, bytes.len() as u64) {
            return Err(error("lies over a superblock"));
        }
        let target = self.targets.iter_mut().find(|target| target.devid == stripe.devid);
        target.ok_or_else(|| error("lies on a device that is not there"))?.append(physical, bytes)
    }

    /// Writes all that is held in memory.
    pub fn flush(&mut self) -> Result<()> {
        for ((_, number), row) in std::mem::take(&mut self.rows) {
            self.write_row(number, &row)?;
        }
        self.targets.iter_mut().try_for_each(|target| {
            target.runs.sort_by_key(|run| run.start);
            std::mem::take(&mut target.runs).iter().try_for_each(|run| target.image.write(run.start, &run.bytes))
        })
    }

    /// Returns when all that was flushed is on the devices.
    pub fn barrier(&self) -> Result<()> {
        run_on_each(self.targets.iter(), |target| target.image.sync())
    }
}

impl Target {
    fn append(&mut self, start: Physical, bytes: &[u8]) -> Result<()> {
        let continued = |run: &Run| run.start.0 + run.bytes.len() as u64 == start.0;
        let index = self.runs.iter().position(continued);
        if let Some(index) = index
            && self.runs[index].bytes.len() + bytes.len() <= JOINED
        {
            self.runs[index].bytes.extend_from_slice(bytes);
            return Ok(());
        }
        // The run that is continued is full, or else the oldest ends.
        let ended = index.or_else(|| (self.runs.len() >= RUNS).then_some(0));
        if let Some(run) = ended.map(|index| self.runs.remove(index)) {
            self.image.write(run.start, &run.bytes)?;
        }
        if bytes.len() >= JOINED {
            return self.image.write(start, bytes);
        }
        self.runs.push(Run { start, bytes: bytes.to_vec() });
        Ok(())
    }
}
