//! An opened filesystem: its devices, its chunks, and what is odd about it.

use std::cmp::Reverse;
use std::collections::HashSet;

use crate::block::verify::Format;
use crate::disk::Superblock;
use crate::disk::fields::Uuid;
use crate::disk::flags::superblock::{CHANGING_FSID, SEEDING};
use crate::disk::volume::DevItem;
use crate::error::{Error, Result};
use crate::image::Image;

use super::chunk_map::{ChunkMap, StripeMapping};
use super::device::Device;
use super::notice::Notice;
use super::root_choice::RootChoice;
use super::superblock;

/// A filesystem whose chunks are known.
#[derive(Debug)]
pub struct Volume {
    pub(super) superblock: Box<Superblock>,
    pub(super) stored_superblock: Box<Superblock>,
    pub(super) format: Format,
    pub(super) devices: Vec<Device>,
    pub(super) chunks: ChunkMap,
    pub(super) notices: Vec<Notice>,
}

impl Volume {
    /// Opens the filesystem that `images` are the devices of, in any order. Devices may be missing; what needs them
    /// cannot be read then.
    ///
    /// # Errors
    /// No image has an intact superblock, images are of different filesystems, or the root of the chunk tree cannot be
    /// read.
    pub fn open(images: Vec<Image>) -> Result<Self> {
        Self::open_at(images, &RootChoice::default())
    }

    /// As [`Volume::open`], from the superblock and the roots that were chosen.
    ///
    /// # Errors
    /// As those of [`Volume::open`]; the chosen superblock or root is damaged.
    pub fn open_at(images: Vec<Image>, choice: &RootChoice) -> Result<Self> {
        let mut volume = Self::of_superblocks(images, choice)?;
        loop {
            let faulted = volume.faulted_images();
            let loaded = volume.load(choice);
            if volume.faulted_images() == faulted {
                return loaded.map(|()| volume);
            }
        }
    }

    /// The devices and what their superblocks say, of a filesystem whose chunk tree cannot be read: of its chunks those in the
    /// system chunk array alone are known.
    ///
    /// # Errors
    ///
    /// As of [`Volume::open_at`], but for those of the chunk tree.
    pub fn open_without_chunk_tree(images: Vec<Image>, choice: &RootChoice) -> Result<Self> {
        let mut volume = Self::of_superblocks(images, choice)?;
        volume.load_array();
        volume.notice_devices(choice);
        Ok(volume)
    }

    /// The filesystem with chunks that something else than its chunk tree tells of.
    ///
    /// # Errors
    /// As of [`Volume::open_without_chunk_tree`].
    pub fn open_with_chunks(images: Vec<Image>, choice: &RootChoice, chunks: ChunkMap) -> Result<Self> {
        let mut volume = Self::of_superblocks(images, choice)?;
        volume.chunks = chunks;
        volume.notice_devices(choice);
        volume.notice_missing(&[]);
        Ok(volume)
    }

    /// The volume before its chunks are known.
    fn of_superblocks(images: Vec<Image>, choice: &RootChoice) -> Result<Self> {
        let open = |image| Device::open(image, choice.mirror);
        let mut devices = images.into_iter().map(open).collect::<Result<Vec<_>>>()?;
        let main = main_device(&devices)?;
        let superblock = Box::new(*devices[main].superblock());
        let mut fsids = vec![superblock.metadata_fsid()];
        let of_blocks = devices.iter().map(|device| device.superblock().metadata_fsid());
        // A change of the fsid that was cut has left the old one in blocks, and in the device items.
        let is_changing = superblock.has_flag(CHANGING_FSID);
        let of_items = devices.iter().map(|device| device.superblock().dev_item.fsid).filter(|_| is_changing);
        for fsid in of_blocks.chain(of_items) {
            if !fsids.contains(&fsid) {
                fsids.push(fsid);
            }
        }
        let format =
            superblock::format(&superblock, fsids).map_err(|problem| devices[main].superblock_error(problem))?;
        sort_devices(&mut devices, superblock.fsid);
        let (chunks, notices, stored_superblock) = (ChunkMap::default(), Vec::new(), superblock.clone());
        Ok(Self { superblock, stored_superblock, format, chunks, notices, devices })
    }

