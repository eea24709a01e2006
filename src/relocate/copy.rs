//! Copying data to its new places. Its checksums are verified meanwhile; what is bad in one copy is taken from another.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::disk::Logical;
use crate::error::{AddressProblem, Addressed, Error, Result};
use crate::parallel::lock;
use crate::progress::Progress;
use crate::trans::Filesystem;
use crate::tree::read_sector;
use crate::volume::Staged;

use super::account::Csums;
use super::moving::Copy;
use super::portions::in_portions;
use super::writer::Writer;

/// Bytes that are read and written at once.
const PIECE: u64 = 1 << 20;

/// What became of data while it was copied.
#[derive(Debug, Default)]
pub struct Copied {
    /// Bytes that were taken from another copy.
    pub healed: u64,
    /// Sectors that are bad in every copy, by their old addresses. They were copied as they are.
    pub lost: Vec<Logical>,
}

/// Copies ranges on all threads.
///
/// # Errors
/// Data without checksums that cannot be read, and what cannot be written.
pub fn copy(
    fs: &Filesystem,
    copies: &[Copy],
    csums: &Csums,
    writer: &Writer<'_>,
    threads: usize,
    progress: &Progress,
) -> Result<Copied> {
    let cut = |copy: &Copy| {
        let Copy { from, to, length } = *copy;
        (0..length.div_ceil(PIECE)).map(move |index| {
            let at = index * PIECE;
            Copy { from: Logical(from.0 + at), to: Logical(to.0 + at), length: PIECE.min(length - at) }
        })
    };
    let pieces: Vec<Copy> = copies.iter().flat_map(cut).collect();
    let copier = Copier { fs, csums, healed: AtomicU64::new(0), lost: Mutex::new(Vec::new()) };
    in_portions(threads, &pieces, 16, |pieces| {
        let mut buffer = Vec::new();
        for piece in pieces {
            buffer.resize(piece.length as usize, 0);
            copier.read(piece, &mut buffer)?;
            writer.write(&[Staged { logical: piece.to, bytes: &buffer }])?;
            progress.add(piece.length);
        }
        Ok(())
    })?;
    let mut lost = copier.lost.into_inner().unwrap_or_else(PoisonError::into_inner);
    lost.sort_unstable();
    Ok(Copied { healed: copier.healed.into_inner(), lost })
}

struct Copier<'c> {
    fs: &'c Filesystem,
    csums: &'c Csums,
    healed: AtomicU64,
    lost: Mutex<Vec<Logical>>,
}

impl Copier<'_> {
    fn read(&self, piece: &Copy, buffer: &mut [u8]) -> Result<()> {
        let volume = self.fs.volume();
        let (csum_type, sectorsize) = (volume.format().csum_type, volume.format().sectorsize as usize);
        let is_read = volume.read(piece.from, 1, buffer).is_ok();
        for (index, bytes) in buffer.chunks_mut(sectorsize).enumerate() {
            let logical = Logical(piece.from.0 + (index * sectorsize) as u64);
            let csum = self.csums.get(logical);
            if !is_read || csum.is_some_and(|csum| !csum_type.compute(bytes).starts_with(csum)) {
                self.heal(logical, csum, bytes)?;
            }
        }
        Ok(())
    }

    /// Fills a sector from the first copy that is good, or else from the first that can be read.
    fn heal(&self, logical: Logical, csum: Option<&[u8]>, bytes: &mut [u8]) -> Result<()> {
        let volume = self.fs.volume();
        match read_sector(volume, logical, csum, bytes, &mut |_| {}) {
            Ok(1) => {}
            Ok(_) => drop(self.healed.fetch_add(bytes.len() as u64, Ordering::Relaxed)),
            Err(_) if csum.is_none() => {
                return Err(Error::Block { what: Addressed::Data, logical, problem: AddressProblem::NoCsum });
            }
            Err(_) => {
                let is_read = (1..=volume.mirrors(logical)).any(|mirror| volume.read(logical, mirror, bytes).is_ok());
                if !is_read {
                    bytes.fill(0);
                }
                lock(&self.lost).push(logical);
            }
        }
        Ok(())
    }
}
