//! Sizes and places of chunks against a model of what the kernel does, over profiles, numbers of devices and their
//! sizes: a chunk of another size, or one elsewhere, is a filesystem that no kernel would have made.

use rbtrfs::chunk::placement::{Limits, Offer, STRIPE_ALIGNMENT, place};
use rbtrfs::disk::flags::block_group::{DATA, METADATA, SYSTEM};
use rbtrfs::disk::superblock::SYSTEM_CHUNK_ARRAY_SIZE;
use rbtrfs::disk::{BlockGroupFlags, Physical, Profile};
use rbtrfs::space::Holes;

use super::Random;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// Stripes on each device, devices at least and at most (0: all), in steps of, copies, parity.
const PROFILES: [(Profile, [u64; 6]); 9] = [
    (Profile::Single, [1, 1, 1, 1, 1, 0]),
    (Profile::Dup, [2, 1, 1, 1, 2, 0]),
    (Profile::Raid0, [1, 1, 0, 1, 1, 0]),
    (Profile::Raid1, [1, 2, 2, 2, 2, 0]),
    (Profile::Raid1c3, [1, 3, 3, 3, 3, 0]),
    (Profile::Raid1c4, [1, 4, 4, 4, 4, 0]),
    (Profile::Raid10, [1, 2, 0, 2, 2, 0]),
    (Profile::Raid5, [1, 2, 0, 1, 1, 1]),
    (Profile::Raid6, [1, 3, 0, 1, 1, 2]),
];

/// Chunk items of a leaf have room for so many stripes.
const MOST_STRIPES: [(u32, u64); 5] = [(4096, 122), (8192, 250), (16384, 506), (32768, 1018), (65536, 2042)];
/// Of this engine: two entries of so many stripes fit into the array.
const MOST_SYSTEM_STRIPES: u64 = 29;

#[derive(Clone, Debug)]
struct Device {
    devid: u64,
    total: u64,
    /// Starts and ends, in order.
    taken: Vec<(u64, u64)>,
}

impl Device {
    fn empty(devid: u64, total: u64) -> Self {
        Self { devid, total, taken: Vec::new() }
    }

    fn available(&self) -> u64 {
        self.total - self.taken.iter().map(|(start, end)| end - start).sum::<u64>()
    }

    /// Gaps past the first MiB.
    fn gaps(&self) -> Vec<(u64, u64)> {
        let mut gaps = Vec::new();
        let mut position = MIB;
        for (start, end) in self.taken.iter().copied().chain([(self.total, self.total)]) {
            if start > position {
                gaps.push((position, start - position));
            }
            position = position.max(end);
        }
        gaps
    }

    /// Start and usable length: the first gap that has all that is wanted, or else the first of the largest ones.
    fn hole(&self, wanted: u64) -> Option<(u64, u64)> {
        let gaps = self.gaps();
        if let Some((start, _)) = gaps.iter().find(|(_, length)| *length >= wanted) {
            return Some((*start, wanted));
        }
        let largest = gaps.iter().map(|(_, length)| *length).max()?;
        gaps.into_iter().find(|(_, length)| *length == largest)
    }
}

/// Length of the chunk, length of a stripe, and where its stripes stand.
type Expected = Option<(u64, u64, Vec<(u64, u64)>)>;

