//! What a transaction begins with: devices, device extents and block groups as the last commit has them.

use std::collections::BTreeMap;

use crate::disk::flags::{balance_args, block_group, incompat};
use crate::disk::volume::{BalanceItem, BlockGroupItem, DevExtent, DevItem};
use crate::disk::{BlockGroupFlags, Key, KeyType, Logical, Physical, Profile};
use crate::error::{AddressProblem, Addressed, Error, Result};
use crate::space::{BlockGroup, FreeExtents, Holes, Space};
use crate::tree::TreeRoot;
use crate::volume::{ChunkMapping, StripeMapping, Volume, WritableVolume};

use super::balance_item;
use super::chunks::DeviceState;
use super::trust::Trust;

fn damaged(what: Addressed, logical: Logical, problem: AddressProblem) -> Error {
    Error::Block { what, logical, problem }
}

/// The profiles that a balance converts to which is interrupted or paused: it goes on with the next mount, and new chunks have
/// its targets until then (`get_restripe_target` in fs/btrfs/block-group.c, `btrfs_recover_balance` in fs/btrfs/volumes.c).
pub fn read_convert_targets(volume: &Volume, root_tree: &TreeRoot, space: &mut Space) -> Result<()> {
    let Some(data) = root_tree.find(volume, balance_item::KEY)? else { return Ok(()) };
    let error = |problem| damaged(Addressed::BalanceItem, root_tree.logical, problem);
    let (balance, _) = BalanceItem::read_prefix(&data).ok_or_else(|| error(AddressProblem::TooShort))?;
    // Of mixed groups the filters for data are used, which come last.
    for (type_bits, args) in [
        (block_group::SYSTEM, &balance.sys),
        (block_group::METADATA, &balance.meta),
        (block_group::DATA, &balance.data),
    ] {
        if args.flags.get() & balance_args::CONVERT != 0 {
            let profile = Profile::from_bits(args.target.get() & !BlockGroupFlags::AVAIL_SINGLE);
            let profile = profile.ok_or_else(|| error(AddressProblem::UnknownProfile))?;
            space.info_mut(BlockGroupFlags(type_bits)).convert_target = Some(profile);
        }
    }
    Ok(())
}

pub fn read_devices(volume: &Volume, writable: &WritableVolume) -> Result<Vec<DeviceState>> {
    let state = |item: DevItem| {
        let is_writable = writable.is_written(item.devid.get(), item.uuid);
        DeviceState { item, holes: Holes::of_device(item.total_bytes.get()), is_writable, image: None }
    };
    Ok(TreeRoot::chunk_tree(volume).dev_items(volume)?.into_iter().map(state).collect())
}

/// Takes what device extents have out of the holes. They overlap nowhere, and there is one for each stripe of a chunk: or
/// bytes that one chunk gives up could be another's.
pub fn take_device_extents(volume: &Volume, device_root: &TreeRoot, devices: &mut [DeviceState]) -> Result<()> {
    let mut extents = BTreeMap::new();
    device_root.range(volume, Key::MIN, Key::MAX, |item| {
        if item.key.key_type == KeyType::DEV_EXTENT
            && let Some((extent, _)) = DevExtent::read_prefix(item.data)
        {
            extents.insert((item.key.objectid, Physical(item.key.offset)), (extent.length.get(), extent.chunk()));
        }
    })?;
    let mut previous = (0, Physical(0));
    for ((devid, start), (length, chunk)) in &extents {
        let end =
            start.checked_add(*length).ok_or_else(|| damaged(Addressed::DevExtent, *chunk, AddressProblem::NoEnd))?;
        if (*devid, *start) < previous {
            return Err(damaged(Addressed::DevExtent, *chunk, AddressProblem::Overlaps));
        }
        previous = (*devid, end);
        if let Some(device) = devices.iter_mut().find(|device| device.item.devid.get() == *devid) {
            device.holes.take(*start, *length);
        }
    }
    for chunk in volume.chunks().iter() {
        for stripe in &chunk.stripes {
            if extents.remove(&(stripe.devid, stripe.physical)) != Some((chunk.stripe_size(), chunk.logical)) {
                return Err(damaged(Addressed::Chunk, chunk.logical, AddressProblem::NoDevExtent));
            }
        }
    }
    match extents.first_key_value() {
        Some((_, (_, chunk))) => Err(damaged(Addressed::DevExtent, *chunk, AddressProblem::NoStripe)),
        None => Ok(()),
    }
}

