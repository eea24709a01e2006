//! What tells of chunks where the chunk tree does not: device extents, block groups, former chunk items and the system chunk
//! array, and where tree blocks stand.

use std::collections::{BTreeMap, BTreeSet};

use crate::disk::root::RootItem;
use crate::disk::volume::{Chunk, DevExtent, Stripe};
use crate::disk::{BlockGroupFlags, Key, KeyType, Logical, Physical, Profile, Superblock, objectid};
use crate::image::Image;
use crate::volume::chunk_items::new_chunk;
use crate::volume::sys_chunk_array::Entries;
use crate::volume::{ChunkMapping, Device};

use super::blocks::{Blocks, Found};

/// Device id and first byte of a stripe.
pub type StripePlace = (u64, Physical);

/// A chunk that is known but for the order of its stripes.
#[derive(Clone)]
pub struct Outline {
    pub logical: Logical,
    pub length: u64,
    pub flags: BlockGroupFlags,
    pub profile: Profile,
    /// The places of its stripes, sorted.
    pub places: Vec<StripePlace>,
    /// Their order in the system chunk array or the newest item that is left of the chunk, which no chunk changes.
    pub former: Option<Vec<StripePlace>>,
}

/// What an item says of a chunk.
struct Former {
    length: u64,
    flags: BlockGroupFlags,
    places: Vec<StripePlace>,
}

impl Former {
    fn new(chunk: &Chunk, stripes: &[Stripe]) -> Self {
        let places = stripes.iter().map(|stripe| (stripe.devid.get(), stripe.physical())).collect();
        Self { length: chunk.length.get(), flags: chunk.block_group_flags(), places }
    }
}

/// Device extents by the chunk that they name: place and length.
type Extents = BTreeMap<Logical, Vec<(StripePlace, u64)>>;

/// Chunks that are not told, by their addresses, with the reasons.
pub type Untold = Vec<(Logical, String)>;

/// Outlines all chunks that the blocks in `found` tell of, in the order of their addresses, and lists the chunks that the blocks do not
/// determine. The kernel may have removed some of the latter.
pub fn outlines(found: &Blocks, devices: &[Device], superblock: &Superblock) -> (Vec<Outline>, Untold) {
    let images: Vec<&Image> = devices.iter().map(Device::image).collect();
    let (extents, is_whole) = device_extents(found, &images, superblock);
    let former = former(found, &images, superblock);
    let mut chunks: BTreeSet<Logical> = extents.keys().copied().collect();
    if !is_whole {
        chunks.extend(found.groups.keys());
    }
    let (mut outlines, mut untold) = (Vec::new(), Untold::new());
    for logical in chunks {
        let of_chunk = extents.get(&logical).map(Vec::as_slice).unwrap_or_default();
        match outline(found, devices, logical, of_chunk, former.get(&logical)) {
            Ok(outline) => outlines.push(outline),
            Err(problem) => untold.push((logical, problem.to_owned())),
        }
    }
    (outlines, untold)
}

/// The root of the root tree, where the superblock says that it is.
pub fn root_of(found: &Blocks, superblock: &Superblock) -> Option<Found> {
    found.find(objectid::ROOT_TREE, superblock.root(), superblock.generation()).copied()
}

/// The device extents, and whether these are all that there are.
fn device_extents(found: &Blocks, images: &[&Image], superblock: &Superblock) -> (Extents, bool) {
    let root_items = root_of(found, superblock).map(|root| found.items(images, &root).0).unwrap_or_default();
    let is_root = |key: &Key| (key.objectid, key.key_type) == (objectid::DEV_TREE, KeyType::ROOT_ITEM);
    let dev_root = root_items.iter().find(|(key, _)| is_root(key)).and_then(|(_, data)| RootItem::read(data));
    let present = dev_root.and_then(|item| found.find(objectid::DEV_TREE, item.bytenr.into(), item.generation.into()));
    let is_not_newer = |root: &Found| root.generation <= superblock.generation();
    let newest = || found.newest_first(objectid::DEV_TREE).into_iter().find(is_not_newer);
    let (root, is_present) = match present {
        Some(root) => (Some(*root), true),
        None => (newest(), false),
    };
    let (items, is_whole) = root.map(|root| found.items(images, &root)).unwrap_or_default();
    let mut extents = Extents::new();
    for (key, data) in items.iter().filter(|(key, _)| key.key_type == KeyType::DEV_EXTENT) {
        if let Some((extent, _)) = DevExtent::read_prefix(data) {
            let place = (key.objectid, Physical(key.offset));
            extents.entry(extent.chunk()).or_default().push((place, extent.length.get()));
        }
    }
    (extents, is_present && is_whole)
}