fn model(kind: u64, profile: Profile, devices: &[Device], nodesize: u32) -> Expected {
    let (_, [each, least, most, step, copies, parity]) = PROFILES.into_iter().find(|(of, _)| *of == profile).unwrap();
    let all: u64 = devices.iter().map(|device| device.total).sum();
    let chunk = match kind {
        DATA => 10 * GIB,
        SYSTEM => 32 * MIB,
        _ if all > 50 * GIB => GIB,
        _ => 256 * MIB,
    };
    let wanted = each * chunk.min(GIB);
    let mut candidates: Vec<(u64, u64, &Device, u64)> = Vec::new();
    for device in devices.iter().filter(|device| device.available() >= each * 64 * KIB) {
        match device.hole(wanted) {
            Some((start, length)) if length >= each * 64 * KIB => {
                candidates.push((length, device.available(), device, start));
            }
            _ => {}
        }
    }
    candidates.sort_by(|one, other| (other.0, other.1, one.2.devid).cmp(&(one.0, one.1, other.2.devid)));
    let stripes_of_item = MOST_STRIPES.iter().find(|(of, _)| *of == nodesize).unwrap().1;
    let most = match (most, kind) {
        (0, SYSTEM) => MOST_SYSTEM_STRIPES.min(stripes_of_item),
        (0, _) => stripes_of_item,
        _ => most,
    };
    // Rounded after the maximum: that of this engine is odd.
    let count = (candidates.len() as u64).min(most);
    let count = count - count % step;
    if count < least {
        return None;
    }
    candidates.truncate(count as usize);
    let mut stripe = candidates[count as usize - 1].0 / each;
    let data = (count * each - parity) / copies;
    let most_of_all = chunk.min(all / 10);
    if stripe * data > most_of_all {
        let share = most_of_all / data;
        let rounded = if share % (16 * MIB) == 0 { share } else { share - share % (16 * MIB) + 16 * MIB };
        stripe = stripe.min(rounded);
    }
    stripe = stripe.min(GIB);
    stripe -= stripe % (64 * KIB);
    if stripe * data == 0 {
        return None;
    }
    let mut stripes = Vec::new();
    for (_, _, device, start) in candidates {
        stripes.extend((0..each).map(|copy| (device.devid, start + copy * stripe)));
    }
    Some((stripe * data, stripe, stripes))
}

fn engine(kind: u64, profile: Profile, devices: &[Device], nodesize: u32) -> Expected {
    let flags = BlockGroupFlags(kind);
    let total_rw_bytes = devices.iter().map(|device| device.total).sum();
    let (array_room, alignment) = (SYSTEM_CHUNK_ARRAY_SIZE, STRIPE_ALIGNMENT);
    let limits = Limits { total_rw_bytes, nodesize, array_room, chunk_size: None, alignment };
    let offer = |device: &Device| {
        let mut holes = Holes::of_device(device.total);
        device.taken.iter().for_each(|(start, end)| holes.take(Physical(*start), end - start));
        let hole = holes.find(limits.wanted(flags, profile))?;
        Some(Offer { devid: device.devid, available: device.available(), hole })
    };
    let offers: Vec<Offer> = devices.iter().filter_map(offer).collect();
    let placement = place(flags, profile, &limits, &offers)?;
    let stripes = placement.stripes.iter().map(|(devid, physical)| (*devid, physical.0)).collect();
    Some((placement.length, placement.stripe_size, stripes))
}

const KINDS: [u64; 4] = [DATA, METADATA, SYSTEM, DATA | METADATA];

/// Compares all kinds and profiles on these devices. Returns how many of them found room.
#[track_caller]
fn compare(devices: &[Device], nodesize: u32) -> usize {
    let mut placed = 0;
    for kind in KINDS {
        for (profile, _) in PROFILES {
            // Mixed chunks are bounded as data are.
            let expected = model(if kind & DATA != 0 { DATA } else { kind }, profile, devices, nodesize);
            let found = engine(kind, profile, devices, nodesize);
            assert_eq!(found, expected, "kind {kind:#x}, {profile:?}, nodesize {nodesize}, {devices:?}");
            placed += usize::from(expected.is_some());
        }
    }
    placed
}

/// Numbers of devices: few, odd, those of one and of two entries of the array, those that a leaf has room for.
const COUNTS: [u64; 19] = [1, 2, 3, 4, 5, 6, 7, 8, 17, 18, 28, 29, 30, 58, 59, 60, 61, 122, 123];

