//! Opening a filesystem for a transaction.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use crate::disk::fields::Uuid;
use crate::disk::flags::{block_group, compat_ro};
use crate::disk::volume::{DevReplaceItem, dev_replace_state};
use crate::disk::{BlockGroupFlags, Key, KeyType, Logical, Superblock, Transid, objectid};
use crate::error::{Error, Result};
use crate::survey::Survey;
use crate::sync::{AtomicBool, Condvar, Mutex};
use crate::tree::{TreeRoot, stale_devices};
use crate::volume::{Device, MissingDevices, Notice, Volume, WritableVolume};

use super::chunks::Chunks;
use super::committed::{
    read_block_groups, read_convert_targets, read_devices, surveyed_block_groups, take_device_extents, take_stripes,
};
use super::filesystem::Filesystem;
use super::quotas::Quotas;
use super::ranks;
use super::staged::StagedTree;
use super::trees::Trees;
use super::trust::Trust;

impl Filesystem {
    /// Opens the filesystem that the images at `paths` are the devices of, in any order. See [`WritableVolume::open`] for
    /// what is refused; refused are a log that the change would strand and a replacement of a device that is under way,
    /// too. Chunks, block groups and device extents that do not fit together are an error.
    ///
    /// # Errors
    /// As those of [`WritableVolume::open`]; a log, a replacement, simple quotas, and what of the trees of space
    /// contradicts itself.
    pub fn open(paths: &[impl AsRef<Path>], missing: MissingDevices) -> Result<Self> {
        Self::of(WritableVolume::open_judged(paths, missing, stale_devices)?, None)
    }

    /// As [`Filesystem::open`], to see what a change would come to: nothing of it reaches the images, and data that would move
    /// is not copied.
    ///
    /// # Errors
    /// As those of [`Filesystem::open`].
    pub fn rehearse(paths: &[impl AsRef<Path>], missing: MissingDevices) -> Result<Self> {
        Self::of(WritableVolume::open_rehearsal(paths, missing, stale_devices)?, None)
    }

    /// Opens a filesystem that `survey`, a survey of just this volume with `keep_blocks`, vouches for. Space is allocated where
    /// the survey reached nothing. The items of block groups, the free space tree and the holes of devices may be missing or
    /// wrong: the commit writes the former two as they should be. The chunk tree, the root tree, and the extent items of what the
    /// transaction changes have to be right. There is one commit: another one needs another survey.
    ///
    /// # Errors
    /// As [`Filesystem::open`], but for what of the above is wrong; a survey of another state; no space for the items that
    /// are written.
    pub fn open_surveyed(writable: WritableVolume, survey: Arc<Survey>) -> Result<Self> {
        let root = writable.volume().superblock().root();
        let nodesize = writable.volume().format().nodesize;
        let of_root = survey.used_over(root, Logical(root.0.saturating_add(1)), nodesize);
        let generation = writable.volume().superblock().generation();
        if !of_root.iter().any(|extent| (extent.logical, extent.generation) == (root, Some(generation))) {
            return Err(Error::Damaged { problem: "the survey did not reach the root tree as it is".to_owned() });
        }
        let fs = Self::of(writable, Some(survey))?;
        fs.mend_block_groups()?;
        Ok(fs)
    }

    /// Opens seeds as the filesystem with this fsid that is to grow from them: see [`WritableVolume::open_seeds`]. What is
    /// refused of others is refused here too.
    ///
    /// # Errors
    /// As those of [`WritableVolume::open_seeds`] and of [`Filesystem::open`].
    pub fn open_seeds(paths: &[impl AsRef<Path>], fsid: Uuid) -> Result<Self> {
        Self::of(WritableVolume::open_seeds(paths, fsid)?, None)
    }

    /// Gives up a replacement of a device by the kernel that is not finished, in a transaction of its own: the device that was
    /// to be replaced has all that it had. Returns its id; nothing if there is no such replacement.
    ///
    /// # Errors
    /// As those of [`Filesystem::open`].
    pub fn cancel_replacement(paths: &[impl AsRef<Path>], missing: MissingDevices) -> Result<Option<u64>> {
        let writable = WritableVolume::open_judged(paths, missing, stale_devices)?;
        let mut fs = Self::of_any(writable, None)?;
        let handle = fs.begin_to_free(1)?;
        let cancelled = fs.device_tree().edit(&fs, |editor| {
            let item = editor.data_mut(REPLACEMENT)?;
            let item = <DevReplaceItem as zerocopy::FromBytes>::mut_from_prefix(item).ok().map(|(item, _)| item);
            let item = item.filter(|item| is_under_way(item));
            Ok(item.map(|item| {
                item.replace_state = dev_replace_state::CANCELED.into();
                item.src_devid.get()
            }))
        });
        handle.end();
        match cancelled {
            Err(Error::Edit { .. }) | Ok(None) => Ok(None),
            cancelled => {
                let devid = cancelled?;
                fs.commit()?;
                Ok(devid)
            }
        }
    }

