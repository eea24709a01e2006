//! Writing to new places before the commit.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::disk::Logical;
use crate::error::Result;
use crate::parallel::lock;
use crate::trans::Filesystem;
use crate::volume::{ChunkMap, ChunkMapping, Staged};

/// Writes what nothing leads to before the commit.
#[derive(Debug)]
pub struct Writer<'f> {
    fs: &'f Filesystem,
    chunks: ChunkMap,
    /// A write to a row with parity reads the rest of the row: one thread at a time.
    rows: Mutex<()>,
    written: AtomicU64,
}

/// After so many bytes the kernel is told to bring them to the disk, so that little is left for the commit to wait for.
const SYNCED: u64 = 32 << 20;

impl<'f> Writer<'f> {
    /// A writer through the chunks as they are now.
    pub fn new(fs: &'f Filesystem) -> Self {
        Self { fs, chunks: fs.chunks().map.clone(), rows: Mutex::new(()), written: AtomicU64::new(0) }
    }

    /// Writes bytes, sorted by address.
    ///
    /// # Errors
    /// As those of [`Filesystem::write_ahead`].
    pub fn write(&self, staged: &[Staged<'_>]) -> Result<()> {
        let has_row =
            |staged: &Staged<'_>| self.chunks.find(staged.logical).and_then(ChunkMapping::row_length).is_some();
        {
            let _rows = staged.iter().any(has_row).then(|| lock(&self.rows));
            self.fs.write_ahead(&self.chunks, staged)?;
        }
        let length: u64 = staged.iter().map(|staged| staged.bytes.len() as u64).sum();
        let before = self.written.fetch_add(length, Ordering::Relaxed);
        if before / SYNCED != (before + length) / SYNCED {
            self.fs.begin_sync();
        }
        Ok(())
    }

    /// Writes blocks, in any order.
    ///
    /// # Errors
    /// As those of [`Filesystem::write_ahead`].
    pub fn write_blocks(&self, mut blocks: Vec<(Logical, Vec<u8>)>) -> Result<()> {
        blocks.sort_unstable_by_key(|(logical, _)| *logical);
        let staged: Vec<Staged<'_>> =
            blocks.iter().map(|(logical, bytes)| Staged { logical: *logical, bytes }).collect();
        self.write(&staged)
    }
}
