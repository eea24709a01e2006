//! Ranges that files share, shared again in the target.

use std::collections::HashMap;
use std::fs::File;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};

use crate::disk::Logical;
use crate::files::DiskExtent;
use crate::image::{clone_range, is_sharing_impossible};
use crate::parallel::lock;

use super::super::directories::DirectoryNumber;

/// Extents that are remembered. What comes after so many is written.
const MOST: usize = 400_000;

/// Where extents were written first.
pub struct Shares {
    is_possible: AtomicBool,
    /// Size of the target's blocks: ranges between their borders are shared.
    block: u64,
    /// Where extents were written first; nothing while that is done.
    extents: Mutex<HashMap<Logical, Option<Written>>>,
    changed: Condvar,
    pub bytes: AtomicU64,
}

/// A range of a file that was written, and what of an extent it is.
#[derive(Clone)]
struct Written {
    directory: DirectoryNumber,
    name: Box<[u8]>,
    start: u64,
    /// Where in the decompressed extent the range begins.
    offset: u64,
    length: u64,
}

impl Shares {
    pub fn new(is_wanted: bool, block: u64) -> Self {
        Self {
            is_possible: AtomicBool::new(is_wanted),
            block: block.max(1),
            extents: Mutex::default(),
            changed: Condvar::new(),
            bytes: AtomicU64::new(0),
        }
    }

    pub fn is_possible(&self) -> bool {
        self.is_possible.load(Ordering::Relaxed)
    }

    /// Has `start..start + length` of a new file, which is of `extent`, share blocks with a file that was written before, and waits until
    /// it is. Nothing is shared where no file has the extent yet: the caller writes it, and others wait for that.
    ///
    /// `open` opens the other file.
    pub fn share(
        &self,
        extent: &DiskExtent,
        target: &File,
        start: u64,
        length: u64,
        open: impl FnOnce(DirectoryNumber, &[u8]) -> Option<File>,
    ) -> Share<'_> {
        let mut extents = lock(&self.extents);
        let written = loop {
            match extents.get(&extent.logical) {
                Some(Some(written)) => break written.clone(),
                Some(None) => extents = self.changed.wait(extents).unwrap_or_else(PoisonError::into_inner),
                None if extents.len() >= MOST => return Share::Nothing,
                None => {
                    extents.insert(extent.logical, None);
                    return Share::First(Claim { shares: self, extent: *extent });
                }
            }
        };
        drop(extents);
        let shared = self.clone_of(&written, extent, target, start, length, open);
        shared.map_or(Share::Nothing, Share::Bytes)
    }

    /// Shares with a range that was written: how many bytes, if that can be.
    fn clone_of(
        &self,
        written: &Written,
        extent: &DiskExtent,
        target: &File,
        start: u64,
        length: u64,
        open: impl FnOnce(DirectoryNumber, &[u8]) -> Option<File>,
    ) -> Option<u64> {
        let skip = extent.offset.checked_sub(written.offset).filter(|skip| *skip < written.length)?;
        let length = length.min(written.length - skip);
        let (length, from) = (length - length % self.block, written.start + skip);
        if length == 0 || !start.is_multiple_of(self.block) || !from.is_multiple_of(self.block) {
            return None;
        }
        let source = open(written.directory, &written.name)?;
        match clone_range(&source, from, length, target, start) {
            Ok(()) => {
                self.bytes.fetch_add(length, Ordering::Relaxed);
                Some(length)
            }
            Err(error) => {
                if is_sharing_impossible(&error) {
                    self.is_possible.store(false, Ordering::Relaxed);
                }
                None
            }
        }
    }
}

/// What of a range is shared.
pub enum Share<'s> {
    /// So many bytes from its beginning on.
    Bytes(u64),
    Nothing,
    /// The range is the first that is written of its extent.
    First(Claim<'s>),
}

/// The right to write an extent first. Without it others that wait write for themselves.
pub struct Claim<'s> {
    shares: &'s Shares,
    extent: DiskExtent,
}

impl Claim<'_> {
    /// Says that a range was written as it is.
    pub fn written(self, directory: DirectoryNumber, name: &[u8], start: u64, length: u64) {
        let written = Written { directory, name: name.into(), start, offset: self.extent.offset, length };
        lock(&self.shares.extents).insert(self.extent.logical, Some(written));
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        let mut extents = lock(&self.shares.extents);
        if extents.get(&self.extent.logical).is_some_and(Option::is_none) {
            extents.remove(&self.extent.logical);
        }
        self.shares.changed.notify_all();
    }
}
