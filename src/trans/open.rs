//! Opening a filesystem for a transaction.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::block::Block;
use crate::disk::fields::Uuid;
use crate::disk::flags::{balance_args, block_group, compat_ro, incompat};
use crate::disk::volume::{BalanceItem, BlockGroupItem, DevExtent, DevItem, DevReplaceItem};
use crate::disk::{BlockGroupFlags, Key, KeyType, Logical, Physical, Profile, Superblock, Transid, objectid};
use crate::error::{Error, Result};
use crate::space::{BlockGroup, Holes, Space};
use crate::sync::{AtomicBool, Condvar, Mutex};
use crate::tree::{TreeRoot, stale_devices};
use crate::volume::{ChunkMapping, Device, MissingDevices, NoGoodCopy, Notice, Volume, WritableVolume};

use super::chunks::{Chunks, DeviceState};
use super::staged::StagedTree;
use super::{Filesystem, quotas};

impl Filesystem {
    /// Opens the filesystem that the images at `paths` are the devices of, in any order. See [`WritableVolume::open`] for
    /// what is refused; refused are a log that the change would strand and a replacement of a device that is under way,
    /// too. Chunks, block groups and device extents that do not fit together are an error.
    pub fn open(paths: &[impl AsRef<Path>], missing: MissingDevices) -> Result<Self> {
        Self::of(WritableVolume::open_judged(paths, missing, stale_devices)?)
    }

    /// Opens seeds as the filesystem with this fsid that is to grow from them: see [`WritableVolume::open_seeds`]. What is
    /// refused of others is refused here too.
    pub fn open_seeds(paths: &[impl AsRef<Path>], fsid: Uuid) -> Result<Self> {
        Self::of(WritableVolume::open_seeds(paths, fsid)?)
    }

    fn of(writable: WritableVolume) -> Result<Self> {
        let volume = writable.volume();
        let superblock = volume.superblock();
        let is_harmless = |notice: &&Notice| {
            matches!(
                notice,
                Notice::MissingDevice { .. } | Notice::StaleDevice { .. } | Notice::MirrorSuperblock { .. }
            )
        };
        if let Some(notice) = volume.notices().iter().find(|notice| !is_harmless(notice)) {
            return Err(Error::Damaged { problem: notice.to_string() });
        }
        if has_log(volume) {
            return Err(Error::PendingLog);
        }
        let generation = superblock.generation().0.checked_add(1);
        let generation = Transid(generation.ok_or_else(|| damaged("generation", Logical(0), "is the last possible"))?);
        let root_tree = TreeRoot::root_tree(volume);
        let tree = |id| find_root(volume, &root_tree, id);
        let optional = |feature, id| match superblock.has_compat_ro(feature) {
            true => tree(id).map(Some),
            false => Ok(None),
        };
        let (extent_root, device_root) = (tree(objectid::EXTENT_TREE)?, tree(objectid::DEV_TREE)?);
        let block_group_root = optional(compat_ro::BLOCK_GROUP_TREE, objectid::BLOCK_GROUP_TREE)?;
        let free_space_root = optional(compat_ro::FREE_SPACE_TREE_VALID, objectid::FREE_SPACE_TREE)?;
        let quota_status = match tree(objectid::QUOTA_TREE) {
            Ok(root) => quotas::status(volume, &root)?,
            Err(Error::NoTree { .. }) => 0,
            Err(error) => return Err(error),
        };
        refuse_replacement(volume, &device_root)?;

        let mut devices = read_devices(volume, &writable)?;
        take_device_extents(volume, &device_root, &mut devices)?;
        let is_writable = |chunk: &ChunkMapping| {
            chunk.stripes.iter().all(|stripe| {
                let own = |device: &DeviceState| device.is_writable && device.item.devid.get() == stripe.devid;
                devices.iter().any(own)
            })
        };
        let mut space = read_block_groups(volume, block_group_root.as_ref(), &extent_root, is_writable)?;
        read_convert_targets(volume, &root_tree, &mut space)?;
        let chunks = Chunks {
            tree: StagedTree::new(TreeRoot::chunk_tree(volume)),
            superblock: Box::new(*superblock),
            map: volume.chunks().clone(),
            devices,
            removed: BTreeSet::new(),
            removed_devices: Vec::new(),
        };
        let chunk_tree_uuid = chunk_tree_uuid(volume, &root_tree)?;
        let staged = |root| Mutex::new(StagedTree::new(root));
        let fs = Self {
            generation,
            chunk_tree_uuid,
            extent_root,
            extent_tree: staged(extent_root),
            block_group_tree: block_group_root.map(staged),
            device_tree: staged(device_root),
            free_space_tree: free_space_root.map(staged),
            root_tree: staged(root_tree),
            opened_trees: Mutex::default(),
            chunks: Mutex::new(chunks),
            space: Mutex::new(space),
            chunk_alloc_ended: Condvar::new(),
            references: Mutex::default(),
            mended: Vec::new(),
            quota_status,
            is_recount_due: AtomicBool::new(false),
            is_poisoned: AtomicBool::new(false),
            volume: writable,
        };
        for flags in [block_group::METADATA, block_group::SYSTEM] {
            fs.space().load_rows(BlockGroupFlags(flags), |group| fs.committed_free(group))?;
        }
        let kept = fs.size_of_reserve()?;
        fs.space().keep(kept);
        Ok(fs)
    }
}

