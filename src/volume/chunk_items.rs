//! The items that stand in the trees for a chunk, its block group and its devices.

use zerocopy::IntoBytes;

use crate::disk::fields::Uuid;
use crate::disk::volume::{BlockGroupItem, Chunk, DevExtent, DevItem, Stripe};
use crate::disk::{BlockGroupFlags, Key, KeyType, Logical, Physical, Profile, STRIPE_LEN, objectid};
use crate::error::{Addressed, Error, Result};

use super::chunk_map::ChunkMapping;

/// The key of the item of the chunk at `logical`.
pub fn chunk_key(logical: Logical) -> Key {
    Key::new(objectid::FIRST_CHUNK_TREE, KeyType::CHUNK_ITEM, logical.0)
}

fn chunk_struct(sectorsize: u32, length: u64, flags: BlockGroupFlags, profile: Profile, stripes: usize) -> Chunk {
    let mut chunk = Chunk::zeroed();
    chunk.length = length.into();
    chunk.owner = objectid::EXTENT_TREE.into();
    chunk.stripe_len = STRIPE_LEN.into();
    chunk.r#type = flags.0.into();
    chunk.io_align = (STRIPE_LEN as u32).into();
    chunk.io_width = (STRIPE_LEN as u32).into();
    chunk.sector_size = sectorsize.into();
    chunk.num_stripes = (stripes as u16).into();
    chunk.sub_stripes = profile.geometry().sub_stripes.into();
    chunk
}

fn stripe_struct(devid: u64, physical: Physical, dev_uuid: Uuid) -> Stripe {
    let mut stripe = Stripe::zeroed();
    (stripe.devid, stripe.offset, stripe.dev_uuid) = (devid.into(), physical.0.into(), dev_uuid);
    stripe
}

/// A new chunk of `length` bytes as it is read and written. `stripes` are device ids and starts; `uuid_of` returns the
/// uuid of a device.
///
/// # Errors
/// A chunk whose geometry makes no sense.
pub fn new_chunk(
    logical: Logical,
    length: u64,
    stripes: &[(u64, Physical)],
    flags: BlockGroupFlags,
    profile: Profile,
    sectorsize: u32,
    uuid_of: impl Fn(u64) -> Uuid,
) -> Result<ChunkMapping> {
    let chunk = chunk_struct(sectorsize, length, flags, profile, stripes.len());
    let stripes = stripes.iter().map(|(devid, physical)| stripe_struct(*devid, *physical, uuid_of(*devid)));
    let mapping = ChunkMapping::new(logical, &chunk, &stripes.collect::<Vec<_>>());
    mapping.map_err(|problem| Error::Block { what: Addressed::Chunk, logical, problem: problem.into() })
}

/// The structs that a chunk was mapped from.
pub fn structs_of(mapping: &ChunkMapping, sectorsize: u32) -> (Chunk, Vec<Stripe>) {
    let chunk = chunk_struct(sectorsize, mapping.length, mapping.flags, mapping.profile, mapping.stripes.len());
    let stripes = mapping.stripes.iter().map(|stripe| stripe_struct(stripe.devid, stripe.physical, stripe.dev_uuid));
    (chunk, stripes.collect())
}

/// The data of a chunk item.
pub fn chunk_item(mapping: &ChunkMapping, sectorsize: u32) -> Vec<u8> {
    let (chunk, stripes) = structs_of(mapping, sectorsize);
    [chunk.as_bytes(), stripes.as_bytes()].concat()
}

/// The item of a device without chunks.
pub fn dev_item(devid: u64, uuid: Uuid, total_bytes: u64, sectorsize: u32, fsid: Uuid) -> DevItem {
    let mut item = DevItem::zeroed();
    (item.devid, item.total_bytes) = (devid.into(), total_bytes.into());
    (item.io_align, item.io_width, item.sector_size) = (sectorsize.into(), sectorsize.into(), sectorsize.into());
    (item.uuid, item.fsid) = (uuid, fsid);
    item
}

/// The item of a block group of which so many bytes are in use.
pub fn block_group_item(logical: Logical, length: u64, flags: BlockGroupFlags, used: u64) -> (Key, BlockGroupItem) {
    let chunk_objectid = objectid::FIRST_CHUNK_TREE.into();
    let item = BlockGroupItem { used: used.into(), chunk_objectid, flags: flags.0.into() };
    (Key::new(logical.0, KeyType::BLOCK_GROUP_ITEM, length), item)
}

/// The items of a chunk in the device tree, one for each stripe.
pub fn dev_extents(mapping: &ChunkMapping, chunk_tree_uuid: Uuid) -> impl Iterator<Item = (Key, DevExtent)> + use<'_> {
    let mut extent = DevExtent::zeroed();
    extent.chunk_tree = objectid::CHUNK_TREE.into();
    extent.chunk_objectid = objectid::FIRST_CHUNK_TREE.into();
    extent.chunk_offset = mapping.logical.0.into();
    extent.length = mapping.stripe_size().into();
    extent.chunk_tree_uuid = chunk_tree_uuid;
    let key = |devid, physical: Physical| Key::new(devid, KeyType::DEV_EXTENT, physical.0);
    mapping.stripes.iter().map(move |stripe| (key(stripe.devid, stripe.physical), extent))
}
