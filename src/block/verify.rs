//! Is a block what its parent says it is?

use crate::disk::csum::CsumType;
use crate::disk::fields::Uuid;
use crate::disk::node::KeyPtr;
use crate::disk::{Key, Logical, MAX_LEVEL, Transid};

use super::Block;

/// What the pointer to a block promises. Nothing is promised where nothing is known.
#[derive(Clone, Copy, Debug)]
pub struct Expected {
    pub logical: Logical,
    pub level: Option<u8>,
    pub generation: Option<Transid>,
    pub first_key: Option<Key>,
}

impl Expected {
    /// A block of which only the address is known.
    pub fn at(logical: Logical) -> Self {
        Self { logical, level: None, generation: None, first_key: None }
    }

    /// What a pointer in a node of level `parent_level` promises.
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
    pub csum_type: CsumType,
    pub nodesize: u32,
    pub sectorsize: u32,
    /// The fsids that headers may carry: the filesystem's own, and those of its seeds.
    pub fsids: Vec<Uuid>,
}

/// What is wrong with a copy of a block.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum BlockError {
    #[error("block of {found} bytes, expected {expected}")]
    Size { found: usize, expected: u32 },
    #[error("checksum mismatch, have {} expect {}", hex(found), hex(expected))]
    Csum { found: Vec<u8>, expected: Vec<u8> },
    #[error("bytenr mismatch, have {found} expect {expected}")]
    Bytenr { found: Logical, expected: Logical },
    #[error("fsid mismatch, have {found} expect {expected}")]
    Fsid { found: Uuid, expected: Uuid },
    #[error("level mismatch, have {found} expect {expected}")]
    Level { found: u8, expected: u8 },
    #[error("invalid level, have {found} expect less than {MAX_LEVEL}")]
    LevelTooHigh { found: u8 },
    #[error("parent transid mismatch, have {found} expect {expected}")]
    Generation { found: Transid, expected: Transid },
    #[error("first key mismatch, have {found} expect {expected}")]
    FirstKey { found: Key, expected: Key },
    #[error("no first key, expect {expected}")]
    Empty { expected: Key },
    #[error("device {devid} is missing")]
    Missing { devid: u64 },
    #[error("it differs from another copy, and both are right by themselves")]
    Differs,
    #[error("{0}")]
    Unreadable(String),
}

/// In documents it stands as its sentence.
impl serde::Serialize for BlockError {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().rev().fold("0x".to_owned(), |text, byte| format!("{text}{byte:02x}"))
}

impl Format {
    /// Verifies checksum, place, filesystem and what the parent promises; the first thing that is wrong is returned.
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
        Ok(block)
    }
}