    /// Loads the chunks, and finds the roots.
    fn load(&mut self, choice: &RootChoice) -> Result<()> {
        self.superblock = self.stored_superblock.clone();
        (self.chunks, self.notices) = Default::default();
        let dev_items = self.load_chunks(choice).map_err(|error| self.truncation().unwrap_or(error))?;
        for device in &mut self.devices {
            if let Some(item) = dev_items.iter().find(|item| item.uuid == device.uuid()) {
                device.set_total_bytes(item.total_bytes.get());
            }
        }
        self.choose_tree_root(choice)?;
        self.notice_devices(choice);
        self.notice_missing(&dev_items);
        Ok(())
    }

    /// The superblock, with the roots that were chosen.
    pub fn superblock(&self) -> &Superblock {
        &self.superblock
    }

    /// The superblock as it is written on the first device.
    pub fn stored_superblock(&self) -> &Superblock {
        &self.stored_superblock
    }

    /// Sizes of blocks and type of checksums.
    pub fn format(&self) -> &Format {
        &self.format
    }

    /// The devices that were given, in the order of their numbers.
    pub fn devices(&self) -> &[Device] {
        &self.devices
    }

    /// The chunks.
    pub fn chunks(&self) -> &ChunkMap {
        &self.chunks
    }

    /// What is unusual about the filesystem.
    pub fn notices(&self) -> &[Notice] {
        &self.notices
    }

    /// Goes on to the state that was just written: its chunks, without the devices that left, and the primary superblock
    /// of each device but the seeds.
    pub(super) fn advance(
        &mut self,
        chunks: ChunkMap,
        left: &HashSet<Uuid>,
        superblocks: impl Iterator<Item = Box<Superblock>>,
    ) {
        self.chunks = chunks;
        self.devices.retain(|device| !left.contains(&device.uuid()));
        let is_there = |uuid| self.devices.iter().any(|device| device.uuid() == uuid);
        // All superblocks were written anew.
        let is_settled = |notice: &Notice| match notice {
            Notice::MissingDevice { uuid, .. } | Notice::StaleDevice { uuid, .. } => {
                left.contains(uuid) || is_there(*uuid)
            }
            Notice::MirrorSuperblock { .. } => true,
            _ => false,
        };
        self.notices.retain(|notice| !is_settled(notice));
        let written = self.devices.iter_mut().filter(|device| !device.is_seed());
        for (device, superblock) in written.zip(superblocks) {
            device.set_superblock(superblock);
        }
        // Devices of the filesystem itself come before its seeds.
        if let Some(device) = self.devices.first() {
            *self.superblock = *device.superblock();
            *self.stored_superblock = *device.superblock();
        }
    }

    /// Has the superblock say that the filesystem is a seed, or none. Its devices are to be written either way.
    pub(super) fn set_seeding(&mut self, is_seed: bool) {
        let fsid = self.stored_superblock.fsid;
        let own = self.devices.iter_mut().filter(|device| device.fsid() == fsid).map(Device::superblock_mut);
        own.for_each(|superblock| superblock.flags &= !SEEDING);
        for superblock in [&mut *self.superblock, &mut *self.stored_superblock] {
            let others = superblock.flags.get() & !SEEDING;
            superblock.flags = (others | if is_seed { SEEDING } else { 0 }).into();
        }
    }

    /// An image that is too short is the likeliest cause of whatever cannot be read.
    fn truncation(&self) -> Option<Error> {
        let device = self.devices.iter().find(|device| device.is_truncated())?;
        Some(Error::Truncated {
            path: device.image().path().to_owned(),
            size: device.image().size(),
            total_bytes: device.total_bytes(),
        })
    }

