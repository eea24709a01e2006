//! One device: an image and the superblock that was found on it.

use crate::disk::fields::Uuid;
use crate::disk::superblock::SUPER_OFFSETS;
use crate::disk::volume::DevItem;
use crate::disk::{Physical, Superblock};
use crate::error::{Error, Result};
use crate::image::Image;

use super::superblock::{SuperblockCopy, read_copies};
use super::{foreign, superblock};

/// An image and its superblock.
#[derive(Debug)]
pub struct Device {
    image: Image,
    superblock: Box<Superblock>,
    superblock_offset: Physical,
    /// As the device item of the chunk tree says, once that was read.
    total_bytes: Option<u64>,
}

impl Device {
    /// The device with its primary superblock, or if that is damaged with the newest intact mirror. A copy that was
    /// chosen, by its index in `SUPER_OFFSETS`, must be intact.
    pub fn open(image: Image, chosen: Option<usize>) -> Result<Self> {
        let mut copies = read_copies(&image)?;
        if let Some(offset) = chosen.and_then(|index| SUPER_OFFSETS.get(index)) {
            copies.retain(|copy| copy.offset == *offset);
            if copies.is_empty() {
                let problem = "there is none".to_owned();
                return Err(Error::Superblock { path: image.path().to_owned(), offset: *offset, problem });
            }
        }
        let primary = copies.iter().find(|copy| copy.offset == SUPER_OFFSETS[0] && copy.superblock.is_intact());
        let newest_mirror = || {
            let intact = || copies.iter().filter(|copy| copy.superblock.is_intact());
            // Behind the end of the device there may be some of a former filesystem.
            let uuid = |copy: &SuperblockCopy| copy.superblock.dev_item.uuid;
            let own = uuid(intact().next()?);
            intact().filter(|copy| uuid(copy) == own).max_by_key(|copy| copy.superblock.generation())
        };
        match primary.or_else(newest_mirror) {
            Some(copy) => {
                let (superblock, superblock_offset) = (copy.superblock.clone(), copy.offset);
                Ok(Self { image, superblock, superblock_offset, total_bytes: None })
            }
            None => Err(no_superblock(&image, &copies)),
        }
    }

    /// A device that the next commit makes one of the filesystem of `superblock`. Until then all of the image counts: a
    /// former filesystem may have left superblocks wherever it has room for them.
    pub(super) fn new(image: Image, superblock: &Superblock, item: &DevItem) -> Self {
        let mut superblock = Box::new(*superblock);
        superblock.dev_item = *item;
        superblock.dev_item.total_bytes = image.size().into();
        Self { image, superblock, superblock_offset: SUPER_OFFSETS[0], total_bytes: None }
    }

    /// Takes the primary superblock that was just written.
    pub(super) fn set_superblock(&mut self, superblock: Box<Superblock>) {
        (self.superblock, self.superblock_offset, self.total_bytes) = (superblock, SUPER_OFFSETS[0], None);
    }

    /// Takes the size that the chunk tree says, which counts (`fill_device_from_item`); the superblock's may be older.
    pub(super) fn set_total_bytes(&mut self, total_bytes: u64) {
        self.total_bytes = Some(total_bytes);
    }

    /// The image.
    pub fn image(&self) -> &Image {
        &self.image
    }

    /// The superblock of this device; that of the filesystem may come from another one.
    pub fn superblock(&self) -> &Superblock {
        &self.superblock
    }

    pub(super) fn superblock_mut(&mut self) -> &mut Superblock {
        &mut self.superblock
    }

    /// Where the superblock stood that was read.
    pub fn superblock_offset(&self) -> Physical {
        self.superblock_offset
    }

    /// Uuid of the filesystem in the superblock: a seed has its own.
    pub fn fsid(&self) -> Uuid {
        self.superblock.fsid
    }

    /// Number of the device.
    pub fn devid(&self) -> u64 {
        self.superblock.dev_item.devid.get()
    }

    /// Uuid of the device.
    pub fn uuid(&self) -> Uuid {
        self.superblock.dev_item.uuid
    }

    /// Size of the device as the chunk tree says, or as its superblock says where the tree has no item of it.
    pub fn total_bytes(&self) -> u64 {
        self.total_bytes.unwrap_or(self.superblock.dev_item.total_bytes.get())
    }

    /// Whether the image is shorter than the device.
    pub fn is_truncated(&self) -> bool {
        self.image.size() < self.total_bytes()
    }
}

/// Why no superblock could be used: the most telling reason of several.
fn no_superblock(image: &Image, copies: &[superblock::SuperblockCopy]) -> Error {
    let path = image.path().to_owned();
    match copies.iter().find(|copy| copy.has_magic()) {
        Some(copy) => {
            let problem = match copy.superblock.csum_type() {
                Some(_) => "checksum mismatch".to_owned(),
                None => format!("unknown checksum type {}", copy.superblock.csum_type.get()),
            };
            Error::Superblock { path, offset: copy.offset, problem }
        }
        None if copies.is_empty() => {
            let found = if image.size() == 0 { "empty" } else { "too short for a superblock" };
            Error::NotBtrfs { path, found }
        }
        // That a place cannot be read does not matter here: it would only give the error a better name.
        None => match foreign::identify(image).ok().flatten() {
            Some(foreign::BTRFS) => {
                let problem = "bad magic, another copy of the superblock is there".to_owned();
                Error::Superblock { path, offset: copies[0].offset, problem }
            }
            found => Error::NotBtrfs { path, found: found.unwrap_or("no superblock found") },
        },
    }
}