fn damaged(what: &'static str, logical: Logical, problem: &str) -> Error {
    Error::Block { what, logical, problem: problem.to_owned() }
}

/// Whether a superblock of the present state points to a log. A crash between two superblock writes leaves one that not all
/// devices know of.
fn has_log(volume: &Volume) -> bool {
    let present = volume.superblock();
    let of_devices = volume.devices().iter().map(Device::superblock);
    let is_present = |superblock: &&Superblock| superblock.generation() == present.generation();
    of_devices.filter(is_present).chain([present]).any(|superblock| superblock.log_root.get() != 0)
}

pub(super) fn unreadable(bad: NoGoodCopy) -> Error {
    Error::Block { what: "tree block", logical: bad.logical, problem: bad.to_string() }
}

fn find_root(volume: &Volume, root_tree: &TreeRoot, tree: u64) -> Result<TreeRoot> {
    let name = objectid::name(tree).unwrap_or_default();
    root_tree.find_child(volume, tree).map_err(unreadable)?.ok_or(Error::NoTree { tree, name })
}

fn chunk_tree_uuid(volume: &Volume, root_tree: &TreeRoot) -> Result<Uuid> {
    let mut buffer = Vec::new();
    let read = volume.read_block(&root_tree.expected(), &mut buffer).map_err(unreadable)?;
    Ok(Block::header(&read.block).chunk_tree_uuid)
}

/// A replacement copies chunks that it expects to stay where they are.
fn refuse_replacement(volume: &Volume, device_root: &TreeRoot) -> Result<()> {
    const STARTED: u64 = 1;
    const SUSPENDED: u64 = 4;
    let data = device_root.find(volume, Key::new(0, KeyType::DEV_REPLACE, 0)).map_err(unreadable)?;
    let item = data.as_deref().and_then(DevReplaceItem::read_prefix);
    match item.map(|(item, _)| item.replace_state.get()) {
        Some(STARTED | SUSPENDED) => Err(Error::Replacing),
        _ => Ok(()),
    }
}

/// The profiles that a balance converts to which is interrupted or paused: it goes on with the next mount, and new chunks have
/// its targets until then (`get_restripe_target` in fs/btrfs/block-group.c, `btrfs_recover_balance` in fs/btrfs/volumes.c).
fn read_convert_targets(volume: &Volume, root_tree: &TreeRoot, space: &mut Space) -> Result<()> {
    let key = Key::new(objectid::BALANCE, KeyType::TEMPORARY_ITEM, 0);
    let Some(data) = root_tree.find(volume, key).map_err(unreadable)? else { return Ok(()) };
    let error = |problem| damaged("balance item in the root tree at", root_tree.logical, problem);
    let (balance, _) = BalanceItem::read_prefix(&data).ok_or_else(|| error("is too short"))?;
    // Of mixed groups the filters for data are used, which come last.
    for (type_bits, args) in [
        (block_group::SYSTEM, &balance.sys),
        (block_group::METADATA, &balance.meta),
        (block_group::DATA, &balance.data),
    ] {
        if args.flags.get() & balance_args::CONVERT != 0 {
            let profile = Profile::from_bits(args.target.get() & !BlockGroupFlags::AVAIL_SINGLE);
            let profile = profile.ok_or_else(|| error("converts to no profile that is known"))?;
            space.info_mut(BlockGroupFlags(type_bits)).convert_target = Some(profile);
        }
    }
    Ok(())
}