    pub(super) fn of(writable: WritableVolume, survey: Option<Arc<Survey>>) -> Result<Self> {
        let fs = Self::of_any(writable, survey)?;
        let item = fs.device_tree().find(&fs, REPLACEMENT)?;
        // It copies chunks that it expects to stay where they are.
        match item.as_deref().and_then(DevReplaceItem::read_prefix) {
            Some((item, _)) if is_under_way(item) => Err(Error::Replacing),
            _ => Ok(fs),
        }
    }

    fn of_any(writable: WritableVolume, survey: Option<Arc<Survey>>) -> Result<Self> {
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
        let is_last = || Error::Damaged { problem: "the generation is the last possible".to_owned() };
        let generation = Transid(generation.ok_or_else(is_last)?);
        let root_tree = TreeRoot::root_tree(volume);
        let tree = |id| find_root(volume, &root_tree, id);
        let optional = |feature, id| match superblock.has_compat_ro(feature) {
            true => tree(id).map(Some),
            false => Ok(None),
        };
        let (extent_root, device_root) = (tree(objectid::EXTENT_TREE)?, tree(objectid::DEV_TREE)?);
        let block_group_root = optional(compat_ro::BLOCK_GROUP_TREE, objectid::BLOCK_GROUP_TREE)?;
        let free_space_root = optional(compat_ro::FREE_SPACE_TREE_VALID, objectid::FREE_SPACE_TREE)?;
        let quotas = match tree(objectid::QUOTA_TREE) {
            Ok(root) => Quotas::read(volume, &root)?,
            Err(Error::NoTree { .. }) => Quotas::default(),
            Err(error) => return Err(error),
        };
        let mut devices = read_devices(volume, &writable)?;
        match &survey {
            Some(_) => take_stripes(volume, &mut devices),
            None => take_device_extents(volume, &device_root, &mut devices)?,
        }
        let trust = survey.map_or(Trust::ExtentTree(extent_root), Trust::Survey);
        let mut space = match &trust {
            Trust::ExtentTree(_) => read_block_groups(volume, block_group_root.as_ref(), &extent_root, &devices)?,
            Trust::Survey(_) => surveyed_block_groups(volume, &trust, &devices)?,
        };
        read_convert_targets(volume, &root_tree, &mut space)?;
        let chunks = Chunks {
            tree: StagedTree::new(TreeRoot::chunk_tree(volume)),
            superblock: Box::new(*superblock),
            map: volume.chunks().clone(),
            devices,
            removed: BTreeSet::new(),
            removed_devices: Vec::new(),
            vacated: Vec::new(),
        };
        let staged = |rank, root| Mutex::new(rank, StagedTree::new(root));
        let trees = Trees {
            extent: staged(ranks::EXTENT_TREE, extent_root),
            block_group: block_group_root.map(|root| staged(ranks::BLOCK_GROUP_TREE, root)),
            device: staged(ranks::DEVICE_TREE, device_root),
            free_space: free_space_root.map(|root| staged(ranks::FREE_SPACE_TREE, root)),
            root: staged(ranks::ROOT_TREE, root_tree),
            opened: Mutex::new(ranks::OPENED_TREES, Default::default()),
            chunk_tree_uuid: root_tree.chunk_tree_uuid(volume)?,
        };
        let fs = Self {
            volume: writable,
            generation,
            trust,
            trees,
            chunks: Mutex::new(ranks::CHUNKS, chunks),
            space: Mutex::new(ranks::SPACE, space),
            chunk_alloc_ended: Condvar::new(),
            delayed_refs: Mutex::new(ranks::DELAYED_REFS, Default::default()),
            quotas,
            mended: Vec::new(),
            is_poisoned: AtomicBool::new(false),
        };
        for flags in [block_group::METADATA, block_group::SYSTEM] {
            fs.space().load_rows(BlockGroupFlags(flags), |group| fs.committed_free(group))?;
        }
        let global_rsv = fs.global_rsv_size()?;
        fs.space().set_global_rsv(global_rsv);
        Ok(fs)
    }
}

/// Whether a superblock of the present state points to a log. A crash between two superblock writes leaves one that not all
/// devices know of.
fn has_log(volume: &Volume) -> bool {
    let present = volume.superblock();
    let of_devices = volume.devices().iter().map(Device::superblock);
    let is_present = |superblock: &&Superblock| superblock.generation() == present.generation();
    of_devices.filter(is_present).chain([present]).any(|superblock| superblock.log_root.get() != 0)
}

fn find_root(volume: &Volume, root_tree: &TreeRoot, tree: u64) -> Result<TreeRoot> {
    let name = objectid::name(tree).unwrap_or_default();
    root_tree.find_child(volume, tree)?.ok_or(Error::NoTree { tree, name })
}

/// The item of the last replacement of a device.
const REPLACEMENT: Key = Key::new(0, KeyType::DEV_REPLACE, 0);

fn is_under_way(item: &DevReplaceItem) -> bool {
    [dev_replace_state::STARTED, dev_replace_state::SUSPENDED].contains(&item.replace_state.get())
}
