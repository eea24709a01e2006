//! Many chunks at once: allocated by several threads, or removed one after the other.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::disk::Logical;
use crate::error::{Error, Result};
use crate::parallel::{lock, on_threads};
use crate::trans::{Filesystem, Handle};
use crate::volume::ChunkMapping;

use super::alloc::{
    AllocRequest, Force, alloc, begin_to_alloc, begin_to_free, finish, items_of_chunk, items_to_remove,
};
use super::remove::{refusal, remove, unused};

/// Chunks of one handle: their items are inserted together.
const TOGETHER: u64 = 64;

/// Chunks to allocate.
#[derive(Clone, Copy, Debug)]
pub struct AllocBatch {
    /// What each of them is to be.
    pub request: AllocRequest,
    /// How many chunks to allocate.
    pub count: u64,
    /// How many threads allocate them.
    pub threads: usize,
}

/// Allocates the chunks of a batch, and brings trees up to date. Returns the new chunks in the order of their addresses:
/// the SYSTEM and metadata chunks that the others needed are among them. `allocated` hears of each chunk of the request.
///
/// # Errors
/// The first error of any thread. What was allocated before it stays in the transaction.
pub fn alloc_batch(
    fs: &Filesystem,
    batch: &AllocBatch,
    allocated: impl Fn(Logical) + Sync,
) -> Result<Vec<ChunkMapping>> {
    batch.request.check(fs)?;
    let existing: BTreeSet<Logical> = fs.chunks().map.iter().map(|chunk| chunk.logical).collect();
    let next = AtomicU64::new(0);
    // Phase 1 is under one lock anyway, and phase 2 of one handle runs beside phase 1 of another: threads need not fight
    // for each chunk.
    let turn = Mutex::new(());
    let worker = || -> Result<()> {
        loop {
            let first = next.fetch_add(TOGETHER, Ordering::Relaxed);
            let count = batch.count.saturating_sub(first).min(TOGETHER);
            if count == 0 {
                return Ok(());
            }
            alloc_together(fs, &batch.request, count, &turn, &allocated)?;
        }
    };
    on_threads(batch.threads, worker).into_iter().collect::<Result<()>>()?;
    let new: Vec<ChunkMapping> = {
        let chunks = fs.chunks();
        chunks.map.iter().filter(|chunk| !existing.contains(&chunk.logical)).cloned().collect()
    };
    // Copies of blocks count until then that are given up.
    fs.flush()?;
    Ok(new)
}

/// Allocates `count` chunks with as few handles as there is metadata for.
fn alloc_together(
    fs: &Filesystem,
    request: &AllocRequest,
    count: u64,
    turn: &Mutex<()>,
    allocated: impl Fn(Logical),
) -> Result<()> {
    let items = items_of_chunk(fs);
    let mut left = count;
    while left > 0 {
        // No metadata is allocated only to be reserved for many at once.
        let (mut handle, together) = match fs.begin(items.saturating_mul(left)) {
            Err(Error::NoSpace { .. }) => (begin_to_alloc(fs, request, items)?, 1),
            begun => (begun?, left),
        };
        let done = {
            let _turn = lock(turn);
            (0..together).try_for_each(|_| {
                alloc_one(&mut handle, request).map(|logical| logical.into_iter().for_each(&allocated))
            })
        };
        // An attempt that found no room has changed nothing.
        finish(handle)?;
        done?;
        left -= together;
    }
    Ok(())
}

/// Nothing if no chunk is needed. Each further attempt comes after another thread's allocation, which [`alloc`] slept for.
fn alloc_one(handle: &mut Handle<'_>, request: &AllocRequest) -> Result<Option<Logical>> {
    loop {
        match alloc(handle, request)? {
            // Where another thread was faster, what it allocated is not enough.
            None if request.force == Force::Force => {}
            allocated => return Ok(allocated),
        }
    }
}

/// Which chunks to remove.
#[derive(Clone, Debug)]
pub enum RemoveChoice {
    /// Those at these addresses, all of them.
    Chunks(Vec<Logical>),
    /// The empty chunks of these types, as many as may go (see [`unused`]).
    Unused {
        /// Their types: flags of [`crate::disk::flags::block_group`].
        type_bits: u64,
    },
}

/// Removes chunks, and brings trees up to date. Returns those that went, in their order; `removed` hears of each.
///
/// # Errors
/// A chunk that was named and stays. Of unused chunks those that stay are no error, but for the first where there is no space
/// to begin with. What went before an error is gone from the transaction.
pub fn remove_batch(
    fs: &Filesystem,
    choice: &RemoveChoice,
    mut removed: impl FnMut(Logical),
) -> Result<Vec<ChunkMapping>> {
    let (chosen, is_optional) = match choice {
        RemoveChoice::Chunks(chunks) => (chunks.clone(), false),
        RemoveChoice::Unused { type_bits } => (unused(fs, *type_bits), true),
    };
    let mut gone = Vec::new();
    for logical in chosen {
        let mapping = fs.chunks().map.find(logical).cloned();
        let mut handle = match begin_to_free(fs, items_to_remove(fs, logical)) {
            // What went already makes space with the commit: the others may go after it.
            Err(Error::NoSpace { .. }) if is_optional && !gone.is_empty() && !fs.is_poisoned() => break,
            begun => begun?,
        };
        // Of the empty ones the last of its type stays, and one without which there would be too little space.
        if is_optional && refusal(fs, logical).is_some() {
            finish(handle)?;
            continue;
        }
        let done = remove(&mut handle, logical);
        finish(handle)?;
        done?;
        removed(logical);
        gone.extend(mapping);
    }
    // Copies of blocks count until then that are given up.
    fs.flush()?;
    Ok(gone)
}
