//! The checksum tree of data that comes in the order of addresses.

use crate::disk::node::{Item, leaf_data_size};
use crate::disk::{Key, KeyType, Logical, objectid};
use crate::error::Result;
use crate::tree::build::{Builder, BuiltTree, NewTree, Store};

/// Bytes of the checksums in one item at the most (`__MAX_CSUM_ITEMS` in fs/btrfs/file-item.c).
pub fn most_csum_bytes(nodesize: u32, csum_size: usize) -> usize {
    let fits = (leaf_data_size(nodesize) as usize).saturating_sub(2 * size_of::<Item>() + csum_size);
    fits / csum_size * csum_size
}

/// Checksums, of which the last item is still open.
#[derive(Debug)]
pub struct CsumTree {
    builder: Builder,
    start: Logical,
    csums: Vec<u8>,
    csum_size: usize,
    sectorsize: u64,
    most: usize,
}

impl CsumTree {
    /// A tree like `tree`, whatever its owner.
    ///
    /// # Errors
    /// A nodesize that no tree block has.
    pub fn new(tree: NewTree, sectorsize: u32) -> Result<Self> {
        let csum_size = tree.csum_type.size();
        Ok(Self {
            builder: Builder::new(NewTree { owner: objectid::CSUM_TREE, ..tree })?,
            start: Logical(0),
            csums: Vec::new(),
            csum_size,
            sectorsize: sectorsize.into(),
            most: most_csum_bytes(tree.nodesize, csum_size),
        })
    }

    /// Adds the checksums of the sectors from `logical` on, one after the other. Addresses ascend.
    ///
    /// # Errors
    /// Addresses that do not ascend, and those of the store.
    pub fn push(&mut self, store: &mut impl Store, mut logical: Logical, mut csums: &[u8]) -> Result<()> {
        while !csums.is_empty() {
            if self.end() != logical || self.csums.len() == self.most {
                self.close(store)?;
                self.start = logical;
            }
            let (now, later) = csums.split_at(csums.len().min(self.most - self.csums.len()));
            self.csums.extend_from_slice(now);
            (logical, csums) = (self.end(), later);
        }
        Ok(())
    }

    /// Writes the rest of the tree.
    ///
    /// # Errors
    /// Those of the store.
    pub fn finish(mut self, store: &mut impl Store) -> Result<BuiltTree> {
        self.close(store)?;
        self.builder.finish(store)
    }

    /// Behind the last sector that has a checksum.
    fn end(&self) -> Logical {
        Logical(self.start.0.saturating_add((self.csums.len() / self.csum_size) as u64 * self.sectorsize))
    }

    fn close(&mut self, store: &mut impl Store) -> Result<()> {
        if !self.csums.is_empty() {
            let key = Key::new(objectid::EXTENT_CSUM, KeyType::EXTENT_CSUM, self.start.0);
            self.builder.push(store, key, &self.csums)?;
            self.csums.clear();
        }
        Ok(())
    }
}
