//! Where on the devices metadata stands.

use std::collections::HashMap;

use crate::disk::flags::block_group;
use crate::disk::{Physical, STRIPE_LEN};
use crate::volume::{ChunkMapping, Device, Volume};

/// Bytes that are read at once.
const WINDOW: u64 = 1 << 20;
/// How often a byte of a device is read at most. Stripes that overlap are damage, and each of them may be the right one; more
/// are only made to keep a reader busy.
const MOST_READS: u64 = 8;

/// A stripe of a chunk of metadata.
#[derive(Clone, Copy)]
pub struct Stretch<'v> {
    /// The chunk.
    pub chunk: &'v ChunkMapping,
    /// Index of the stripe in the chunk.
    pub stripe: usize,
    /// The device; nothing if it is missing, and what stood there is rebuilt from parity.
    pub device: Option<&'v Device>,
    /// Bytes of it that there may be.
    pub length: u64,
}

impl Stretch<'_> {
    /// Where on the device a byte of the stretch stands.
    pub fn physical(&self, offset: u64) -> Option<Physical> {
        self.chunk.stripes.get(self.stripe)?.physical.checked_add(offset)
    }

    /// The number of the copy that the stripe is of.
    pub fn mirror(&self) -> u16 {
        match self.device {
            None => 2,
            Some(_) if self.chunk.profile.geometry().nparity > 0 => 1,
            Some(_) if self.chunk.is_striped() => (self.stripe as u16) % self.chunk.sub_stripes() + 1,
            Some(_) => self.stripe as u16 + 1,
        }
    }
}

/// The stripes of all chunks that may hold metadata.
pub fn stretches(volume: &Volume) -> Vec<Stretch<'_>> {
    let mut left: HashMap<u64, u64> = HashMap::new();
    let mut all = Vec::new();
    for chunk in volume.chunks().iter() {
        if chunk.flags.type_bits() & (block_group::METADATA | block_group::SYSTEM) == 0 {
            continue;
        }
        let room = |stripe: usize| {
            let stripe = chunk.stripes.get(stripe)?;
            Some(volume.device(stripe)?.image().size().saturating_sub(stripe.physical.0).min(chunk.stripe_size()))
        };
        let stripes = 0..chunk.stripes.len();
        for stripe in stripes.clone() {
            let device = volume.device(&chunk.stripes[stripe]);
            let length = match device {
                Some(_) => room(stripe),
                None if chunk.profile.geometry().nparity > 0 => stripes.clone().filter_map(room).min(),
                None => None,
            };
            let Some(length) = length.filter(|length| *length > 0) else { continue };
            let devid = chunk.stripes[stripe].devid;
            let size = |device: &Device| device.image().size().saturating_mul(MOST_READS);
            let most = volume.devices().iter().map(size).max().unwrap_or_default();
            let left = left.entry(devid).or_insert(most);
            if let Some(rest) = left.checked_sub(length) {
                *left = rest;
                all.push(Stretch { chunk, stripe, device, length });
            }
        }
    }
    all
}

/// A part of a stretch that is read at once.
pub struct Window<'v> {
    /// The stretch.
    pub stretch: Stretch<'v>,
    /// Where in the stretch it begins; a multiple of the size of a sector.
    pub offset: u64,
    /// Bytes of it.
    pub length: u64,
    /// Bytes of the stretch that were passed over before it, which hold nothing.
    pub skipped: u64,
}

/// The data of some stretches, window by window; holes are passed over.
pub fn windows<'v>(stretches: &[Stretch<'v>], sectorsize: u64) -> impl Iterator<Item = Window<'v>> {
    stretches.iter().flat_map(move |stretch| {
        let stretch = *stretch;
        let mut done = 0;
        std::iter::from_fn(move || {
            let (start, length) = next(&stretch, done, sectorsize)?;
            let skipped = start - done;
            done = start + length;
            Some(Window { stretch, offset: start, length, skipped })
        })
    })
}

/// The first data of a stretch at or behind `from`: offset and length.
fn next(stretch: &Stretch<'_>, from: u64, sectorsize: u64) -> Option<(u64, u64)> {
    if from >= stretch.length {
        return None;
    }
    let Some(device) = stretch.device else {
        return Some((from, STRIPE_LEN.min(stretch.length - from)));
    };
    let first = stretch.physical(0)?.0;
    let data = device.image().next_data(stretch.physical(from)?)?;
    let start = data.start.saturating_sub(first);
    let start = (start - start % sectorsize).max(from);
    let end = data.end.saturating_sub(first).next_multiple_of(sectorsize).min(start + WINDOW).min(stretch.length);
    (start < end).then(|| (start, end - start))
}
