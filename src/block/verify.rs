//! Is a block what its parent says it is?

use crate::disk::csum::CsumType;
use crate::disk::fields::Uuid;
use crate::disk::node::KeyPtr;
use crate::disk::{Key, Logical, MAX_LEVEL, Transid};
pub use crate::error::BlockError;

use super::Block;

/// What the parent's pointer says of the block. `None` is not verified.
#[derive(Clone, Copy, Debug)]
pub struct Expected {
    /// Logical address of the block.
    pub logical: Logical,
    /// Its level; 0 for a leaf.
    pub level: Option<u8>,
    /// Its generation.
    pub generation: Option<Transid>,
    /// Key of its first item or pointer.
    pub first_key: Option<Key>,
}

impl Expected {
    /// A block of which only the address is known.
    pub fn at(logical: Logical) -> Self {
        Self { logical, level: None, generation: None, first_key: None }
    }

    /// What a pointer in a node of level `parent_level` says.
    pub fn child(ptr: &KeyPtr, parent_level: u8) -> Self {
        Self {
            logical: ptr.blockptr.into(),
            level: parent_level.checked_sub(1),
            generation: Some(ptr.generation.into()),
            first_key: Some(Key::from(&ptr.key)),
        }
    }
}

/// What blocks of one filesystem have in common.
#[derive(Clone, Debug)]
pub struct Format {
    /// Type of all checksums.
    pub csum_type: CsumType,
    /// Bytes of a tree block.
    pub nodesize: u32,
    /// Bytes of a block of data.
    pub sectorsize: u32,
    /// The fsids that headers may carry: the filesystem's own, and those of its seeds.
    pub fsids: Vec<Uuid>,
}

impl Format {
    /// Verifies checksum, place, filesystem and what the parent's pointer says; the first thing that is wrong is returned.
    ///
    /// # Errors
    /// The first thing that is wrong with the block.
    pub fn verify<'a>(&self, bytes: &'a [u8], expected: &Expected) -> Result<Block<'a>, BlockError> {
        let size_error = BlockError::Size { found: bytes.len(), expected: self.nodesize };
        if bytes.len() != self.nodesize as usize {
            return Err(size_error);
        }
        let block = Block::new(bytes).ok_or(size_error)?;
        let header = block.header();
        if !self.csum_type.matches(bytes) {
            let size = self.csum_type.size();
            let computed = self.csum_type.compute(&bytes[header.csum.len()..]);
            return Err(BlockError::Csum { found: header.csum[..size].into(), expected: computed[..size].into() });
        }
        self.verify_place(block, expected)?;
        Ok(block)
    }

    /// Verifies all but the checksum, as [`Format::verify`].
    ///
    /// # Errors
    /// The first thing that is wrong with the block.
    pub fn verify_place(&self, block: Block<'_>, expected: &Expected) -> Result<(), BlockError> {
        let header = block.header();
        if block.logical() != expected.logical {
            return Err(BlockError::Bytenr { found: block.logical(), expected: expected.logical });
        }
        if !self.fsids.contains(&header.fsid) {
            let expected = self.fsids.first().copied().unwrap_or_default();
            return Err(BlockError::Fsid { found: header.fsid, expected });
        }
        if usize::from(block.level()) >= MAX_LEVEL {
            return Err(BlockError::LevelTooHigh { found: block.level() });
        }
        if let Some(level) = expected.level
            && level != block.level()
        {
            return Err(BlockError::Level { found: block.level(), expected: level });
        }
        if let Some(generation) = expected.generation
            && generation != block.generation()
        {
            return Err(BlockError::Generation { found: block.generation(), expected: generation });
        }
        if let Some(first_key) = expected.first_key {
            match block.first_key() {
                None => return Err(BlockError::Empty { expected: first_key }),
                Some(found) if found != first_key => return Err(BlockError::FirstKey { found, expected: first_key }),
                Some(_) => {}
            }
        }
        Ok(())
    }
}