fn read_devices(volume: &Volume, writable: &WritableVolume) -> Result<Vec<DeviceState>> {
    let from = Key::new(objectid::DEV_ITEMS, KeyType::DEV_ITEM, 0);
    let to = Key::new(objectid::DEV_ITEMS, KeyType::DEV_ITEM, u64::MAX);
    let mut devices = Vec::new();
    let chunk_tree = TreeRoot::chunk_tree(volume);
    let found = chunk_tree.range(volume, from, to, |item| {
        let Some((device, _)) = DevItem::read_prefix(item.data) else { return };
        let is_writable = writable.is_written(device.devid.get(), device.uuid);
        let holes = Holes::of_device(device.total_bytes.get());
        devices.push(DeviceState { item: *device, holes, is_writable, image: None });
    });
    found.map_err(unreadable)?;
    Ok(devices)
}

/// Takes what device extents have out of the holes. They overlap nowhere, and there is one for each stripe of a chunk: or
/// bytes that one chunk gives up could be another's.
fn take_device_extents(volume: &Volume, device_root: &TreeRoot, devices: &mut [DeviceState]) -> Result<()> {
    let mut extents = BTreeMap::new();
    let found = device_root.range(volume, Key::MIN, Key::MAX, |item| {
        if item.key.key_type == KeyType::DEV_EXTENT
            && let Some((extent, _)) = DevExtent::read_prefix(item.data)
        {
            extents.insert((item.key.objectid, Physical(item.key.offset)), (extent.length.get(), extent.chunk()));
        }
    });
    found.map_err(unreadable)?;
    let mut previous = (0, Physical(0));
    for ((devid, start), (length, chunk)) in &extents {
        let end = start.checked_add(*length).ok_or_else(|| damaged("device extent of chunk", *chunk, "has no end"))?;
        if (*devid, *start) < previous {
            return Err(damaged("device extent of chunk", *chunk, "overlaps another"));
        }
        previous = (*devid, end);
        if let Some(device) = devices.iter_mut().find(|device| device.item.devid.get() == *devid) {
            device.holes.take(*start, *length);
        }
    }
    for chunk in volume.chunks().iter() {
        for stripe in &chunk.stripes {
            if extents.remove(&(stripe.devid, stripe.physical)) != Some((chunk.stripe_size(), chunk.logical)) {
                return Err(damaged("chunk", chunk.logical, "has a stripe without its device extent"));
            }
        }
    }
    match extents.first_key_value() {
        Some((_, (_, chunk))) => Err(damaged("device extent of chunk", *chunk, "has no stripe")),
        None => Ok(()),
    }
}

/// The block groups, one for each chunk.
fn read_block_groups(
    volume: &Volume,
    block_group_root: Option<&TreeRoot>,
    extent_root: &TreeRoot,
    is_writable: impl Fn(&ChunkMapping) -> bool,
) -> Result<Space> {
    let mut items = BTreeMap::new();
    if let Some(root) = block_group_root {
        let found = root.range(volume, Key::MIN, Key::MAX, |item| {
            if item.key.key_type == KeyType::BLOCK_GROUP_ITEM {
                items.insert(item.key, item.data.to_vec());
            }
        });
        found.map_err(unreadable)?;
    }
    let is_mixed = volume.superblock().has_incompat(incompat::MIXED_GROUPS);
    let mut space = Space::new(volume.format().nodesize, is_mixed);
    for chunk in volume.chunks().iter() {
        let key = Key::new(chunk.logical.0, KeyType::BLOCK_GROUP_ITEM, chunk.length);
        let data = match block_group_root {
            Some(_) => items.remove(&key),
            None => extent_root.find(volume, key).map_err(unreadable)?,
        };
        let item = data.as_deref().and_then(BlockGroupItem::read_prefix).map(|(item, _)| *item);
        let item = item.ok_or_else(|| damaged("chunk", chunk.logical, "has no block group item"))?;
        let (used, type_mask) = (item.used.get(), block_group::DATA | block_group::METADATA | block_group::SYSTEM);
        if (item.flags.get() ^ chunk.flags.0) & type_mask != 0 || used > chunk.length {
            return Err(damaged("block group", chunk.logical, "disagrees with its chunk"));
        }
        let group = BlockGroup::existing(chunk.logical, chunk.length, chunk.flags, used, is_writable(chunk));
        space.add(group.in_rows_of(chunk));
    }
    match items.keys().next() {
        Some(key) => Err(damaged("block group", Logical(key.objectid), "has no chunk")),
        None => Ok(space),
    }
}
