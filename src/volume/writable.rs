//! A filesystem opened to be changed.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Mutex;

use crate::disk::fields::Uuid;
use crate::disk::flags::{compat_ro, incompat};
use crate::disk::volume::DevItem;
use crate::disk::{Physical, Superblock, flags};
use crate::error::{Error, Result};
use crate::image::Image;
use crate::parallel::{lock, on_threads};

use super::chunk_map::{ChunkMap, StripeMapping};
use super::device::Device;
use super::notice::{Notice, StaleDevice};
use super::opened::{Volume, main_device, sort_devices};
use super::root_choice::RootChoice;

/// What is to be done where not all devices are there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MissingDevices {
    /// Fail.
    Refuse,
    /// Leave them behind: what is written is on the devices that are there only.
    Skip,
}

/// A filesystem whose devices are held for writing: no other program writes them while this exists.
#[derive(Debug)]
pub struct WritableVolume {
    pub(super) volume: Volume,
    missing: MissingDevices,
    /// Whether all that is written is staged, only to see what would be.
    is_rehearsal: bool,
    /// Devices that are new with the next commit, and those that are gone with it.
    pub(super) joining: HashSet<Uuid>,
    pub(super) leaving: HashSet<Uuid>,
    /// Devices whose places others have taken that are new with the next commit.
    pub(super) replaced: Vec<Device>,
    /// Whether the disks have, or may have, another state than this.
    pub(super) is_outdated: bool,
}

/// Features that need more than is known here to be kept right while blocks are written: places of superblocks that
/// are no places, and addresses that chunks alone do not map.
const UNWRITABLE_INCOMPAT: u64 =
    incompat::ZONED | incompat::EXTENT_TREE_V2 | incompat::RAID_STRIPE_TREE | incompat::REMAP_TREE;
const WRITABLE_INCOMPAT: u64 = flags::all(incompat::NAMES) & !UNWRITABLE_INCOMPAT;
const WRITABLE_COMPAT_RO: u64 = flags::all(compat_ro::NAMES);

impl WritableVolume {
    /// Opens the filesystem that the images at `paths` are the devices of, in any order. Seeds are opened for reading
    /// only. What a person has to decide or to mend before anything is written is an error: images that are in use,
    /// features that are not known, and devices that are missing unless they are to be skipped. A device whose superblock
    /// is behind counts as missing.
    ///
    /// # Errors
    /// As those of [`Volume::open`]; images that are in use, missing or stale devices, and features that are not known.
    pub fn open(paths: &[impl AsRef<Path>], missing: MissingDevices) -> Result<Self> {
        Self::open_judged(paths, missing, Volume::unjudged_devices)
    }

    /// As [`WritableVolume::open`], but of the devices whose superblock is behind only those count as missing that `judge`
    /// names as stale. This is the one place where it is decided that a device is written: a stale one is closed here, and
    /// no commit can reach it. The others get the superblock of the next commit.
    ///
    /// # Errors
    /// As those of [`WritableVolume::open`].
    pub fn open_judged(
        paths: &[impl AsRef<Path>],
        missing: MissingDevices,
        judge: impl FnOnce(&Volume) -> Vec<StaleDevice>,
    ) -> Result<Self> {
        let images = Self::open_images(paths)?;
        Self::of_images(images, &RootChoice::default(), missing, judge)
    }

    /// As [`WritableVolume::open_judged`], to see what a change would come to: all that is written is staged, and dropped in
    /// the end.
    ///
    /// # Errors
    /// As those of [`WritableVolume::open`].
    pub fn open_rehearsal(
        paths: &[impl AsRef<Path>],
        missing: MissingDevices,
        judge: impl FnOnce(&Volume) -> Vec<StaleDevice>,
    ) -> Result<Self> {
        let images = Self::open_images(paths)?.into_iter().map(Image::staged).collect();
        let opened = Self::of_images(images, &RootChoice::default(), missing, judge)?;
        Ok(Self { is_rehearsal: true, ..opened })
    }

    /// Whether all that is written is staged, and dropped in the end.
    pub fn is_rehearsal(&self) -> bool {
        self.is_rehearsal
    }

    fn open_images(paths: &[impl AsRef<Path>]) -> Result<Vec<Image>> {
        let peek = |path: &_| Device::open(Image::open_unmapped(AsRef::as_ref(path))?, None);
        let devices = paths.iter().map(peek).collect::<Result<Vec<_>>>()?;
        // Before they are locked: a device that is named twice would be found in use by itself.
        main_device(&devices)?;
        let reopen = |device: &Device| {
            let path = device.image().path();
            if device.is_seed() { Image::open_unmapped(path) } else { Image::open_for_writing(path) }
        };
        // They are read anew: another program may have written before the devices were held.
        devices.iter().map(reopen).collect()
    }

