//! Writing the devices of a filesystem that is being made: every byte once, to all copies, and rows with their parity. What
//! stands in a file already may be shared with it instead.
//!
//! Nothing is read: what is not written of a row with parity is zeroes.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::disk::superblock::is_over_superblock;
use crate::disk::{Logical, Physical, STRIPE_LEN};
use crate::error::{AddressProblem, Addressed, Error, Result};
use crate::image::{Image, Origin};
use crate::parallel::lock;

use super::chunk_map::ChunkMapping;
use super::parity;
use super::segment::Segment;
use super::writable::run_on_each;

/// Adjacent writes of less than a stripe are joined up to so many bytes.
const JOINED: usize = 1 << 20;
/// Runs of writes of a device that may go on: those of copies on one device, of metadata and of data.
const RUNS: usize = 6;
/// Each time so many bytes were written the kernel is told to bring them to the disk, while more is on its way.
const SYNCED: u64 = 64 << 20;

/// A device that is written.
#[derive(Debug)]
pub struct Target {
    /// Number of the device.
    pub devid: u64,
    /// The image that is written.
    pub image: Image,
    /// The one that was begun last at the end.
    runs: Mutex<Vec<Run>>,
    /// Held by the thread that writes: the kernel lets one thread into a file at a time, and others would wait busily.
    turn: Mutex<()>,
    /// Bytes that were handed to the kernel.
    written: AtomicU64,
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

/// What writes to all devices, from any number of threads.
#[derive(Debug)]
pub struct MkfsWriter {
    targets: Vec<Target>,
    /// By start of the chunk and number of the row.
    rows: Mutex<BTreeMap<(Logical, u64), OpenRow>>,
}

impl MkfsWriter {
    /// `images` are the devices and their ids.
    pub fn new(images: impl IntoIterator<Item = (u64, Image)>) -> Self {
        let target = |(devid, image)| Target {
            devid,
            image,
            runs: Mutex::default(),
            turn: Mutex::default(),
            written: AtomicU64::new(0),
        };
        Self { targets: images.into_iter().map(target).collect(), rows: Mutex::default() }
    }

    /// All devices, in the order of their numbers.
    pub fn targets(&self) -> &[Target] {
        &self.targets
    }

    /// The image of a device.
    pub fn image(&self, devid: u64) -> Option<&Image> {
        self.target(devid).map(|target| &target.image)
    }

    fn target(&self, devid: u64) -> Option<&Target> {
        self.targets.iter().find(|target| target.devid == devid)
    }

    /// Writes bytes at an address of the chunk, where nothing was written before. Rows with parity are held in memory
    /// until they are full: a caller that writes about in the order of addresses keeps few of them open.
    ///
    /// # Errors
    /// The address has no place on the devices, or an image cannot be written.
    pub fn write(&self, chunk: &ChunkMapping, logical: Logical, bytes: &[u8]) -> Result<()> {
        self.write_or_share(chunk, logical, bytes, None)
    }

