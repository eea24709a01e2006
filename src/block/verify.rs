//! Is a block what its parent says it is?

use crate::disk::csum::CsumType;
use crate::disk::fields::Uuid;
use crate::disk::node::KeyPtr;
use crate::disk::{Key, Logical, MAX_LEVEL, Transid};

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

/// What is wrong with a copy of a block.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
#[non_exhaustive]
pub enum BlockError {
    /// The copy has another length than a tree block.
    #[error("block of {found} bytes, expected {expected}")]
    Size {
        /// Bytes of the copy.
        found: usize,
        /// Bytes of a tree block.
        expected: u32,
    },
    /// The checksum is not that of the bytes.
    #[error("checksum mismatch, have {} expect {}", hex(found), hex(expected))]
    Csum {
        /// The checksum in the block.
        found: Vec<u8>,
        /// The checksum of its bytes.
        expected: Vec<u8>,
    },
    /// The header names another address.
    #[error("bytenr mismatch, have {found} expect {expected}")]
    Bytenr {
        /// What the block has.
        found: Logical,
        /// What it should have.
        expected: Logical,
    },
    /// The header names another filesystem.
    #[error("fsid mismatch, have {found} expect {expected}")]
    Fsid {
        /// What the block has.
        found: Uuid,
        /// What it should have.
        expected: Uuid,
    },
    /// The block is of another level than its parent's pointer implies.
    #[error("level mismatch, have {found} expect {expected}")]
    Level {
        /// What the block has.
        found: u8,
        /// What it should have.
        expected: u8,
    },
    /// The level is higher than that of any tree.
    #[error("invalid level, have {found} expect less than {MAX_LEVEL}")]
    LevelTooHigh {
        /// What the block has.
        found: u8,
    },
    /// The block is of another generation than its parent's pointer says.
    #[error("parent transid mismatch, have {found} expect {expected}")]
    Generation {
        /// What the block has.
        found: Transid,
        /// What it should have.
        expected: Transid,
    },
    /// The block begins with another key than its parent's pointer says.
    #[error("first key mismatch, have {found} expect {expected}")]
    FirstKey {
        /// What the block has.
        found: Key,
        /// What it should have.
        expected: Key,
    },
    /// The block has no item, and its parent's pointer says its first key.
    #[error("no first key, expect {expected}")]
    Empty {
        /// What it should have.
        expected: Key,
    },
    /// The device of the copy is missing.
    #[error("device {devid} is missing")]
    Missing {
        /// Number of the device.
        devid: u64,
    },
    /// It is right by itself, and differs from another copy that is so, too.
    #[error("it differs from another copy, and both are right by themselves")]
    Differs,
    /// The system cannot read the copy: its message.
    #[error("{0}")]
    Unreadable(String),
}

/// In documents it stands as its sentence.
impl serde::Serialize for BlockError {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A checksum as the kernel prints it: its bytes in the order in which they are stored.
fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold("0x".to_owned(), |text, byte| format!("{text}{byte:02x}"))
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
