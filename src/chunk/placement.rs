//! How large a new chunk becomes and where its stripes go (`btrfs_create_chunk` and `decide_stripe_size_regular` in
//! fs/btrfs/volumes.c; `calc_chunk_size` in fs/btrfs/space-info.c).

use std::cmp::Reverse;

use crate::disk::flags::block_group;
use crate::disk::node::{Header, Item};
use crate::disk::volume::{Chunk, Stripe};
use crate::disk::{BlockGroupFlags, Physical, Profile, STRIPE_LEN};
use crate::error::{Error, Result};
use crate::space::{Hole, Holes};
use crate::volume::sys_chunk_array;

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
/// Bytes of a stripe at the most.
pub const MAX_STRIPE: u64 = GIB;
/// The kernel rounds stripes up to this where a tenth of the filesystem would make them smaller.
pub const STRIPE_ALIGNMENT: u64 = 16 * MIB;

/// What a device has for a new chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offer {
    /// Number of the device.
    pub devid: u64,
    /// Bytes that no chunk has.
    pub available: u64,
    /// Its largest hole.
    pub hole: Hole,
}

/// What bounds the size of a chunk.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Of all devices that can be written.
    pub total_rw_bytes: u64,
    /// Bytes of a tree block.
    pub nodesize: u32,
    /// Bytes that are left in the system chunk array.
    pub array_room: usize,
    /// Bytes of a chunk at the most, in the place of what its type has by itself.
    pub chunk_size: Option<u64>,
    /// Stripes that the sizes of the chunk and of the filesystem bound are rounded up to a multiple of this.
    pub alignment: u64,
}

/// A chunk to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    /// Bytes of the chunk in logical addresses.
    pub length: u64,
    /// Bytes of each stripe.
    pub stripe_size: u64,
    /// Device id and start of each stripe.
    pub stripes: Vec<(u64, Physical)>,
}

impl Limits {
    /// Bytes of a chunk of this type at the most, but for the bound by the size of the filesystem.
    pub fn chunk_size(&self, flags: BlockGroupFlags) -> u64 {
        if let Some(size) = self.chunk_size {
            size
        } else if flags.contains(block_group::SYSTEM) {
            32 * MIB
        } else if flags.contains(block_group::DATA) {
            10 * GIB
        } else if self.total_rw_bytes > 50 * GIB {
            GIB
        } else {
            256 * MIB
        }
    }

    /// Bytes of a chunk of this type at the most: also no more than a tenth of the filesystem.
    pub fn max_chunk(&self, flags: BlockGroupFlags) -> u64 {
        self.chunk_size(flags).min(self.total_rw_bytes / 10)
    }

    fn max_stripe(&self, flags: BlockGroupFlags) -> u64 {
        self.chunk_size(flags).min(MAX_STRIPE)
    }

    /// Bytes of a device that a chunk would like to have in one piece.
    pub fn wanted(&self, flags: BlockGroupFlags, profile: Profile) -> u64 {
        self.max_stripe(flags).saturating_mul(profile.geometry().dev_stripes.into())
    }

    /// Stripes that an item of the chunk tree has room for, and of a system chunk the array.
    fn max_stripes(&self, flags: BlockGroupFlags) -> usize {
        let most = max_stripes_of_item(self.nodesize);
        if flags.contains(block_group::SYSTEM) { most.min(sys_chunk_array::max_stripes(self.array_room)) } else { most }
    }
}

fn max_stripes_of_item(nodesize: u32) -> usize {
    let without_stripes = size_of::<Header>() + size_of::<Item>() + size_of::<Chunk>();
    (nodesize as usize).saturating_sub(without_stripes) / size_of::<Stripe>()
}

/// As [`place`], on devices of which the id, the bytes that no chunk has and the holes are known. Without room an error of
/// space that names what is left.
///
/// # Errors
/// [`Error::NoSpace`]
pub fn place_on<'h>(
    flags: BlockGroupFlags,
    profile: Profile,
    limits: &Limits,
    devices: impl Iterator<Item = (u64, u64, &'h Holes)>,
) -> Result<Placement> {
    let wanted = limits.wanted(flags, profile);
    let offer =
        |(devid, available, holes): (u64, u64, &Holes)| holes.find(wanted).map(|hole| Offer { devid, available, hole });
    let offers: Vec<Offer> = devices.filter_map(offer).collect();
    let left = offers.iter().map(|offer| offer.hole.length).max().unwrap_or_default();
    let no_space = Error::NoSpace { what: "device", wanted: profile.geometry().least(), left };
    place(flags, profile, limits, &offers).ok_or(no_space)
}

