//! Publishing a commit. Its order is what a crash at any moment relies on: no superblock is written before all that it
//! points to is on the disk, and no device loses its last good superblock.

use zerocopy::IntoBytes;

use crate::block::verify::Expected;
use crate::disk::superblock::{RootBackup, SUPER_INFO_SIZE, SUPER_OFFSETS};
use crate::disk::volume::{DEVICE_RANGE_RESERVED, DevItem};
use crate::disk::{Physical, Superblock, flags};
use crate::error::{Error, Result};

use super::validate::validate;
use super::{ChunkMap, Device, Staged, WritableVolume};

/// The next state of a filesystem.
#[derive(Clone, Copy, Debug)]
pub struct Commit<'a> {
    /// New blocks and data, sorted by address, none of them where the present state has something.
    pub staged: &'a [Staged<'a>],
    /// Ranges of the present state that are bad on their device and good from parity, and share a row with something
    /// new: they are on the disk before the parity changes that they were rebuilt from.
    pub mended: &'a [Staged<'a>],
    /// All chunks as the new chunk tree has them.
    pub chunks: &'a ChunkMap,
    /// The new superblock, with the backup roots as they were. What differs from device to device and from copy to copy
    /// is filled in: checksum, place, device item.
    pub superblock: &'a Superblock,
    /// The roots of the new state for the next slot of the backup roots; what the superblock says too, the tree root,
    /// the chunk root and the totals, is filled in.
    pub backup: &'a RootBackup,
    /// The new items of the devices that are there, in any order; those of others are passed by.
    pub dev_items: &'a [DevItem],
}

impl WritableVolume {
    /// Writes all that is staged, waits until it is on the disks, writes the primary superblock of each device, waits
    /// again, and writes the other superblocks. The first error ends this. As long as no primary superblock was written
    /// the old state stands; after that the filesystem is found in the new state. Without an error it is the one that is
    /// read from here on.
    ///
    /// A device that joins has its superblock before any other: no state needs a device that cannot be recognized. What
    /// may lead somebody astray, the superblocks of a device that leaves and what else stood on one that joins, goes when
    /// the new state is sure.
    pub fn publish(&mut self, commit: &Commit<'_>) -> Result<()> {
        // All of them are made and validated before anything is written.
        let staying = || self.written_devices().filter(|device| !self.leaving.contains(&device.uuid()));
        let superblocks = staying().map(|device| self.superblocks(device, commit));
        let superblocks = superblocks.collect::<Result<Vec<_>>>()?;
        self.verify_roots(commit)?;
        if !commit.mended.is_empty() {
            self.write_columns(commit.chunks, commit.mended)?;
            self.barrier()?;
        }
        self.write(commit.chunks, commit.staged)?;
        self.barrier()?;
        let write = |is_due: &dyn Fn(&Device, Physical) -> bool| -> Result<()> {
            for (device, superblocks) in staying().zip(&superblocks) {
                for (offset, superblock) in superblocks.iter().filter(|(offset, _)| is_due(device, *offset)) {
                    device.image().write(*offset, superblock.as_bytes())?;
                }
            }
            Ok(())
        };
        let is_primary = |offset: Physical| offset == SUPER_OFFSETS[0];
        let is_joining = |device: &Device| self.joining.contains(&device.uuid());
        if !self.joining.is_empty() {
            write(&|device, offset| is_primary(offset) && is_joining(device))?;
            self.barrier()?;
        }
        write(&|device, offset| is_primary(offset) && !is_joining(device))?;
        self.barrier()?;
        write(&|_, offset| !is_primary(offset))?;
        for (device, superblocks) in staying().zip(&superblocks) {
            if is_joining(device) {
                wipe_beginning(device)?;
            }
            wipe_superblocks(device, |offset| superblocks.iter().all(|(kept, _)| *kept != offset))?;
        }
        for device in self.written_devices().filter(|device| self.leaving.contains(&device.uuid())) {
            wipe_superblocks(device, |_| true)?;
        }
        self.barrier()?;
        let primaries =
            superblocks.into_iter().filter_map(|copies| copies.into_iter().next()).map(|(_, primary)| primary);
        self.joining.clear();
        self.volume.advance(commit.chunks.clone(), &std::mem::take(&mut self.leaving), primaries);
        Ok(())
    }

