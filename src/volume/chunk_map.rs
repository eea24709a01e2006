//! Where logical addresses lie on the devices.

use std::collections::HashSet;

use crate::disk::fields::Uuid;
use crate::disk::volume::{Chunk, Stripe};
use crate::disk::{BlockGroupFlags, Logical, Physical, Profile, STRIPE_LEN};
use crate::error::ChunkProblem;

use super::parity;

/// One stripe of a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StripeMapping {
    /// Number of the device.
    pub devid: u64,
    /// Uuid of the device.
    pub dev_uuid: Uuid,
    /// First byte of the stripe on the device.
    pub physical: Physical,
}

/// A chunk that may be used to read: its geometry makes sense.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChunkMapping {
    /// Logical address of the chunk.
    pub logical: Logical,
    /// Bytes of the chunk in logical addresses.
    pub length: u64,
    /// Type and profile.
    pub flags: BlockGroupFlags,
    /// How data is replicated.
    pub profile: Profile,
    /// Where the stripes lie, in their order.
    pub stripes: Vec<StripeMapping>,
    mirrors: u16,
}

impl ChunkMapping {
    /// The mapping of a chunk item. What would make reading meaningless is an error; see `fs/btrfs/tree-checker.c`,
    /// `btrfs_check_chunk_valid`.
    ///
    /// # Errors
    /// Why the chunk makes no sense.
    pub fn new(logical: Logical, chunk: &Chunk, stripes: &[Stripe]) -> Result<Self, ChunkProblem> {
        let flags = chunk.block_group_flags();
        let length = chunk.length.get();
        let profile = flags.profile().ok_or(ChunkProblem::ProfileBits { bits: flags.profile_bits() })?;
        let (num_stripes, sub_stripes) = (chunk.num_stripes.get(), chunk.sub_stripes.get());
        if !profile.allows_stripes(num_stripes, sub_stripes) {
            return Err(ChunkProblem::Stripes { num_stripes, sub_stripes, profile: profile.name() });
        }
        if length == 0 || logical.checked_add(length).is_none() {
            return Err(ChunkProblem::Length { length });
        }
        if chunk.stripe_len.get() != STRIPE_LEN {
            return Err(ChunkProblem::StripeLen { stripe_len: chunk.stripe_len.get() });
        }
        let stripes: Vec<_> = stripes
            .iter()
            .map(|stripe| StripeMapping {
                devid: stripe.devid.get(),
                dev_uuid: stripe.dev_uuid,
                physical: stripe.physical(),
            })
            .collect();
        let mirrors = mirrors(profile, &stripes);
        Ok(Self { logical, length, flags, profile, stripes, mirrors })
    }

    /// The chunk with one of its stripes at another place.
    #[must_use]
    pub fn with_stripe(mut self, index: usize, stripe: StripeMapping) -> Self {
        if let Some(place) = self.stripes.get_mut(index) {
            *place = stripe;
        }
        self.mirrors = mirrors(self.profile, &self.stripes);
        self
    }

    /// Ways to read a range of this chunk: its copies, and where there is parity the rebuilds.
    pub fn mirrors(&self) -> u16 {
        self.mirrors
    }

    /// The first address behind the chunk.
    pub fn end(&self) -> Logical {
        Logical(self.logical.0.saturating_add(self.length))
    }

    /// Stripes with the same data within a striped chunk: 2 for RAID10. The profile says it, not the item, as to
    /// `read_one_chunk` of the kernel (fs/btrfs/volumes.c): where it means nothing, items have 0 or 1.
    pub fn sub_stripes(&self) -> u16 {
        self.profile.geometry().sub_stripes
    }

    /// Stripes whose data differs from that of the others.
    pub fn data_stripes(&self) -> u64 {
        self.profile.data_stripes(self.stripes.len() as u16).max(1).into()
    }

    /// Bytes of data in a row that has parity; nothing without parity.
    pub fn row_length(&self) -> Option<u64> {
        (self.profile.geometry().nparity > 0).then(|| self.data_stripes() * STRIPE_LEN)
    }

    /// Bytes that the chunk takes of each stripe's device.
    pub fn stripe_size(&self) -> u64 {
        self.length / self.data_stripes()
    }
}

/// No two stripes of a chunk with parity are on one device. Where they claim to be nothing is rebuilt: the number of
/// devices is what bounds the number of rebuilds and the work of each.
fn mirrors(profile: Profile, stripes: &[StripeMapping]) -> u16 {
    let geometry = profile.geometry();
    if geometry.nparity == 0 {
        return geometry.ncopies;
    }
    // A device is found by either.
    let devids: HashSet<u64> = stripes.iter().map(|stripe| stripe.devid).collect();
    let uuids: HashSet<Uuid> = stripes.iter().map(|stripe| stripe.dev_uuid).collect();
    match profile {
        _ if devids.len().min(uuids.len()) < stripes.len() => 1,
        Profile::Raid6 if stripes.len() <= parity::MAX_COLUMNS + 2 => stripes.len() as u16,
        _ => 2,
    }
}

/// The chunks by logical address, without overlap.
#[derive(Clone, Debug, Default)]
pub struct ChunkMap {
    chunks: Vec<ChunkMapping>,
}

impl ChunkMap {
    /// The chunks, in the order of their addresses.
    pub fn iter(&self) -> impl Iterator<Item = &ChunkMapping> {
        self.chunks.iter()
    }

    /// The chunk that holds `logical`.
    pub fn find(&self, logical: Logical) -> Option<&ChunkMapping> {
        let index = self.chunks.partition_point(|chunk| chunk.end() <= logical);
        self.chunks.get(index).filter(|chunk| chunk.logical <= logical)
    }

    /// Keeps the chunks for which `keep` returns true.
    pub fn retain(&mut self, keep: impl FnMut(&ChunkMapping) -> bool) {
        self.chunks.retain(keep);
    }

    /// Adds a chunk; one that overlaps another is refused, and returned with the start of the other.
    ///
    /// # Errors
    /// The chunk that was refused, and the start of the one that it overlaps.
    pub fn insert(&mut self, chunk: ChunkMapping) -> Result<(), (ChunkMapping, Logical)> {
        let index = self.chunks.partition_point(|other| other.end() <= chunk.logical);
        match self.chunks.get(index) {
            Some(other) if other.logical < chunk.end() => Err((chunk, other.logical)),
            _ => {
                self.chunks.insert(index, chunk);
                Ok(())
            }
        }
    }
}

impl IntoIterator for ChunkMap {
    type Item = ChunkMapping;
    type IntoIter = std::vec::IntoIter<ChunkMapping>;

    fn into_iter(self) -> Self::IntoIter {
        self.chunks.into_iter()
    }
}
