//! Copies are written anew from good ones.

use crate::block::verify::Expected;
use crate::disk::{Logical, Physical, Transid};
use crate::error::{AddressProblem, Addressed, Error, Result};
use crate::tree::csums::CsumRoot;
use crate::tree::{BlockCache, DataReader, Sector, TreeRoot};
use crate::volume::{Content, Volume, WritableVolume};

/// A copy of a block, to be written anew from a good one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Copy {
    /// Logical address of the block.
    pub logical: Logical,
    /// The copy, counted from 1.
    pub mirror: u16,
    /// That of the block, which another copy has to have.
    pub generation: Transid,
}

/// A range of one stripe of a chunk: of data, or of parity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StripeRange {
    /// Logical address of the first of the data; of parity that of the first data of its row.
    pub logical: Logical,
    /// Bytes on the device.
    pub length: u64,
    /// Number of the device.
    pub devid: u64,
    /// The first byte on the device.
    pub physical: Physical,
}

impl StripeRange {
    /// What its sectors hold, and where on the device they are.
    pub fn sectors(self, volume: &Volume) -> impl Iterator<Item = (Content, Physical)> {
        let sectorsize = volume.format().sectorsize;
        let stripe = volume.chunks().find(self.logical).and_then(|chunk| {
            let within = |start: Physical| self.physical.0.checked_sub(start.0).filter(|at| *at < chunk.stripe_size());
            let mut stripes = chunk.stripes.iter().enumerate().filter(|(_, stripe)| stripe.devid == self.devid);
            stripes.find_map(|(index, stripe)| Some((chunk, index, within(stripe.physical)?)))
        });
        let offsets = (0..self.length).step_by(sectorsize as usize);
        stripe.into_iter().flat_map(move |(chunk, stripe, start)| {
            offsets.clone().filter_map(move |offset| {
                let content = chunk.content(stripe, start.checked_add(offset)?)?;
                Some((content, self.physical.checked_add(offset)?))
            })
        })
    }
}

/// Writes copies of blocks anew.
///
/// # Errors
/// No copy is good, and what cannot be written.
pub fn write_copies(writable: &WritableVolume, copies: &[Copy]) -> Result<()> {
    copies.iter().try_for_each(|copy| write_copy(writable, copy))
}

fn write_copy(writable: &WritableVolume, copy: &Copy) -> Result<()> {
    let volume = writable.volume();
    let Copy { logical, mirror, generation } = *copy;
    let mut bytes = vec![0; volume.format().nodesize as usize];
    for other in (1..=volume.mirrors(logical)).filter(|other| *other != mirror) {
        if volume.read(logical, other, &mut bytes).is_ok() && is_good(volume, logical, generation, &bytes) {
            return writable.write_copy(logical, mirror, &bytes);
        }
    }
    Err(Error::Block { what: Addressed::BlockCopy, logical, problem: AddressProblem::NoOtherCopy })
}

/// Whether the bytes are those of the block that the survey reached: an older version is right by itself, too.
fn is_good(volume: &Volume, logical: Logical, generation: Transid, bytes: &[u8]) -> bool {
    let expected = Expected { generation: Some(generation), ..Expected::at(logical) };
    volume.format().verify(bytes, &expected).is_ok()
}

/// Writes copies of data anew where another one is what the checksum says, and parity by the data of its row, all of which is good.
/// What is good nowhere stays as it is.
///
/// # Errors
/// Checksums that cannot be read, and what cannot be written.
pub fn write_data(writable: &WritableVolume, ranges: &[StripeRange]) -> Result<()> {
    if ranges.is_empty() {
        return Ok(());
    }
    let (volume, cache) = (writable.volume(), BlockCache::default());
    let csums = CsumRoot::of(volume, &TreeRoot::root_tree(volume))?;
    let mut reader = DataReader::new(volume, &cache, Some(csums));
    let (mut bytes, mut sectors) = (vec![0; volume.format().sectorsize as usize], Vec::new());
    for range in ranges {
        for (content, physical) in range.sectors(volume) {
            match content {
                Content::Data(logical) => {
                    reader.read(logical, &mut bytes, &mut sectors, &mut |_| ());
                    let is_it = |mirror: &u16| volume.place(logical, *mirror) == Some((range.devid, physical));
                    let mirror = (1..=volume.mirrors(logical)).find(is_it);
                    if let (Some(mirror), [Sector::Verified]) = (mirror, sectors.as_slice()) {
                        writable.write_copy(logical, mirror, &bytes)?;
                    }
                }
                // All copies behind the first one are parity.
                Content::Parity { row, .. } => {
                    if volume.read(row, 1, &mut bytes).is_ok() {
                        writable.write_copy(row, 2, &bytes)?;
                    }
                }
            }
        }
    }
    Ok(())
}