    /// The same for bytes that stand at `origin`, too, if that is said: the blocks of that file are shared then, as far as
    /// they are whole and have no parity.
    ///
    /// # Errors
    /// As those of [`MkfsWriter::write`]; the kernel does not share the blocks.
    pub fn write_or_share(
        &self,
        chunk: &ChunkMapping,
        logical: Logical,
        bytes: &[u8],
        mut origin: Option<Origin<'_>>,
    ) -> Result<()> {
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
                    self.put(chunk, segment, mirror, piece, origin)?;
                }
            }
            offset += piece.len() as u64;
            origin = origin.map(|origin| origin.after(piece.len() as u64));
            rest = tail;
        }
        Ok(())
    }

    fn add_to_row(&self, chunk: &ChunkMapping, segment: Segment, piece: &[u8]) -> Result<()> {
        let size = (chunk.data_stripes() * STRIPE_LEN) as usize;
        let key = (chunk.logical, segment.row);
        let new = || OpenRow { chunk: chunk.clone(), data: vec![0; size], filled: 0 };
        let full = {
            let mut rows = lock(&self.rows);
            let row = rows.entry(key).or_insert_with(new);
            let start = (segment.column * STRIPE_LEN + segment.within) as usize;
            row.data[start..start + piece.len()].copy_from_slice(piece);
            row.filled += piece.len();
            if row.filled == size { rows.remove(&key) } else { None }
        };
        full.map_or(Ok(()), |row| self.write_row(segment.row, &row))
    }

    fn write_row(&self, number: u64, row: &OpenRow) -> Result<()> {
        let mut parities = vec![vec![0; STRIPE_LEN as usize]; row.chunk.profile.geometry().nparity.into()];
        let columns = row.data.chunks_exact(STRIPE_LEN as usize);
        columns.clone().rev().for_each(|column| parity::prepend(&mut parities, column));
        for (column, bytes) in columns.chain(parities.iter().map(Vec::as_slice)).enumerate() {
            self.put(&row.chunk, Segment { row: number, column: column as u64, within: 0 }, 1, bytes, None)?;
        }
        Ok(())
    }

    /// Writes one copy of bytes that lie in one stripe.
    fn put(
        &self,
        chunk: &ChunkMapping,
        segment: Segment,
        mirror: u16,
        bytes: &[u8],
        origin: Option<Origin<'_>>,
    ) -> Result<()> {
        let row = segment.row;
        let error = |problem| Error::Block { what: Addressed::Chunk, logical: chunk.logical, problem };
        let place = chunk.place_of(segment, mirror);
        let (stripe, physical) = place.ok_or_else(|| error(AddressProblem::PastStripes { row }))?;
        if is_over_superblock(physical, bytes.len() as u64) {
            return Err(error(AddressProblem::OverSuperblock { row }));
        }
        let target = self.target(stripe.devid).ok_or_else(|| error(AddressProblem::NoDevice { row }))?;
        let shared = origin.map_or(Ok(0), |origin| target.share(physical, bytes.len() as u64, origin))?;
        match bytes.get(shared as usize..) {
            Some(rest) if !rest.is_empty() => target.write(Physical(physical.0 + shared), rest),
            _ => Ok(()),
        }
    }

    /// Writes all that is held in memory.
    ///
    /// # Errors
    /// An image cannot be written.
    pub fn flush(&self) -> Result<()> {
        for ((_, number), row) in std::mem::take(&mut *lock(&self.rows)) {
            self.write_row(number, &row)?;
        }
        self.targets.iter().try_for_each(|target| {
            let mut runs = std::mem::take(&mut *lock(&target.runs));
            runs.sort_by_key(|run| run.start);
            runs.iter().try_for_each(|run| target.write_through(run.start, &run.bytes))
        })
    }

    /// Returns when all that was flushed is on the devices.
    ///
    /// # Errors
    /// [`Error::Sync`]
    pub fn barrier(&self) -> Result<()> {
        run_on_each(self.targets.iter(), |target| target.image.sync())
    }
}

impl Target {
    fn share(&self, start: Physical, length: u64, origin: Origin<'_>) -> Result<u64> {
        let _turn = lock(&self.turn);
        self.image.share(start, length, origin)
    }

    fn write(&self, start: Physical, bytes: &[u8]) -> Result<()> {
        if bytes.len() as u64 >= STRIPE_LEN {
            return self.write_through(start, bytes);
        }
        self.join(start, bytes).map_or(Ok(()), |run| self.write_through(run.start, &run.bytes))
    }

    fn write_through(&self, start: Physical, bytes: &[u8]) -> Result<()> {
        let turn = lock(&self.turn);
        self.image.write(start, bytes)?;
        drop(turn);
        let length = bytes.len() as u64;
        let before = self.written.fetch_add(length, Ordering::Relaxed);
        if before / SYNCED != (before + length) / SYNCED {
            self.image.begin_sync();
        }
        Ok(())
    }

    /// Takes bytes into memory, and returns a run that has ended by that: the one that they continue, if it is full, or
    /// else the oldest.
    fn join(&self, start: Physical, bytes: &[u8]) -> Option<Run> {
        let mut runs = lock(&self.runs);
        let index = runs.iter().position(|run| run.start.0 + run.bytes.len() as u64 == start.0);
        if let Some(index) = index
            && runs[index].bytes.len() + bytes.len() <= JOINED
        {
            runs[index].bytes.extend_from_slice(bytes);
            return None;
        }
        let ended = index.or_else(|| (runs.len() >= RUNS).then_some(0)).map(|index| runs.remove(index));
        runs.push(Run { start, bytes: bytes.to_vec() });
        ended
    }
}