    /// All copies of the superblock for one device, ready to be written.
    fn superblocks(&self, device: &Device, commit: &Commit<'_>) -> Result<Vec<(Physical, Box<Superblock>)>> {
        let error = |problem: &str| device.superblock_error_at(SUPER_OFFSETS[0], problem.to_owned());
        if commit.superblock.fsid != device.fsid() {
            return Err(error("the new one is of another filesystem"));
        }
        if commit.superblock.generation() < self.volume.stored_superblock().generation() {
            return Err(error("the new one is older than the present one"));
        }
        let is_own = |item: &&DevItem| (item.devid.get(), item.uuid) == (device.devid(), device.uuid());
        let dev_item = commit.dev_items.iter().find(is_own).ok_or_else(|| error("the new one has no device item"))?;
        let mut superblock = Box::new(*commit.superblock);
        superblock.add_backup(commit.backup);
        superblock.dev_item = *dev_item;
        superblock.flags |= flags::superblock::WRITTEN;
        let copies = SUPER_OFFSETS.into_iter().filter(|offset| has_superblock(device, dev_item, *offset));
        let copies = copies.map(|offset| {
            let mut copy = superblock.clone();
            copy.bytenr = offset.0.into();
            let format = validate(&copy, offset, commit.chunks);
            let format = format.map_err(|problem| device.superblock_error_at(offset, problem))?;
            format.csum_type.stamp(copy.as_mut_bytes());
            Ok((offset, copy))
        });
        copies.collect()
    }

    /// A superblock whose roots are not what it says makes a filesystem that cannot be mounted.
    fn verify_roots(&self, commit: &Commit<'_>) -> Result<()> {
        let superblock = commit.superblock;
        let roots = [
            ("tree root", superblock.root(), superblock.root_level, superblock.generation),
            ("chunk root", superblock.chunk_root(), superblock.chunk_root_level, superblock.chunk_root_generation),
        ];
        for (what, logical, level, generation) in roots {
            let expected =
                Expected { level: Some(level), generation: Some(generation.into()), ..Expected::at(logical) };
            let verified = match commit.staged.binary_search_by_key(&logical, |staged| staged.logical) {
                Ok(index) => {
                    let verified = self.volume.format().verify(commit.staged[index].bytes, &expected);
                    verified.map(drop).map_err(|bad| bad.to_string())
                }
                Err(_) => self.volume.read_block(&expected, &mut Vec::new()).map(drop).map_err(|bad| bad.to_string()),
            };
            verified.map_err(|problem| Error::Block { what, logical, problem })?;
        }
        Ok(())
    }
}

/// Whether the device has room for this copy.
fn has_superblock(device: &Device, dev_item: &DevItem, offset: Physical) -> bool {
    let end = offset.0 + SUPER_INFO_SIZE as u64;
    offset == SUPER_OFFSETS[0] || end <= dev_item.total_bytes.get().min(device.image().size())
}

/// Makes copies of the superblock be none, of those for which the device had room before the commit. What lies behind its
/// end is not its own.
fn wipe_superblocks(device: &Device, is_gone: impl Fn(Physical) -> bool) -> Result<()> {
    let magic = Physical(std::mem::offset_of!(Superblock, magic) as u64);
    let had = |offset: &Physical| has_superblock(device, &device.superblock().dev_item, *offset);
    for offset in SUPER_OFFSETS.into_iter().filter(had).filter(|offset| is_gone(*offset)) {
        device.image().write(Physical(offset.0 + magic.0), &[0; size_of::<u64>()])?;
    }
    Ok(())
}

/// Zeroes what chunks leave to boot loaders, but for the superblock: there others look for what they know.
fn wipe_beginning(device: &Device) -> Result<()> {
    let superblock = SUPER_OFFSETS[0].0;
    for (start, end) in [(0, superblock), (superblock + SUPER_INFO_SIZE as u64, DEVICE_RANGE_RESERVED)] {
        device.image().write(Physical(start), &vec![0; (end - start) as usize])?;
    }
    Ok(())
}
