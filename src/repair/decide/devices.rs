//! Device items: what they count is counted anew, and what they say of the device is what the device says.

use std::collections::BTreeSet;

use zerocopy::IntoBytes;

use crate::disk::volume::DevItem;
use crate::disk::{Key, KeyType, objectid};
use crate::tree::TreeRoot;
use crate::volume::{ChunkMapping, Device};

use super::super::fix::Fix;
use super::super::plan::Plan;
use super::superblock;

/// Devices that were dealt with.
#[derive(Default)]
pub struct DeviceDecider {
    done: BTreeSet<u64>,
}

impl DeviceDecider {
    /// Makes the item of a device right, or makes one where there is none.
    pub fn mend(&mut self, plan: &mut Plan<'_>, devid: u64) {
        if !self.done.insert(devid) {
            return;
        }
        let root = TreeRoot::chunk_tree(plan.volume);
        let key = Key::new(objectid::DEV_ITEMS, KeyType::DEV_ITEM, devid);
        let old = plan.edits.get(plan.volume, &root, key);
        let item = old.as_deref().and_then(DevItem::read_prefix).map(|(item, _)| *item);
        let by_uuid = |item: &DevItem| plan.volume.devices().iter().find(|device| device.uuid() == item.uuid);
        let by_id = || plan.volume.devices().iter().find(|device| device.devid() == devid);
        let device = item.as_ref().and_then(by_uuid).or_else(by_id);
        let Some(mut item) = item.or_else(|| Some(device?.superblock().dev_item)) else { return };
        fill(plan, &mut item, devid, device);
        let data = item.as_bytes().to_vec();
        if old.as_ref() != Some(&data) && plan.edits.set(plan.volume, &root, key, Some(data)) {
            plan.fix(Fix::Item {
                tree: objectid::CHUNK_TREE,
                key,
                what: "the device item is that of the device and its chunks",
            });
        }
    }
}

/// Has the superblock of a device say the number that its item has. The uuid leads to the item, and so do all stripes; that a device
/// with the other number is missing could mean that it is this one, whose uuid is wrong.
pub fn renumber(plan: &mut Plan<'_>, devid: u64) {
    let root = TreeRoot::chunk_tree(plan.volume);
    let Ok(items) = root.dev_items(plan.volume) else { return };
    let of_devid = |devid: u64| items.iter().find(|item| item.devid.get() == devid);
    let Some(uuid) = of_devid(devid).map(|item| item.uuid) else { return };
    let devices = || plan.volume.devices().iter();
    let Some(device) = devices().find(|device| device.uuid() == uuid) else { return };
    let have = device.devid();
    let is_alone = items.iter().filter(|item| item.uuid == uuid).count() == 1
        && devices().all(|other| other.uuid() == uuid || other.devid() != devid);
    let is_there = |item: &DevItem| devices().any(|device| device.uuid() == item.uuid);
    let is_current = device.fsid() == plan.superblock.fsid
        && !device.is_seed()
        && device.superblock().generation() == plan.volume.stored_superblock().generation();
    let mut stripes = plan.volume.chunks().iter().flat_map(|chunk| &chunk.stripes);
    let are_its_own = stripes.all(|stripe| (stripe.dev_uuid == uuid) == (stripe.devid == devid));
    if is_alone && is_current && are_its_own && of_devid(have).is_none_or(is_there) {
        plan.devids.push((uuid, devid));
        plan.fix(Fix::DeviceNumber { devid, have });
        superblock::write(plan);
    }
}

/// Has the item of a seed have the generation of the seed, which is not newer than what was read of it. An item that is older than its
/// seed may be right: the seed was written to then.
pub fn mend_seed_generation(plan: &mut Plan<'_>, devid: u64) {
    let root = TreeRoot::chunk_tree(plan.volume);
    let key = Key::new(objectid::DEV_ITEMS, KeyType::DEV_ITEM, devid);
    let old = plan.edits.get(plan.volume, &root, key);
    let Some(mut item) = old.as_deref().and_then(DevItem::read_prefix).map(|(item, _)| *item) else { return };
    let Some(seed) = plan.volume.devices().iter().find(|device| device.uuid() == item.uuid) else { return };
    let generation = seed.superblock().generation();
    let is_on_seed = |chunk: &&ChunkMapping| chunk.stripes.iter().any(|stripe| stripe.dev_uuid == item.uuid);
    let nodesize = plan.volume.format().nodesize;
    let is_not_newer = plan.volume.chunks().iter().filter(is_on_seed).all(|chunk| {
        let used = plan.survey.used_over(chunk.logical, chunk.end(), nodesize);
        used.iter().all(|extent| extent.generation.is_none_or(|of_block| of_block <= generation))
    });
    let is_read = plan.survey.blocks.unread.is_empty() && plan.survey.blocks.bad.is_empty();
    if generation.0 < item.generation.get() && is_not_newer && is_read {
        item.generation = generation.0.into();
        let what = "the generation of the seed is that of its superblock";
        if plan.edits.set(plan.volume, &root, key, Some(item.as_bytes().to_vec())) {
            plan.fix(Fix::Item { tree: objectid::CHUNK_TREE, key, what });
        }
    }
}

fn fill(plan: &Plan<'_>, item: &mut DevItem, devid: u64, device: Option<&Device>) {
    let sectorsize = u64::from(plan.volume.format().sectorsize);
    let chunks = plan.volume.chunks().iter();
    let stripes = chunks.flat_map(|chunk| chunk.stripes.iter().map(move |stripe| (stripe, chunk.stripe_size())));
    let (mut used, mut reach) = (0_u64, 0);
    for (stripe, size) in stripes.filter(|(stripe, _)| stripe.devid == devid) {
        used = used.saturating_add(size);
        reach = reach.max(stripe.physical.0.saturating_add(size));
    }
    item.devid = devid.into();
    item.bytes_used = used.into();
    (item.io_align, item.io_width) = ((sectorsize as u32).into(), (sectorsize as u32).into());
    item.sector_size = (sectorsize as u32).into();
    item.r#type = 0.into();
    item.fsid = plan.volume.superblock().metadata_fsid();
    let Some(device) = device else { return };
    item.uuid = device.uuid();
    let size = device.image().size() / sectorsize * sectorsize;
    let total = item.total_bytes.get();
    let fits = |total: u64| total.is_multiple_of(sectorsize) && (reach..=size).contains(&total);
    if !fits(total) {
        let of_superblock = device.superblock().dev_item.total_bytes.get();
        let rounded = total / sectorsize * sectorsize;
        let choices = [of_superblock, rounded, size];
        if let Some(choice) = choices.into_iter().find(|total| fits(*total)) {
            item.total_bytes = choice.into();
        }
    }
}
