//! Reading superblocks, and what a filesystem must say of itself before anything else of it is read.

use crate::block::verify::Format;
use crate::disk::fields::Uuid;
use crate::disk::superblock::{MAGIC, SYSTEM_CHUNK_ARRAY_SIZE, super_offsets};
use crate::disk::{
    CsumType, MAX_LEVEL, MAX_NODESIZE, MAX_SECTORSIZE, MIN_NODESIZE, MIN_SECTORSIZE, Physical, Superblock,
};
use crate::error::Result;
use crate::image::Image;

/// A superblock as it stands at one of its places; nothing of it is verified.
#[derive(Clone, Debug)]
pub struct SuperblockCopy {
    /// Where it stands on the device.
    pub offset: Physical,
    /// Its fields.
    pub superblock: Box<Superblock>,
}

impl SuperblockCopy {
    /// Reads the superblock at `offset`. Nothing of it is verified.
    pub fn read(image: &Image, offset: Physical) -> Result<Self> {
        let mut superblock = Box::new(Superblock::zeroed());
        image.read(offset, zerocopy::IntoBytes::as_mut_bytes(&mut *superblock))?;
        Ok(Self { offset, superblock })
    }

    /// Whether it is a btrfs superblock at all.
    pub fn has_magic(&self) -> bool {
        self.superblock.magic.get() == MAGIC
    }
}

/// The copies that the image is long enough to hold, the primary first. One that cannot be read is left out, if another
/// one is intact.
pub fn read_copies(image: &Image) -> Result<Vec<SuperblockCopy>> {
    let mut copies: Vec<SuperblockCopy> = Vec::new();
    let mut unreadable = None;
    for offset in super_offsets(image.size()) {
        match SuperblockCopy::read(image, offset) {
            Ok(copy) => copies.push(copy),
            Err(error) => unreadable = unreadable.or(Some(error)),
        }
    }
    match unreadable {
        Some(error) if !copies.iter().any(|copy| copy.superblock.is_intact()) => Err(error),
        _ => Ok(copies),
    }
}

/// What reading blocks needs to know, or what of it is impossible.
pub fn format(superblock: &Superblock, fsids: Vec<Uuid>) -> Result<Format, String> {
    let csum_type = CsumType::from_raw(superblock.csum_type.get())
        .ok_or_else(|| format!("unknown checksum type {}", superblock.csum_type.get()))?;
    let size = |name: &str, value: u32, least: u32, most: u32| {
        if value.is_power_of_two() && (least..=most).contains(&value) {
            Ok(value)
        } else {
            Err(format!("invalid {name}, have {value} expect a power of two from {least} to {most}"))
        }
    };
    let sectorsize = size("sectorsize", superblock.sectorsize.get(), MIN_SECTORSIZE, MAX_SECTORSIZE)?;
    let nodesize = size("nodesize", superblock.nodesize.get(), MIN_NODESIZE.max(sectorsize), MAX_NODESIZE)?;
    for (name, level) in [("root_level", superblock.root_level), ("chunk_root_level", superblock.chunk_root_level)] {
        if usize::from(level) >= MAX_LEVEL {
            return Err(format!("invalid {name}, have {level} expect less than {MAX_LEVEL}"));
        }
    }
    let array_size = superblock.sys_chunk_array_size.get();
    if array_size as usize > SYSTEM_CHUNK_ARRAY_SIZE {
        let expect = format!("expect at most {SYSTEM_CHUNK_ARRAY_SIZE}");
        return Err(format!("invalid sys_chunk_array_size, have {array_size} {expect}"));
    }
    Ok(Format { csum_type, nodesize, sectorsize, fsids })
}