    fn notice_devices(&mut self, choice: &RootChoice) {
        let path = |device: &Device| device.image().path().display().to_string();
        let mut notices = Vec::new();
        for device in &self.devices {
            if choice.mirror.is_none() && device.superblock_offset() != crate::disk::superblock::SUPER_OFFSETS[0] {
                let offset = device.superblock_offset().0;
                notices.push(Notice::MirrorSuperblock { path: path(device), offset });
            }
            if device.is_truncated() {
                let (size, total_bytes) = (device.image().size(), device.total_bytes());
                notices.push(Notice::Truncated { path: path(device), size, total_bytes });
            }
        }
        self.notices.extend(notices);
    }

    /// A device is known by its item, and if the item is lost by its stripes.
    fn notice_missing(&mut self, dev_items: &[DevItem]) {
        let of_chunks = self.chunks.iter().flat_map(|chunk| &chunk.stripes);
        let of_items = dev_items.iter().map(|item| (item.devid.get(), item.uuid));
        let known = of_chunks.map(|stripe| (stripe.devid, stripe.dev_uuid)).chain(of_items);
        let mut seen = HashSet::new();
        let missing = known.filter(|(devid, uuid)| seen.insert((*devid, *uuid)) && self.find(*devid, *uuid).is_none());
        let missing: Vec<_> = missing.map(|(devid, uuid)| Notice::MissingDevice { devid, uuid }).collect();
        self.notices.extend(missing);
    }

    /// The error for work that a missing device is needed for.
    pub fn missing_error(&self, devid: u64, uuid: Uuid) -> Error {
        Error::MissingDevice { devid, uuid, devices: self.superblock.num_devices.get() }
    }

    /// The device that holds a stripe; nothing if it is missing.
    pub fn device(&self, stripe: &StripeMapping) -> Option<&Device> {
        self.find(stripe.devid, stripe.dev_uuid)
    }

    /// A wrong uuid is forgiven where the device id leaves no doubt.
    pub(super) fn find(&self, devid: u64, uuid: Uuid) -> Option<&Device> {
        let by_uuid = self.devices.iter().find(|device| device.uuid() == uuid);
        by_uuid.or_else(|| {
            let own = |device: &&Device| device.fsid() == self.superblock.fsid && device.devid() == devid;
            self.devices.iter().find(own)
        })
    }
}

/// Which of these images, the devices of one filesystem, are seeds, in their order.
///
/// # Errors
/// No intact superblock, images of different filesystems, or a device that is named twice.
pub fn seeds_among(images: Vec<Image>) -> Result<Vec<bool>> {
    let open = |image| Device::open(image, None);
    let devices = images.into_iter().map(open).collect::<Result<Vec<_>>>()?;
    main_device(&devices)?;
    Ok(devices.iter().map(Device::is_seed).collect())
}

/// Those of the filesystem itself before its seeds.
pub(super) fn sort_devices(devices: &mut [Device], fsid: Uuid) {
    devices.sort_by_key(|device| (device.fsid() != fsid, device.devid()));
}

/// The device whose superblock stands for the filesystem: of the sprout rather than of its seeds, the newest, and of
/// several the first by device id.
pub(super) fn main_device(devices: &[Device]) -> Result<usize> {
    let rank = |device: &Device| {
        let superblock = device.superblock();
        (superblock.flags.get() & SEEDING == 0, superblock.generation(), Reverse(device.devid()))
    };
    let main = (0..devices.len()).max_by_key(|index| rank(&devices[*index])).unwrap_or_default();
    for (index, device) in devices.iter().enumerate() {
        let unrelated =
            |problem, other: &Device| Error::Unrelated { first: path(other), second: path(device), problem };
        if device.fsid() != devices[main].fsid() && device.superblock().flags.get() & SEEDING == 0 {
            return Err(unrelated("devices of different filesystems", &devices[main]));
        }
        let same = |other: &&Device| other.uuid() == device.uuid();
        if let Some(twin) = devices[..index].iter().find(same) {
            return Err(unrelated("the same device twice", twin));
        }
    }
    Ok(main)
}

pub(super) fn path(device: &Device) -> std::path::PathBuf {
    device.image().path().to_owned()
}
