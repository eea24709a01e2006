//! Publishing a commit. Its order is what a crash at any moment relies on: no superblock is written before all that it
//! points to is on the disk, and no device loses its last good superblock.

use zerocopy::IntoBytes;

use crate::block::verify::Expected;
use crate::disk::superblock::{RootBackup, SUPER_INFO_SIZE, SUPER_OFFSETS};
use crate::disk::volume::{DEVICE_RANGE_RESERVED, DevItem};
use crate::disk::{Physical, Superblock, flags};
use crate::error::{AddressProblem, Addressed, Error, Failure, PartlyPublished, Result};
use crate::image::Image;

use super::chunk_map::ChunkMap;
use super::device::Device;
use super::validate::validate;
use super::writable::{WritableVolume, run_on_each};
use super::write::Staged;

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

/// How far a new state came. Where there is an error in its place, the filesystem is in the old state.
#[must_use]
#[derive(Debug)]
pub enum Published {
    /// All superblocks of it are on their disks.
    Wholly,
    /// Something failed after the first superblock was on its way.
    InPart(Box<PartlyPublished>),
}

impl Published {
    /// An error unless all of the new state was published.
    ///
    /// # Errors
    /// [`Error::PartlyPublished`]
    pub fn wholly(self) -> Result<()> {
        match self {
            Self::Wholly => Ok(()),
            Self::InPart(partly) => Err(Error::PartlyPublished(partly)),
        }
    }
}

/// The new superblocks of one device, the primary first, and how far they came.
struct NewCopies<'d> {
    device: &'d Device,
    copies: Vec<(Physical, Box<Superblock>)>,
    is_joining: bool,
    /// Whether the primary superblock is on the disk for sure.
    is_reached: bool,
    failures: Vec<Failure>,
}

impl WritableVolume {
    /// Writes all that is staged, waits until it is on the disks, writes the primary superblock of each device, waits
    /// again, and writes the other superblocks. Before all that, copies of the superblock that are of other states are
    /// brought into line.
    ///
    /// The filesystem is found in the state of the newest primary superblock, of a device without an intact one in that of
    /// its newest mirror. So the old state stands until the first primary superblock is on its way, and an error until
    /// then ends the work. From there on the new state may be found: a write that fails may have been done, and of what was
    /// written before a barrier that fails any part may be on the disk. What fails is noted then, and the work goes on with
    /// the other devices and copies. Where no primary superblock is on its disk for sure, the mirrors are left as they are:
    /// they are the only superblocks that are known to be good. Without any failure the new state is the one that is read
    /// from here on; otherwise nothing more can be published.
    ///
    /// A device that joins has its superblock before any other: no state needs a device that cannot be recognized. If that
    /// fails, what stood in its place is put back, and nothing has changed. The superblocks of a device
    /// that leaves, and what else stood on one that joins, are wiped once the new state is sure.
    ///
    /// # Errors
    /// The filesystem is in the old state.
    pub fn publish(&mut self, commit: &Commit<'_>) -> Result<Published> {
        if self.is_outdated {
            return Err(Error::Poisoned);
        }
        // All of them are made and validated before anything is written.
        let staying = self.written_devices().filter(|device| !self.leaving.contains(&device.uuid()));
        let new_copies = |device| {
            let copies = self.superblocks(device, commit)?;
            let is_joining = self.joining.contains(&device.uuid());
            Ok(NewCopies { device, copies, is_joining, is_reached: false, failures: Vec::new() })
        };
        let mut all = staying.map(new_copies).collect::<Result<Vec<_>>>()?;
        self.verify_roots(commit)?;
        self.line_up()?;
        if !commit.mended.is_empty() {
            self.write_columns(commit.chunks, commit.mended)?;
            self.barrier()?;
        }
        self.write(commit.chunks, commit.staged)?;
        self.barrier()?;

        let mut failures = introduce(&mut all)?;
        if failures.is_empty() {
            write_primaries(&mut all);
            if all.iter().any(|new| new.is_reached) {
                all.iter_mut().for_each(NewCopies::write_mirrors);
                failures = self.wipe_leaving();
                all.iter_mut().for_each(NewCopies::wipe_former);
                sync_each(all.iter_mut(), "mirrors of the superblock");
            }
        }
        let reached = all.iter().filter(|new| new.is_reached).map(|new| new.device.image().path().to_owned()).collect();
        let devices = all.len();
        failures.splice(0..0, all.iter_mut().flat_map(|new| new.failures.drain(..)));
        let primaries: Vec<_> = all.into_iter().filter_map(|new| new.copies.into_iter().next()).collect();
        if !failures.is_empty() {
            self.is_outdated = true;
            return Ok(Published::InPart(Box::new(PartlyPublished { reached, devices, failures })));
        }
        self.joining.clear();
        self.replaced.clear();
        let primaries = primaries.into_iter().map(|(_, primary)| primary);
        self.volume.advance(commit.chunks.clone(), &std::mem::take(&mut self.leaving), primaries);
        Ok(Published::Wholly)
    }