    /// As [`WritableVolume::open_judged`], of images that are held for writing, or on which all that is written is staged, from
    /// the superblock and the roots that were chosen.
    ///
    /// # Errors
    /// As those of [`WritableVolume::open`].
    pub fn of_images(
        images: Vec<Image>,
        choice: &RootChoice,
        missing: MissingDevices,
        judge: impl FnOnce(&Volume) -> Vec<StaleDevice>,
    ) -> Result<Self> {
        Self::of(Volume::open_at(images, choice)?, missing, unwritable)?.without_stale(judge)
    }

    /// As [`WritableVolume::of_images`], with chunks that something else than the chunk tree tells of. No device is judged.
    ///
    /// # Errors
    /// As those of [`Volume::open_with_chunks`]; missing devices, and features that are not known.
    pub fn with_chunks(
        images: Vec<Image>,
        choice: &RootChoice,
        chunks: ChunkMap,
        missing: MissingDevices,
    ) -> Result<Self> {
        Self::of(Volume::open_with_chunks(images, choice, chunks)?, missing, unwritable)
    }

    /// Opens seeds as the filesystem with this fsid that is to grow from them. The seeds are not written: the
    /// filesystem has no device of its own before one joins.
    ///
    /// # Errors
    /// As those of [`WritableVolume::open`]; images that are no seeds.
    pub fn open_seeds(paths: &[impl AsRef<Path>], fsid: Uuid) -> Result<Self> {
        let images = paths.iter().map(|path| Image::open_unmapped(path.as_ref())).collect::<Result<_>>()?;
        let mut opened = Self::of(Volume::open(images)?, MissingDevices::Refuse, no_seed)?;
        let volume = &mut opened.volume;
        for superblock in [&mut volume.superblock, &mut volume.stored_superblock] {
            superblock.fsid = fsid;
            superblock.flags &= !flags::superblock::SEEDING;
        }
        volume.format.fsids.push(fsid);
        Ok(opened)
    }

    pub(super) fn of(
        volume: Volume,
        missing: MissingDevices,
        problem_of: fn(&Volume, &Device) -> Option<String>,
    ) -> Result<Self> {
        let missing_device = volume.notices().iter().find_map(|notice| match notice {
            Notice::MissingDevice { devid, uuid } => Some(volume.missing_error(*devid, *uuid)),
            _ => None,
        });
        match missing_device {
            Some(error) if missing == MissingDevices::Refuse => return Err(error),
            _ => {}
        }
        for device in volume.devices() {
            if let Some(problem) = problem_of(&volume, device) {
                return Err(device.superblock_error(problem));
            }
        }
        let (joining, leaving, replaced) = Default::default();
        Ok(Self { volume, missing, is_rehearsal: false, joining, leaving, replaced, is_outdated: false })
    }

    fn without_stale(mut self, judge: impl FnOnce(&Volume) -> Vec<StaleDevice>) -> Result<Self> {
        if self.volume.devices_behind().next().is_none() {
            return Ok(self);
        }
        let stale = judge(&self.volume);
        match stale.first().and_then(|stale| self.volume.stale_error(stale)) {
            Some(error) if self.missing == MissingDevices::Refuse => Err(error),
            _ => {
                self.volume.leave_out(&stale);
                Ok(self)
            }
        }
    }

    /// Makes an image, opened for writing, a device with this item: from the next commit on, which is the first to write its
    /// superblocks. It takes the place of a device with the same uuid, which holds what it held until then, and whose superblocks
    /// that commit wipes.
    pub fn join(&mut self, image: Image, item: &DevItem) {
        let volume = &mut self.volume;
        let device = Device::new(image, &volume.superblock, item);
        self.joining.insert(device.uuid());
        self.replaced.extend(volume.devices.extract_if(.., |other| other.uuid() == device.uuid()));
        volume.devices.push(device);
        sort_devices(&mut volume.devices, volume.superblock.fsid);
    }

    /// Has the device with this uuid have the number `devid` in its superblock from the next commit on.
    pub fn set_devid(&mut self, uuid: Uuid, devid: u64) {
        let volume = &mut self.volume;
        if let Some(device) = volume.devices.iter_mut().find(|device| device.uuid() == uuid) {
            device.superblock_mut().dev_item.devid = devid.into();
        }
        sort_devices(&mut volume.devices, volume.superblock.fsid);
    }

    /// The next commit is without this device, which may be missing. Its superblocks are wiped then, unless it is a seed.
    pub fn leave(&mut self, uuid: Uuid) {
        self.leaving.insert(uuid);
    }

