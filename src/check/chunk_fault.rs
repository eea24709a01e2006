//! What is wrong with a chunk by itself, wherever it stands (`btrfs_check_chunk_valid` in fs/btrfs/tree-checker.c).

use crate::disk::flags::{block_group, incompat};
use crate::disk::volume::Chunk;
use crate::disk::{BlockGroupFlags, Key, STRIPE_LEN, Superblock, objectid};
use crate::problem::Expect;

pub struct Fault {
    pub field: &'static str,
    pub have: u64,
    pub expect: Expect,
}

impl Fault {
    /// Whether the fault makes the chunk's place or meaning uncertain, so that nothing can be measured by it.
    pub fn is_geometry(&self) -> bool {
        !matches!(self.field, "objectid" | "sector_size" | "item size")
    }
}

pub fn faults(superblock: &Superblock, key: Key, chunk: &Chunk) -> Vec<Fault> {
    let mut faults = Vec::new();
    let mut fault = |field, have, expect: Expect| faults.push(Fault { field, have, expect });
    let sectorsize = u64::from(superblock.sectorsize.get());
    let length = chunk.length.get();
    if key.objectid != objectid::FIRST_CHUNK_TREE {
        fault("objectid", key.objectid, objectid::FIRST_CHUNK_TREE.into());
    }
    if !key.offset.is_multiple_of(sectorsize) {
        fault("logical", key.offset, Expect::MultipleOf(sectorsize));
    }
    if u64::from(chunk.sector_size.get()) != sectorsize {
        fault("sector_size", chunk.sector_size.get().into(), sectorsize.into());
    }
    let limit = Chunk::MAX_LENGTH;
    if length == 0 || !length.is_multiple_of(sectorsize) || length >= limit || key.offset.checked_add(length).is_none()
    {
        fault("length", length, Expect::MultipleBelow(sectorsize, limit));
    }
    if chunk.stripe_len.get() != STRIPE_LEN {
        fault("stripe_len", chunk.stripe_len.get(), STRIPE_LEN.into());
    }
    let flags = chunk.block_group_flags();
    if let Some(expect) = type_fault(flags, superblock) {
        fault("type", flags.0, Expect::Rule(expect));
    }
    let (num_stripes, sub_stripes) = (chunk.num_stripes.get(), chunk.sub_stripes.get());
    if let Some(profile) = flags.profile()
        && !profile.allows_stripes(num_stripes, sub_stripes)
    {
        let wants_other = profile.allows_stripes(num_stripes, profile.geometry().sub_stripes);
        let (field, have) = if wants_other { ("sub_stripes", sub_stripes) } else { ("num_stripes", num_stripes) };
        fault(field, have.into(), Expect::OfProfile(profile));
    }
    faults
}

/// What the type should be instead.
fn type_fault(flags: BlockGroupFlags, superblock: &Superblock) -> Option<&'static str> {
    let known = BlockGroupFlags::TYPE_MASK | BlockGroupFlags::PROFILE_MASK;
    let known = match superblock.has_incompat(incompat::REMAP_TREE) {
        true => known | block_group::REMAPPED | block_group::METADATA_REMAP,
        false => known,
    };
    let both = block_group::DATA | block_group::METADATA;
    if flags.0 & !known != 0 {
        Some("known bits only")
    } else if flags.profile().is_none() {
        Some("one profile at most")
    } else if flags.0 & (BlockGroupFlags::TYPE_MASK | block_group::METADATA_REMAP) == 0 {
        Some("a type")
    } else if flags.contains(block_group::SYSTEM) && flags.0 & both != 0 {
        Some("SYSTEM alone")
    } else if flags.contains(both) && !superblock.has_incompat(incompat::MIXED_GROUPS) {
        Some("DATA or METADATA, as MIXED_GROUPS is not set")
    } else {
        None
    }
}