    /// Takes the superblocks of devices that leave away, and returns what of that failed.
    fn wipe_leaving(&self) -> Vec<Failure> {
        let leaving = self.written_devices().filter(|device| self.leaving.contains(&device.uuid()));
        let leaving = leaving.chain(&self.replaced);
        let wipe = |device| wipe_superblocks(device, |_| true).and_then(|()| device.image().sync());
        let failure = |error| Failure { what: "superblocks of a device that leaves", error };
        leaving.filter_map(|device| wipe(device).err()).map(failure).collect()
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
            (Addressed::TreeRoot, superblock.root(), superblock.root_level, superblock.generation),
            (
                Addressed::ChunkRoot,
                superblock.chunk_root(),
                superblock.chunk_root_level,
                superblock.chunk_root_generation,
            ),
        ];
        for (what, logical, level, generation) in roots {
            let expected =
                Expected { level: Some(level), generation: Some(generation.into()), ..Expected::at(logical) };
            let verified = match commit.staged.binary_search_by_key(&logical, |staged| staged.logical) {
                Ok(index) => {
                    let verified = self.volume.format().verify(commit.staged[index].bytes, &expected);
                    verified.map(drop).map_err(AddressProblem::from)
                }
                Err(_) => self.volume.read_block(&expected, &mut Vec::new()).map(drop).map_err(AddressProblem::from),
            };
            verified.map_err(|problem| Error::Block { what, logical, problem })?;
        }
        Ok(())
    }
}

impl NewCopies<'_> {
    fn write_primary(&self) -> Result<()> {
        self.copies.first().map_or(Ok(()), |(offset, primary)| self.device.image().write(*offset, primary.as_bytes()))
    }

    /// Writes all copies but the primary. Where that is not sure to be on the disk, they are written one after the other.
    fn write_mirrors(&mut self) {
        for (offset, superblock) in self.copies.iter().skip(1) {
            let image = self.device.image();
            let written = image.write(*offset, superblock.as_bytes());
            let written = if self.is_reached { written } else { written.and_then(|()| image.sync()) };
            self.failures.extend(written.err().map(|error| Failure { what: "mirror of the superblock", error }));
        }
    }

    /// Takes away what else stood on a device that joins, and superblocks behind the end of one that became smaller.
    fn wipe_former(&mut self) {
        let is_gone = |offset| self.copies.iter().all(|(kept, _)| *kept != offset);
        let beginning = if self.is_joining { wipe_beginning(self.device.image()) } else { Ok(()) };
        let failed = [beginning, wipe_superblocks(self.device, is_gone)].into_iter().filter_map(Result::err);
        let failed: Vec<_> = failed.map(|error| Failure { what: "former superblocks", error }).collect();
        self.failures.extend(failed);
    }
}

/// Writes the primary superblocks of devices that join, and waits until they are on the disks. After an error what stood in
/// their place is put back. Returns what failed if that fails, too: of the devices that join some may have the new state
/// then.
fn introduce(all: &mut [NewCopies<'_>]) -> Result<Vec<Failure>> {
    let mut former = Vec::new();
    let mut introduced = Ok(());
    for new in all.iter().filter(|new| new.is_joining) {
        let mut bytes = [0; SUPER_INFO_SIZE];
        introduced = new.device.image().read(SUPER_OFFSETS[0], &mut bytes);
        if introduced.is_err() {
            break;
        }
        former.push((new.device.image(), bytes));
        introduced = new.write_primary();
        if introduced.is_err() {
            break;
        }
    }
    if introduced.is_ok() {
        introduced = run_on_each(former.iter(), |(image, _)| image.sync());
    }
    let Err(error) = introduced else {
        all.iter_mut().filter(|new| new.is_joining).for_each(|new| new.is_reached = true);
        return Ok(Vec::new());
    };
    let put_back = |(image, bytes): &(&Image, [u8; SUPER_INFO_SIZE])| {
        image.write(SUPER_OFFSETS[0], bytes).and_then(|()| image.sync())
    };
    match run_on_each(former.iter(), put_back) {
        Ok(()) => Err(error),
        Err(other) => Ok(vec![
            Failure { what: "superblock of a device that joins", error },
            Failure { what: "what stood in its place", error: other },
        ]),
    }
}

/// Writes the primary superblocks of all devices that do not join, and waits until they are on the disks.
fn write_primaries(all: &mut [NewCopies<'_>]) {
    const WHAT: &str = "primary superblock";
    for new in all.iter_mut().filter(|new| !new.is_joining) {
        new.failures.extend(new.write_primary().err().map(|error| Failure { what: WHAT, error }));
    }
    // After a write that failed, too: it may have been done in part.
    sync_each(all.iter_mut().filter(|new| !new.is_joining), WHAT);
    all.iter_mut().for_each(|new| new.is_reached |= new.failures.is_empty());
}

/// Waits until what was written is on the disks, and notes on which it may not be.
fn sync_each<'n, 'd: 'n>(devices: impl Iterator<Item = &'n mut NewCopies<'d>>, what: &'static str) {
    let sync = |new: &mut NewCopies<'_>| {
        new.failures.extend(new.device.image().sync().err().map(|error| Failure { what, error }));
        Ok(())
    };
    // Each error was noted with its device.
    let _ = run_on_each(devices, sync);
}

/// Whether the device has room for this copy.
pub(super) fn has_superblock(device: &Device, dev_item: &DevItem, offset: Physical) -> bool {
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

/// Takes away what stands on an image: superblocks wherever it has room for them, and what other filesystems are known by. It is
/// on the disk then.
///
/// # Errors
/// The image cannot be written.
pub fn wipe(image: &Image) -> Result<()> {
    let is_there = |offset: &Physical| offset.0 + SUPER_INFO_SIZE as u64 <= image.size();
    for offset in SUPER_OFFSETS.into_iter().filter(is_there) {
        image.write(offset, &[0; SUPER_INFO_SIZE])?;
    }
    wipe_beginning(image)?;
    image.sync()
}

/// Zeroes what chunks leave to boot loaders, but for the superblock: there others look for what they know.
fn wipe_beginning(image: &Image) -> Result<()> {
    let superblock = SUPER_OFFSETS[0].0;
    for (start, end) in [(0, superblock), (superblock + SUPER_INFO_SIZE as u64, DEVICE_RANGE_RESERVED)] {
        image.write(Physical(start), &vec![0; (end - start) as usize])?;
    }
    Ok(())
}
