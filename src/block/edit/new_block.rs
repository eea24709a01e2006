//! The headers of new blocks.

use crate::disk::fields::Uuid;
use crate::disk::flags::{BACKREF_REV_SHIFT, MIXED_BACKREF_REV, header::WRITTEN};
use crate::disk::{Logical, Transid};

use super::slots::{EditError, split_header};

/// What the header of a new block says.
#[derive(Clone, Copy, Debug)]
pub struct NewBlock {
    /// Logical address of the block.
    pub logical: Logical,
    /// Its level; 0 for a leaf.
    pub level: u8,
    /// Generation of the transaction that makes it.
    pub generation: Transid,
    /// The id of the tree that it is made for.
    pub owner: u64,
    /// Uuid of the filesystem: [`crate::disk::Superblock::metadata_fsid`].
    pub fsid: Uuid,
    /// Uuid of the chunk tree.
    pub chunk_tree_uuid: Uuid,
}

impl NewBlock {
    /// Makes `bytes` an empty block. Its checksum is yet to be computed.
    ///
    /// # Errors
    /// `bytes` are shorter than a header or longer than a tree block.
    pub fn write(&self, bytes: &mut [u8]) -> Result<(), EditError> {
        bytes.fill(0);
        let (header, _) = split_header(bytes)?;
        header.fsid = self.fsid;
        header.bytenr = self.logical.0.into();
        header.flags = (u64::from(MIXED_BACKREF_REV) << BACKREF_REV_SHIFT | WRITTEN).into();
        header.chunk_tree_uuid = self.chunk_tree_uuid;
        header.generation = self.generation.0.into();
        header.owner = self.owner.into();
        header.level = self.level;
        Ok(())
    }
}

/// Says in the header of a block where it stands.
///
/// # Errors
/// `bytes` are shorter than a header or longer than a tree block.
pub fn set_logical(bytes: &mut [u8], logical: Logical) -> Result<(), EditError> {
    let (header, _) = split_header(bytes)?;
    header.bytenr = logical.0.into();
    Ok(())
}