/// Where a chunk goes; nothing if the devices have no room for it. The order of `offers` does not matter.
pub fn place(flags: BlockGroupFlags, profile: Profile, limits: &Limits, offers: &[Offer]) -> Option<Placement> {
    let geometry = profile.geometry();
    let dev_stripes = u64::from(geometry.dev_stripes);
    let wanted = limits.wanted(flags, profile);
    let mut offers: Vec<(u64, Offer)> = offers.iter().map(|offer| (offer.hole.length.min(wanted), *offer)).collect();
    offers.retain(|(room, offer)| offer.available >= geometry.least() && *room >= geometry.least());
    // By device id last, so that the same devices always give the same chunk.
    offers.sort_by_key(|(room, offer)| (Reverse(*room), Reverse(offer.available), offer.devid));
    let most = limits.max_stripes(flags) / usize::from(geometry.dev_stripes);
    let count = geometry.devices(offers.len(), most)?;
    offers.truncate(count);
    let (smallest, _) = *offers.last()?;
    let num_stripes = count as u64 * dev_stripes;
    let data_stripes = u64::from(profile.data_stripes(u16::try_from(num_stripes).ok()?));
    let max_chunk = limits.max_chunk(flags);
    let mut stripe_size = smallest / dev_stripes;
    if stripe_size.saturating_mul(data_stripes) > max_chunk {
        stripe_size = (max_chunk / data_stripes).checked_next_multiple_of(limits.alignment)?.min(stripe_size);
    }
    let stripe_size = stripe_size.min(MAX_STRIPE) / STRIPE_LEN * STRIPE_LEN;
    let length = stripe_size.checked_mul(data_stripes).filter(|length| *length > 0)?;
    let copies = |(_, offer): &(u64, Offer)| {
        let (devid, start) = (offer.devid, offer.hole.start.0);
        (0..dev_stripes).map(move |copy| (devid, Physical(start + copy * stripe_size)))
    };
    Some(Placement { length, stripe_size, stripes: offers.iter().flat_map(copies).collect() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::superblock::SYSTEM_CHUNK_ARRAY_SIZE;

    const DATA: BlockGroupFlags = BlockGroupFlags(block_group::DATA);
    const METADATA: BlockGroupFlags = BlockGroupFlags(block_group::METADATA);
    const SYSTEM: BlockGroupFlags = BlockGroupFlags(block_group::SYSTEM);

    /// Devices with one hole of this many bytes each, from 1 MiB on.
    fn offers(sizes: &[u64]) -> (Vec<Offer>, u64) {
        let offer = |(index, size): (usize, &u64)| {
            let hole = Hole { start: Physical(MIB), length: *size };
            Offer { devid: index as u64 + 1, available: *size, hole }
        };
        (sizes.iter().enumerate().map(offer).collect(), sizes.iter().sum())
    }

    fn placed(flags: BlockGroupFlags, profile: Profile, sizes: &[u64]) -> Option<Placement> {
        let (offers, total_rw_bytes) = offers(sizes);
        let (nodesize, array_room) = (16384, SYSTEM_CHUNK_ARRAY_SIZE);
        let limits = Limits { total_rw_bytes, nodesize, array_room, chunk_size: None, alignment: STRIPE_ALIGNMENT };
        place(flags, profile, &limits, &offers)
    }

    #[track_caller]
    fn check(flags: BlockGroupFlags, profile: Profile, sizes: &[u64], length: u64, devices: &[u64]) {
        let placement = placed(flags, profile, sizes).unwrap();
        assert_eq!(placement.length, length);
        let mut devids: Vec<u64> = placement.stripes.iter().map(|(devid, _)| *devid).collect();
        devids.dedup();
        assert_eq!(devids, devices);
    }

    #[test]
    fn chunks_are_as_large_as_those_of_the_kernel() {
        use Profile::*;
        let first = |count: u64| (1..=count).collect::<Vec<u64>>();
        for (profile, devices, mib) in [
            (Single, 1, 32),
            (Dup, 1, 32),
            (Raid1, 2, 32),
            (Raid1c3, 3, 32),
            (Raid1c4, 4, 32),
            (Raid10, 4, 32),
            (Raid10, 8, 64),
            (Raid0, 8, 128),
            (Raid6, 8, 96),
            (Raid10, 18, 144),
        ] {
            check(SYSTEM, profile, &vec![100 * GIB; devices], mib * MIB, &first(devices as u64));
        }
        // The size of the filesystem decides.
        check(METADATA, Single, &[50 * GIB], 256 * MIB, &[1]);
        check(METADATA, Single, &[50 * GIB + MIB], GIB, &[1]);
        check(METADATA, Dup, &[GIB], 112 * MIB, &[1]);
        check(DATA, Single, &[5 * GIB], 512 * MIB, &[1]);
        check(DATA, Single, &[TIB], GIB, &[1]);
        check(DATA, Raid0, &[TIB; 4], 4 * GIB, &first(4));
        check(DATA, Raid0, &[TIB; 16], 10 * GIB, &first(16));
        check(DATA, Raid5, &[TIB; 16], 15 * 688 * MIB, &first(16));
        // A tenth of it is rounded up, but not past the hole.
        check(DATA, Single, &[300 * MIB], 32 * MIB, &[1]);
        check(DATA, Single, &[20 * MIB], 16 * MIB, &[1]);
        check(DATA, Single, &[5 * MIB + 1000], 5 * MIB, &[1]);
    }

    const TIB: u64 = 1 << 40;

    #[test]
    fn a_chunk_takes_the_devices_with_the_most_room() {
        use Profile::*;
        check(DATA, Raid1, &[GIB, 3 * GIB, 2 * GIB], 624 * MIB, &[2, 3]);
        // An odd device is left out, and those of equal room are taken in the order of their ids.
        check(METADATA, Raid10, &[TIB; 5], GIB, &[1, 2, 3, 4]);
        check(METADATA, Raid1c3, &[TIB; 5], GIB, &[1, 2, 3]);
    }

    #[test]
    fn copies_on_one_device_lie_side_by_side() {
        let placement = placed(METADATA, Profile::Dup, &[10 * GIB]).unwrap();
        assert_eq!(placement.stripes, [(1, Physical(MIB)), (1, Physical(MIB + placement.stripe_size))]);
    }

    #[test]
    fn too_little_room_is_no_chunk() {
        use Profile::*;
        for (profile, sizes) in [
            (Single, &[][..]),
            (Single, &[STRIPE_LEN - 1]),
            (Dup, &[2 * STRIPE_LEN - 1]),
            (Raid1, &[GIB]),
            (Raid1, &[GIB, STRIPE_LEN - 1]),
            (Raid1c4, &[GIB; 3]),
            (Raid5, &[GIB]),
            (Raid6, &[GIB; 2]),
        ] {
            assert_eq!(placed(DATA, profile, sizes), None, "{profile:?} {sizes:?}");
        }
    }

    #[test]
    fn a_system_chunk_is_as_wide_as_fits_the_array() {
        use Profile::*;
        let (offers, total_rw_bytes) = offers(&[100 * GIB; 40]);
        let stripes = |profile: Profile, array_room| {
            let limits =
                Limits { total_rw_bytes, nodesize: 65536, array_room, chunk_size: None, alignment: STRIPE_ALIGNMENT };
            place(SYSTEM, profile, &limits, &offers).map(|placement| placement.stripes.len())
        };
        // What an entry of 40 stripes leaves, and less down to nothing.
        let room = SYSTEM_CHUNK_ARRAY_SIZE - (65 + 40 * 32);
        for (profile, expected) in [
            (Raid0, [Some(19), Some(3), Some(2), Some(1), None]),
            (Raid10, [Some(18), Some(2), Some(2), None, None]),
            (Raid5, [Some(19), Some(3), Some(2), None, None]),
            (Raid6, [Some(19), Some(3), None, None, None]),
            (Raid1, [Some(2), Some(2), Some(2), None, None]),
            (Dup, [Some(2), Some(2), Some(2), None, None]),
            (Raid1c4, [Some(4), None, None, None, None]),
            (Single, [Some(1), Some(1), Some(1), Some(1), None]),
        ] {
            let have = [room, 65 + 3 * 32 + 31, 65 + 2 * 32, 65 + 32, 65 + 31].map(|room| stripes(profile, room));
            assert_eq!(have, expected, "{profile:?}");
        }
    }

    #[test]
    fn a_system_chunk_leaves_room_for_another_one_in_the_array() {
        let sizes = vec![100 * GIB; 80];
        assert_eq!(placed(SYSTEM, Profile::Raid0, &sizes).unwrap().stripes.len(), 29);
        assert_eq!(placed(SYSTEM, Profile::Raid10, &sizes).unwrap().stripes.len(), 28);
        assert_eq!(placed(DATA, Profile::Raid0, &sizes).unwrap().stripes.len(), 80);
        assert_eq!([4096, 8192, 16384, 32768, 65536].map(max_stripes_of_item), [122, 250, 506, 1018, 2042]);
    }
}
