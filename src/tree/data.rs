//! Data by address, each sector from a copy that is what its checksum says.

use std::ops::ControlFlow;

use crate::block::verify::BlockError;
use crate::disk::flags::{block_group, incompat, superblock};
use crate::disk::{Key, KeyType, Logical, Profile, objectid};
use crate::volume::{BadCopy, ChunkMapping, NoGoodCopy, Volume};

use super::cache::BlockCache;
use super::csums::CsumRoot;
use super::spans::{LeafVisit, UnreadableSpan};

/// Bytes of data whose checksums are read at once. What is read in order finds most of them there.
const SUMMED: u64 = 1 << 20;

/// What a sector that was read is worth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sector {
    /// It is what its checksum says.
    Verified,
    /// It was read, and no checksum of it is known.
    Unverified,
    /// No copy could be read that is what the checksum says.
    Lost(NoGoodCopy),
}

/// What is met beside the data.
pub enum DataEvent<'a> {
    /// A copy of the sector at this address is bad. Another one is good.
    BadCopy(Logical, &'a BadCopy),
    /// A copy of a block of the checksum tree is bad. Another one is good.
    BadCsumBlock(Logical, &'a BadCopy),
    /// A block of the checksum tree cannot be read: checksums are not known for that.
    UnreadableCsums(&'a UnreadableSpan),
}

/// Reads data, and keeps the checksums that were read last.
pub struct DataReader<'v> {
    volume: &'v Volume,
    cache: &'v BlockCache,
    csums: Option<CsumRoot>,
    sectors: SectorCsums,
}

impl<'v> DataReader<'v> {
    /// A reader that verifies with these checksums. Without any, nothing is verified.
    pub fn new(volume: &'v Volume, cache: &'v BlockCache, csums: Option<CsumRoot>) -> Self {
        let format = volume.format();
        // While checksums are converted to another type it is not known of which type they are.
        let csums = csums.filter(|_| !volume.superblock().is_changing_csums());
        let sectors = SectorCsums::new(format.sectorsize.into(), format.csum_type.size());
        Self { volume, cache, csums, sectors }
    }

    /// Whether the checksum of a sector is known that was just read.
    pub fn has_csum(&self, logical: Logical) -> bool {
        self.sectors.get(logical).is_some()
    }

    /// Fills `buffer` with the data at `logical`, and `sectors` with what each sector of it is worth. Both address and length
    /// are multiples of the sector size. Of a sector that is lost the bytes mean nothing.
    pub fn read(
        &mut self,
        logical: Logical,
        buffer: &mut [u8],
        sectors: &mut Vec<Sector>,
        event: &mut dyn FnMut(DataEvent<'_>),
    ) {
        let volume = self.volume;
        let sectorsize = volume.format().sectorsize as usize;
        sectors.clear();
        // Where the read of all sectors fails, each is read for itself.
        let is_read = volume.read(logical, 1, buffer).is_ok();
        for (index, bytes) in buffer.chunks_exact_mut(sectorsize).enumerate() {
            let Some(address) = logical.checked_add((index * sectorsize) as u64) else {
                sectors.push(Sector::Lost(NoGoodCopy { logical, bad: Vec::new() }));
                continue;
            };
            if let Some(csums) = &self.csums {
                self.sectors.load(volume, self.cache, csums, address, event);
            }
            let sum = self.sectors.get(address);
            let is_good = is_read && sum.is_none_or(|sum| volume.format().csum_type.compute(bytes).starts_with(sum));
            let lost = if is_good { Ok(()) } else { read_sector(volume, address, sum, bytes, event).map(drop) };
            sectors.push(match (lost, sum) {
                (Err(lost), _) => Sector::Lost(lost),
                (Ok(()), Some(_)) => Sector::Verified,
                (Ok(()), None) => Sector::Unverified,
            });
        }
    }
}

/// Reads a sector from the first copy that is what `sum` says, or without one from the first that can be read. Returns which one
/// that is.
///
/// # Errors
/// There is no such copy; `bytes` mean nothing then.
pub fn read_sector(
    volume: &Volume,
    logical: Logical,
    sum: Option<&[u8]>,
    bytes: &mut [u8],
    event: &mut dyn FnMut(DataEvent<'_>),
) -> Result<u16, NoGoodCopy> {
    let csum_type = volume.format().csum_type;
    let mut bad: Vec<BadCopy> = Vec::new();
    for mirror in 1..=volume.mirrors(logical) {
        let read = match volume.read(logical, mirror, bytes) {
            Err(problem) => Err(match volume.missing(logical, mirror) {
                Some(devid) => BlockError::Missing { devid },
                None => BlockError::Unreadable(problem),
            }),
            Ok(()) => match (sum, csum_type.compute(bytes)) {
                (Some(sum), found) if !found.starts_with(sum) => {
                    let found = found.get(..sum.len()).unwrap_or_default().to_vec();
                    Err(BlockError::Csum { found, expected: sum.to_vec() })
                }
                _ => Ok(()),
            },
        };
        match read {
            Ok(()) => {
                // The volume reports missing devices, once.
                bad.iter().filter(|copy| !copy.is_missing()).for_each(|copy| event(DataEvent::BadCopy(logical, copy)));
                return Ok(mirror);
            }
            Err(error) => bad.push(BadCopy { mirror, place: volume.place(logical, mirror), error }),
        }
    }
    Err(NoGoodCopy { logical, bad })
}

/// Why a chunk does not tell where its data lies.
pub fn not_placed(volume: &Volume, chunk: &ChunkMapping) -> Option<&'static str> {
    let of_volume = volume.superblock();
    // As `btrfs-image` leaves it: blocks of data are not in the dump.
    if of_volume.flags.get() & (superblock::METADUMP | superblock::METADUMP_V2) != 0 {
        return Some("this is a dump of metadata only");
    }
    if chunk.flags.contains(block_group::REMAPPED) {
        return Some("it is remapped");
    }
    // `btrfs_need_stripe_tree_update` in fs/btrfs/raid-stripe-tree.h; parity and single chunks are not listed there.
    let is_linear = matches!(chunk.profile, Profile::Single | Profile::Raid5 | Profile::Raid6);
    let is_listed = of_volume.has_incompat(incompat::RAID_STRIPE_TREE) && chunk.flags.contains(block_group::DATA);
    (is_listed && !is_linear).then_some("the raid stripe tree places it")
}

/// The checksums of the sectors of one range.
struct SectorCsums {
    sectorsize: u64,
    size: usize,
    start: u64,
    end: u64,
    /// One after the other, for each sector of the range.
    bytes: Vec<u8>,
    known: Vec<bool>,
}

impl SectorCsums {
    fn new(sectorsize: u64, size: usize) -> Self {
        Self { sectorsize, size, start: 0, end: 0, bytes: Vec::new(), known: Vec::new() }
    }

    /// The checksum of the sector at `logical`.
    fn get(&self, logical: Logical) -> Option<&[u8]> {
        let sector = (logical.0.checked_sub(self.start)? / self.sectorsize) as usize;
        let start = sector.checked_mul(self.size)?;
        self.known.get(sector).filter(|known| **known)?;
        self.bytes.get(start..start.checked_add(self.size)?)
    }

    /// Reads the checksums of a range that holds `logical`, unless they are there.
    fn load(
        &mut self,
        volume: &Volume,
        cache: &BlockCache,
        csums: &CsumRoot,
        logical: Logical,
        event: &mut dyn FnMut(DataEvent<'_>),
    ) {
        if (self.start..self.end).contains(&logical.0) {
            return;
        }
        self.start = logical.0 / SUMMED * SUMMED;
        self.end = self.start.saturating_add(SUMMED);
        let sectors = (SUMMED / self.sectorsize) as usize;
        self.bytes.resize(sectors * self.size, 0);
        self.known.clear();
        self.known.resize(sectors, false);
        let Some(root) = csums.root() else { return };
        // An item begins no further before the first of its sectors that counts.
        let longest = u64::from(volume.format().nodesize) / self.size as u64 * self.sectorsize;
        let key = |offset| Key::new(objectid::EXTENT_CSUM, KeyType::EXTENT_CSUM, offset);
        let (from, to) = (key(self.start.saturating_sub(longest)), key(self.end.saturating_sub(1)));
        let _ = root.visit_range(volume, cache, from, to, |visit| {
            match visit {
                LeafVisit::Item(item) => self.take(item.key.offset, item.data),
                LeafVisit::BadCopy(logical, copy) => event(DataEvent::BadCsumBlock(logical, copy)),
                LeafVisit::Unreadable(unreadable) => event(DataEvent::UnreadableCsums(unreadable)),
            }
            ControlFlow::Continue(())
        });
    }

    /// Takes what an item says of the range. Items that no sound filesystem has are left out.
    fn take(&mut self, first: u64, csums: &[u8]) {
        if !first.is_multiple_of(self.sectorsize) {
            return;
        }
        let (first, own) = (first / self.sectorsize, self.start / self.sectorsize);
        let to = usize::try_from(first.saturating_sub(own)).unwrap_or(usize::MAX);
        let from = usize::try_from(own.saturating_sub(first)).unwrap_or(usize::MAX);
        let csums = csums.chunks_exact(self.size).skip(from);
        let places = self.bytes.chunks_exact_mut(self.size).zip(&mut self.known).skip(to);
        for (sum, (place, known)) in csums.zip(places) {
            place.copy_from_slice(sum);
            *known = true;
        }
    }
}