/// The group of a chunk, with `used` bytes in use. A chunk of which no more devices are missing than the profile can do without is written,
/// as by the kernel (`btrfs_check_rw_degradable` in fs/btrfs/volumes.c), where the devices that are there cannot hold another chunk of
/// the profile.
fn group_of(volume: &Volume, devices: &[DeviceState], chunk: &ChunkMapping, used: u64) -> BlockGroup {
    let is_written = |stripe: &&StripeMapping| {
        let own = |device: &DeviceState| device.is_writable && device.item.devid.get() == stripe.devid;
        devices.iter().any(own)
    };
    let others: Vec<&StripeMapping> = chunk.stripes.iter().filter(|stripe| !is_written(stripe)).collect();
    let geometry = chunk.profile.geometry();
    let is_degraded = !others.is_empty()
        && others.len() <= usize::from(geometry.tolerated_failures)
        && others.iter().all(|stripe| volume.device(stripe).is_none());
    let rw_devices = devices.iter().filter(|device| device.is_writable).count();
    let is_writable = others.is_empty() || is_degraded && rw_devices < usize::from(geometry.devs_min);
    let group = BlockGroup::existing(chunk.logical, chunk.length, chunk.flags, used, is_writable);
    group.degraded(is_degraded).in_rows_of(chunk)
}

/// The block groups, one for each chunk.
pub fn read_block_groups(
    volume: &Volume,
    block_group_root: Option<&TreeRoot>,
    extent_root: &TreeRoot,
    devices: &[DeviceState],
) -> Result<Space> {
    let mut items = BTreeMap::new();
    if let Some(root) = block_group_root {
        root.range(volume, Key::MIN, Key::MAX, |item| {
            if item.key.key_type == KeyType::BLOCK_GROUP_ITEM {
                items.insert(item.key, item.data.to_vec());
            }
        })?;
    }
    let is_mixed = volume.superblock().has_incompat(incompat::MIXED_GROUPS);
    let mut space = Space::new(volume.format().nodesize, is_mixed);
    for chunk in volume.chunks().iter() {
        let key = Key::new(chunk.logical.0, KeyType::BLOCK_GROUP_ITEM, chunk.length);
        let data = match block_group_root {
            Some(_) => items.remove(&key),
            None => extent_root.find(volume, key)?,
        };
        let item = data.as_deref().and_then(BlockGroupItem::read_prefix).map(|(item, _)| *item);
        let item = item.ok_or_else(|| damaged(Addressed::BlockGroup, chunk.logical, AddressProblem::NoItem))?;
        let (used, type_mask) = (item.used.get(), block_group::DATA | block_group::METADATA | block_group::SYSTEM);
        if (item.flags.get() ^ chunk.flags.0) & type_mask != 0 || used > chunk.length {
            return Err(damaged(Addressed::BlockGroup, chunk.logical, AddressProblem::Disagrees));
        }
        space.add(group_of(volume, devices, chunk, used));
    }
    match items.keys().next() {
        Some(key) => Err(damaged(Addressed::BlockGroup, Logical(key.objectid), AddressProblem::NoChunk)),
        None => Ok(space),
    }
}

/// Takes the stripes of all chunks out of the holes: where device extents are not trusted.
pub fn take_stripes(volume: &Volume, devices: &mut [DeviceState]) {
    for chunk in volume.chunks().iter() {
        for stripe in &chunk.stripes {
            if let Some(device) = devices.iter_mut().find(|device| device.item.devid.get() == stripe.devid) {
                device.holes.take(stripe.physical, chunk.stripe_size());
            }
        }
    }
}

/// The block groups by what a survey has found in use, one for each chunk. Their items are yet to be written.
pub fn surveyed_block_groups(volume: &Volume, trust: &Trust, devices: &[DeviceState]) -> Result<Space> {
    let is_mixed = volume.superblock().has_incompat(incompat::MIXED_GROUPS);
    let mut space = Space::new(volume.format().nodesize, is_mixed);
    for chunk in volume.chunks().iter() {
        let (_, used) = trust.without_used(volume, chunk, FreeExtents::default())?;
        space.add(group_of(volume, devices, chunk, used).without_item());
    }
    Ok(space)
}