/// What items of the chunk tree are left, the newest of each chunk, and those in the system chunk array.
fn former(found: &Blocks, images: &[&Image], superblock: &Superblock) -> BTreeMap<Logical, Former> {
    let mut former = BTreeMap::new();
    let entries = Entries::new(superblock.sys_chunk_array()).map_while(Result::ok);
    former.extend(entries.map(|entry| (Logical(entry.key.offset), Former::new(entry.chunk, entry.stripes))));
    found.for_each_item(images, objectid::CHUNK_TREE, |item| {
        if item.key.key_type == KeyType::CHUNK_ITEM
            && let Some((chunk, stripes, _)) = Chunk::read_with_stripes(item.data)
        {
            former.entry(Logical(item.key.offset)).or_insert_with(|| Former::new(chunk, stripes));
        }
    });
    former
}

fn outline(
    found: &Blocks,
    devices: &[Device],
    logical: Logical,
    extents: &[(StripePlace, u64)],
    former: Option<&Former>,
) -> Result<Outline, &'static str> {
    let group = found.groups.get(&logical).map(|(_, length, flags)| (*length, *flags));
    let of_former = former.map(|former| (former.length, former.flags));
    let mut problem = "no block group tells its type and length";
    for (length, flags) in [group, of_former].into_iter().flatten() {
        let Some(profile) = flags.profile() else { continue };
        let is_same = |former: &&Former| former.length == length && former.flags == flags;
        let former = former.filter(is_same).map(|former| former.places.clone());
        let bare = Outline { logical, length, flags, profile, places: Vec::new(), former };
        let mut places: Vec<StripePlace> = extents.iter().map(|(place, _)| *place).collect();
        places.sort_unstable();
        let is_part_of = |all: &[StripePlace]| places.iter().all(|place| all.contains(place));
        let by_former = bare.former.clone().filter(|former| is_part_of(former));
        let by_blocks = || stripes_by_blocks(found, devices, &bare).filter(|all| is_part_of(all));
        let choices = [Some(places.clone()), by_former, by_blocks()];
        let with = |mut places: Vec<StripePlace>| {
            places.sort_unstable();
            let former = bare.former.clone().filter(|former| is_order_of(former, &places));
            let outline = Outline { places, former, ..bare.clone() };
            let mapping = outline.mapping(&outline.places, devices)?;
            let size = mapping.stripe_size();
            let is_even = size > 0 && length.is_multiple_of(mapping.data_stripes());
            let device = |devid: u64| devices.iter().find(|device| device.devid() == devid);
            let is_inside = |(devid, start): &StripePlace| {
                let end = start.0.saturating_add(size);
                device(*devid).is_some_and(|device| end <= device.image().size())
            };
            let is_possible = is_even && outline.places.iter().all(is_inside);
            (is_possible && extents.iter().all(|(_, length)| *length == size)).then_some(outline)
        };
        if let Some(outline) = choices.into_iter().flatten().find_map(with) {
            return Ok(outline);
        }
        problem = "its device extents are not those that its block group asks for";
    }
    Err(problem)
}

fn is_order_of(order: &[StripePlace], places: &[StripePlace]) -> bool {
    let mut order = order.to_vec();
    order.sort_unstable();
    order == places
}

impl Outline {
    /// The chunk with its stripes in this order; nothing if it makes no sense, or a device is not there.
    pub fn mapping(&self, order: &[StripePlace], devices: &[Device]) -> Option<ChunkMapping> {
        let uuid_of = |devid| devices.iter().find(|device| device.devid() == devid).map(Device::uuid);
        let are_there = order.iter().all(|(devid, _)| uuid_of(*devid).is_some());
        let sectorsize = devices.first()?.superblock().sectorsize.get();
        let uuid = |devid| uuid_of(devid).unwrap_or_default();
        let new = new_chunk(self.logical, self.length, order, self.flags, self.profile, sectorsize, uuid).ok()?;
        are_there.then_some(new)
    }

    /// The first address behind the chunk.
    pub fn end(&self) -> Logical {
        Logical(self.logical.0.saturating_add(self.length))
    }
}

/// Finds the stripes of a chunk of a mirrored or single profile by the places of its tree blocks.
fn stripes_by_blocks(found: &Blocks, devices: &[Device], outline: &Outline) -> Option<Vec<StripePlace>> {
    let geometry = outline.profile.geometry();
    if geometry.nparity > 0 || geometry.devs_max == 0 {
        return None;
    }
    let mut places = BTreeSet::new();
    for place in found.places.iter_from(outline.logical.0).take_while(|place| place.logical() < outline.end()) {
        let (device, physical) = place.physical();
        let start = physical.0.checked_sub(place.logical().0 - outline.logical.0);
        places.extend(devices.get(device).zip(start).map(|(device, start)| (device.devid(), Physical(start))));
        if places.len() > usize::from(geometry.ncopies) {
            return None;
        }
    }
    Some(places.into_iter().collect())
}
