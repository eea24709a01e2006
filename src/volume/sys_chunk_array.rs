//! The system chunk array of the superblock: enough chunks to read the chunk tree.

use crate::disk::superblock::SYSTEM_CHUNK_ARRAY_SIZE;
use crate::disk::volume::{Chunk, Stripe};
use crate::disk::{DiskKey, Key, KeyType, Superblock};
pub use crate::error::BadEntryProblem;

const WITHOUT_STRIPES: usize = size_of::<DiskKey>() + size_of::<Chunk>();
/// Stripes of a new system chunk at the most: a second one of its size must fit into an empty array, or the chunk could
/// never be moved.
const MAX_STRIPES_TWICE: usize = stripes_in(SYSTEM_CHUNK_ARRAY_SIZE / 2);

const fn stripes_in(bytes: usize) -> usize {
    bytes.saturating_sub(WITHOUT_STRIPES) / size_of::<Stripe>()
}

/// Bytes of the entry of a chunk.
pub fn entry_size(num_stripes: usize) -> usize {
    WITHOUT_STRIPES + num_stripes * size_of::<Stripe>()
}

/// Bytes that are left in the array.
pub fn room(superblock: &Superblock) -> usize {
    SYSTEM_CHUNK_ARRAY_SIZE.saturating_sub(superblock.sys_chunk_array().len())
}

/// Whether a chunk with so many stripes fits.
pub fn has_room(superblock: &Superblock, num_stripes: usize) -> bool {
    entry_size(num_stripes) <= room(superblock)
}

/// Stripes of a new system chunk at the most where so many bytes are left in the array.
pub fn max_stripes(room: usize) -> usize {
    stripes_in(room).min(MAX_STRIPES_TWICE)
}

/// A chunk in the array.
#[derive(Clone, Copy)]
pub struct Entry<'a> {
    /// Key of the chunk item.
    pub key: Key,
    /// The chunk.
    pub chunk: &'a Chunk,
    /// Its stripes.
    pub stripes: &'a [Stripe],
}

/// Where and why the array cannot be read on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadEntry {
    /// Bytes from the start of the array to what is wrong.
    pub offset: usize,
    /// The key, where it could be read.
    pub key: Option<Key>,
    /// What is wrong with it.
    pub problem: BadEntryProblem,
}

/// Entries of an array, up to the first that makes no sense.
pub struct Entries<'a> {
    array: &'a [u8],
    offset: usize,
}

impl<'a> Entries<'a> {
    /// `array` is the part in use, as [`crate::disk::Superblock::sys_chunk_array`] gives it.
    pub fn new(array: &'a [u8]) -> Self {
        Self { array, offset: 0 }
    }

    fn parse(&self) -> Result<(Entry<'a>, usize), BadEntry> {
        let bad = |offset, key, problem| BadEntry { offset, key, problem };
        let short = |offset, key, needed| bad(offset, key, BadEntryProblem::Short { needed });
        let rest = self.array.get(self.offset..).unwrap_or_default();
        let (disk_key, rest) =
            DiskKey::read_prefix(rest).ok_or_else(|| short(self.offset, None, size_of::<DiskKey>()))?;
        let key = Key::from(disk_key);
        let offset = self.offset + size_of::<DiskKey>();
        if key.key_type != KeyType::CHUNK_ITEM {
            return Err(bad(offset, Some(key), BadEntryProblem::KeyType { key_type: key.key_type }));
        }
        // A chunk of one stripe is the least that can follow.
        let least = size_of::<Chunk>() + size_of::<Stripe>();
        let (chunk, _) =
            Chunk::read_prefix(rest).filter(|_| rest.len() >= least).ok_or_else(|| short(offset, Some(key), least))?;
        if chunk.num_stripes.get() == 0 {
            return Err(bad(offset, Some(key), BadEntryProblem::NoStripes));
        }
        let needed = size_of::<Chunk>() + usize::from(chunk.num_stripes.get()) * size_of::<Stripe>();
        let (chunk, stripes, _) = Chunk::read_with_stripes(rest).ok_or_else(|| short(offset, Some(key), needed))?;
        Ok((Entry { key, chunk, stripes }, offset + needed))
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = Result<Entry<'a>, BadEntry>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.offset >= self.array.len() {
            return None;
        }
        let parsed = self.parse();
        self.offset = parsed.as_ref().map_or(self.array.len(), |(_, end)| *end);
        Some(parsed.map(|(entry, _)| entry))
    }
}