    /// The filesystem, for reading.
    pub fn volume(&self) -> &Volume {
        &self.volume
    }

    /// Whether this device is there and no seed.
    pub fn is_written(&self, devid: u64, uuid: Uuid) -> bool {
        self.written_devices().any(|device| (device.devid(), device.uuid()) == (devid, uuid))
    }

    /// The devices that are written: all but the seeds.
    pub(super) fn written_devices(&self) -> impl Iterator<Item = &Device> {
        self.volume.devices().iter().filter(|device| !device.is_seed())
    }

    /// The index of the device that a stripe is written to; nothing if the device is missing and to be skipped.
    pub(super) fn target(&self, stripe: &StripeMapping) -> Result<Option<usize>> {
        let Some(device) = self.volume.device(stripe) else {
            return match self.missing {
                MissingDevices::Skip => Ok(None),
                MissingDevices::Refuse => Err(self.volume.missing_error(stripe.devid, stripe.dev_uuid)),
            };
        };
        if device.is_seed() {
            let reason = "it is a seed, which other filesystems grow from".to_owned();
            return Err(Error::ReadOnly { path: device.image().path().to_owned(), reason });
        }
        Ok(self.volume.devices().iter().position(|other| std::ptr::eq(other, device)))
    }

    /// Has the kernel begin to bring what was written to the devices, so that the next barrier finds less to do.
    pub fn begin_sync(&self) {
        self.written_devices().for_each(|device| device.image().begin_sync());
    }

    /// Returns when all that was written to any device is on it.
    pub(super) fn barrier(&self) -> Result<()> {
        run_on_each(self.written_devices(), |device| device.image().sync())
    }
}

/// Does the same to all devices at once, for each waits for its own disk. Each is waited for, also after an error.
pub(crate) fn run_on_each<D: Send>(
    devices: impl Iterator<Item = D>,
    work: impl Fn(D) -> Result<()> + Sync,
) -> Result<()> {
    let devices: Vec<D> = devices.collect();
    let count = devices.len();
    let devices = Mutex::new(devices.into_iter());
    let worker = || {
        let mut done = Ok(());
        loop {
            // Bound to a name so that the others may go on.
            let next = lock(&devices).next();
            let Some(device) = next else { return done };
            done = done.and(work(device));
        }
    };
    on_threads(count, worker).into_iter().fold(Ok(()), Result::and)
}

/// Why a device must not be written.
fn unwritable(volume: &Volume, device: &Device) -> Option<String> {
    if device.is_seed() {
        // The seeds of a sprout are left alone.
        let is_own = device.fsid() == volume.stored_superblock().fsid;
        return is_own.then(|| "the filesystem is a seed, which other filesystems grow from".to_owned());
    }
    if let Some(problem) = unwritable_features(device.superblock()) {
        return Some(problem);
    }
    if device.devid() == 0 {
        return Some("the device is the target of a replacement that is not finished".to_owned());
    }
    None
}

pub(super) fn unwritable_features(superblock: &Superblock) -> Option<String> {
    let (incompat, compat_ro) = (superblock.incompat_flags.get(), superblock.compat_ro_flags.get());
    let fields =
        [("incompat_flags", incompat & !WRITABLE_INCOMPAT), ("compat_ro_flags", compat_ro & !WRITABLE_COMPAT_RO)];
    let (field, bits) = fields.into_iter().find(|(_, bits)| *bits != 0)?;
    Some(format!("{field} has bits {bits:#x}, of features that cannot be written"))
}

/// Why nothing can grow from a device.
fn no_seed(_: &Volume, device: &Device) -> Option<String> {
    if !device.is_seed() {
        return Some("the filesystem is no seed".to_owned());
    }
    // Of a seed the kernel looks for the fsid, which the blocks do not have then (fs/btrfs/disk-io.c,
    // check_tree_block_fsid).
    if device.superblock().has_incompat(incompat::METADATA_UUID) {
        return Some("the fsid of the seed was changed, what grew from it could not be mounted".to_owned());
    }
    unwritable_features(device.superblock())
}

impl Device {
    /// Whether other filesystems grow from this device, which is never written then.
    pub fn is_seed(&self) -> bool {
        self.superblock().flags.get() & flags::superblock::SEEDING != 0
    }

    /// Something is wrong with the superblock that this device is known by.
    pub(super) fn superblock_error(&self, problem: String) -> Error {
        self.superblock_error_at(self.superblock_offset(), problem)
    }

    /// Something is wrong with the superblock at `offset`.
    pub(super) fn superblock_error_at(&self, offset: Physical, problem: String) -> Error {
        Error::Superblock { path: self.image().path().to_owned(), offset, problem }
    }
}