#[test]
fn no_number_of_devices_gives_a_chunk_of_another_size_than_the_kernels() {
    // Around the size where a tenth is less than 64 MiB, the one where metadata chunks become larger, and others.
    let sizes = [
        MIB + 64 * KIB - 1,
        MIB + 64 * KIB,
        MIB + 128 * KIB,
        16 * MIB,
        300 * MIB,
        639 * MIB,
        640 * MIB,
        641 * MIB,
        2 * GIB + 12345,
        5 * GIB,
        50 * GIB - 4096,
        50 * GIB,
        50 * GIB + 4096,
        1 << 40,
    ];
    let mut placed = 0;
    for count in COUNTS {
        for size in sizes {
            // As many of this size, and as many that have it together.
            for each in [size, size / count] {
                let equal: Vec<Device> = (1..=count).map(|devid| Device::empty(devid, each)).collect();
                placed += compare(&equal, 16384);
                let rising: Vec<Device> =
                    (1..=count).map(|devid| Device::empty(devid, each / 2 + each * devid / count / 2)).collect();
                placed += compare(&rising, 4096);
            }
        }
    }
    assert!(placed > 10_000, "{placed}");
}

#[test]
fn no_holes_give_a_chunk_of_another_size_or_place_than_the_kernels() {
    let mut random = Random(12);
    let mut placed = 0;
    let mut without_room = 0;
    for _ in 0..3000 {
        let count = [1, 1, 2, 3, 4, 5, 7, 18, 31, 59][random.below(10)];
        let scale = [8 * MIB, 300 * MIB, 639 * MIB, 5 * GIB, 60 * GIB][random.below(5)];
        let mut devices = Vec::new();
        for devid in 1..=count {
            let mut device = Device::empty(devid, scale + random.below(scale as usize) as u64 / 4096 * 4096);
            let mut position = MIB + [0, 0, 4 * KIB, 64 * KIB, 100 * MIB][random.below(5)];
            // Gaps of every order of size, many too small for a stripe, or for the two of DUP.
            while position < device.total {
                let taken = (1 + random.below(64)) as u64 * [64 * KIB, MIB, device.total / 64][random.below(3)];
                let end = (position + taken).min(device.total);
                device.taken.push((position, end));
                let most = [4 * KIB, 64 * KIB, 128 * KIB, 32 * MIB, 300 * MIB, 3 * GIB][random.below(6)];
                position = end + random.below(most as usize + 1) as u64 / 4096 * 4096;
            }
            devices.push(device);
        }
        let found = compare(&devices, [4096, 16384, 65536][random.below(3)]);
        placed += found;
        without_room += KINDS.len() * PROFILES.len() - found;
    }
    assert!(placed > 10_000 && without_room > 10_000, "{placed}, {without_room}");
}

/// Numbers that are known of the kernel: the model itself may be wrong.
#[test]
fn the_model_says_what_is_known_of_the_kernel() {
    let devices =
        |sizes: &[u64]| -> Vec<Device> { (1..).zip(sizes).map(|(devid, size)| Device::empty(devid, *size)).collect() };
    let length = |kind, profile, sizes: &[u64]| model(kind, profile, &devices(sizes), 16384).map(|expected| expected.0);
    use Profile::*;
    for (kind, profile, sizes, expected) in [
        // A tenth, rounded up to 16 MiB.
        (DATA, Single, vec![639 * MIB], Some(64 * MIB)),
        (DATA, Single, vec![641 * MIB], Some(80 * MIB)),
        (SYSTEM, Dup, vec![300 * MIB], Some(32 * MIB)),
        (METADATA, Dup, vec![50 * GIB], Some(256 * MIB)),
        (METADATA, Dup, vec![50 * GIB + 4096], Some(GIB)),
        (DATA, Raid0, vec![TIB; 16], Some(10 * GIB)),
        (DATA, Raid10, vec![TIB; 7], Some(3 * GIB)),
        (SYSTEM, Raid10, vec![TIB; 18], Some(144 * MIB)),
        (SYSTEM, Raid6, vec![TIB; 8], Some(96 * MIB)),
        (DATA, Raid1c4, vec![TIB; 3], None),
        (DATA, Dup, vec![MIB + 128 * KIB], Some(64 * KIB)),
        (DATA, Dup, vec![MIB + 128 * KIB - 1], None),
    ] {
        assert_eq!(length(kind, profile, &sizes), expected, "kind {kind:#x}, {profile:?}, {sizes:?}");
    }
}

const TIB: u64 = 1 << 40;
