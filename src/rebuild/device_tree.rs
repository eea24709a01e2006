//! The device tree and the chunk tree.

use zerocopy::IntoBytes;

use crate::disk::volume::{DevExtent, DevItem, DevStatsItem};
use crate::disk::{Key, KeyType, objectid};
use crate::error::{DeviceProblem, Error, Result};
use crate::volume::ChunkMapping;
use crate::volume::chunk_items::{chunk_item, chunk_key};

/// Calls `emit` with all items of the device tree: the counted errors of devices, sorted by device id, and device extents,
/// sorted by their keys (see [`crate::volume::chunk_items::dev_extents`]).
///
/// # Errors
/// Device extents that overlap, and those of `emit`.
pub fn device_tree_items(
    stats: impl Iterator<Item = (u64, DevStatsItem)>,
    extents: impl Iterator<Item = (Key, DevExtent)>,
    mut emit: impl FnMut(Key, &[u8]) -> Result<()>,
) -> Result<()> {
    for (devid, stats) in stats {
        emit(Key::new(objectid::DEV_STATS, KeyType::PERSISTENT_ITEM, devid), stats.as_bytes())?;
    }
    let mut end = Key::MIN;
    for (key, extent) in extents {
        if key < end {
            return Err(Error::Device { devid: key.objectid, problem: DeviceProblem::Overlaps });
        }
        end = Key { offset: key.offset.saturating_add(extent.length.get()), ..key };
        emit(key, extent.as_bytes())?;
    }
    Ok(())
}

/// Calls `emit` with all items of the chunk tree. `devices` are sorted by id and `chunks` by address.
///
/// # Errors
/// Those of `emit`.
pub fn chunk_tree_items<'c>(
    devices: impl Iterator<Item = DevItem>,
    chunks: impl Iterator<Item = &'c ChunkMapping>,
    sectorsize: u32,
    mut emit: impl FnMut(Key, &[u8]) -> Result<()>,
) -> Result<()> {
    for item in devices {
        emit(Key::new(objectid::DEV_ITEMS, KeyType::DEV_ITEM, item.devid.get()), item.as_bytes())?;
    }
    for chunk in chunks {
        emit(chunk_key(chunk.logical), &chunk_item(chunk, sectorsize))?;
    }
    Ok(())
}
