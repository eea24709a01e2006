//! Where a new filesystem has its chunks, and what of them is in use.

mod cut;
mod expected;
mod sizes;

use std::iter;

use crate::chunk::placement::{Placement, place_on};
use crate::disk::fields::Uuid;
use crate::disk::flags::block_group;
use crate::disk::{BlockGroupFlags, Logical, Physical, Profile};
use crate::error::{Error, Result};
use crate::space::{FreeExtents, Holes, without_excluded};
use crate::volume::chunk_items::new_chunk;
use crate::volume::{ChunkMapping, MkfsWriter};

use super::estimate::Estimate;
use super::options::Options;
use expected::{Expected, MIB};

/// Where the first chunk begins.
const FIRST_LOGICAL: Logical = Logical(MIB);
/// What a device that grows may grow to.
const UNBOUNDED: u64 = 1 << 60;

/// What chunks are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChunkKind {
    System,
    Metadata,
    Data,
}

/// A device and what chunks have of it.
#[derive(Clone, Debug)]
pub struct Device {
    /// Number of the device.
    pub devid: u64,
    /// Uuid of the device.
    pub uuid: Uuid,
    /// Bytes of the filesystem on it.
    pub size: u64,
    /// Whether it becomes larger where its chunks need that.
    pub grows: bool,
    /// Bytes that chunks have.
    pub used: u64,
    holes: Holes,
    /// Where chunks end at the latest.
    limit: u64,
}

impl Device {
    fn new(devid: u64, uuid: Uuid, size: u64, grows: bool) -> Self {
        Self { devid, uuid, size, grows, used: 0, holes: Holes::of_device(size), limit: size }
    }

    fn take(&mut self, start: Physical, length: u64) {
        self.holes.take(start, length);
        self.used += length;
        self.size = self.size.max(start.0.saturating_add(length));
    }

    /// Whether chunks may have more than the device has, from now on.
    fn grow(&mut self) -> bool {
        let can_grow = self.grows && self.limit < UNBOUNDED;
        if can_grow {
            self.holes.resize(self.limit, UNBOUNDED);
            self.limit = UNBOUNDED;
        }
        can_grow
    }
}

/// A chunk and its block group.
#[derive(Clone, Debug)]
pub struct Group {
    pub chunk: ChunkMapping,
    /// Neither in use nor over a superblock.
    pub free: FreeExtents,
    pub used: u64,
}

/// The devices of a new filesystem and its block groups.
#[derive(Clone, Debug)]
pub struct Layout {
    /// The devices, in the order of their numbers.
    pub devices: Vec<Device>,
    /// By address.
    pub groups: Vec<Group>,
    data: Profile,
    metadata: Profile,
    mixed: bool,
    nodesize: u32,
    sectorsize: u32,
    /// Data is given addresses from here on, so that they ascend.
    next_data: Logical,
    expected: Expected,
}

impl Layout {
    /// The chunks that every filesystem has, on devices of so many bytes, each with whether it grows. Metadata stands
    /// before data, so that a device can be cut behind the data.
    pub fn begin(options: &Options, devices: impl Iterator<Item = (u64, bool)>, estimate: &Estimate) -> Result<Self> {
        let sizes: Vec<(u64, bool)> = devices.collect();
        if sizes.iter().try_fold(0_u64, |sum, (size, _)| sum.checked_add(*size)).is_none() {
            return Err(Error::TooMuch);
        }
        let devices = (1..).zip(sizes);
        let device = |(devid, (size, grows))| Device::new(devid, options.identity.device(devid), size, grows);
        let mut layout = Self {
            devices: devices.map(device).collect(),
            groups: Vec::new(),
            data: options.data,
            metadata: options.metadata,
            mixed: options.mixed,
            nodesize: options.nodesize,
            sectorsize: options.sectorsize,
            next_data: FIRST_LOGICAL,
            expected: Expected::new(options, estimate),
        };
        let begun = layout.clone().with_first_chunks();
        let is_settled = layout.mixed || layout.grows() || !layout.expected.is_known;
        if is_settled || begun.as_ref().is_ok_and(Self::has_room) {
            return begun;
        }
        // More metadata is expected than there is room for beside the data: it has what the data leaves, as it comes.
        layout.expected.metadata = layout.writable_metadata();
        layout.with_first_chunks()
    }

    fn with_first_chunks(mut self) -> Result<Self> {
        self.add_chunk(ChunkKind::System)?;
        let (mut left, wanted) =
            (0, if self.expected.is_known { self.writable_metadata() } else { self.least_metadata() });
        while left == 0 || self.expected.metadata > 0 {
            match self.add_chunk(ChunkKind::Metadata) {
                // What is expected may be more than what comes.
                Err(_) if left > 0 => break,
                added => added?,
            }
            left += self.groups.last().map_or(0, |group| group.chunk.length);
        }
        // Mixed groups have the rest of the devices, too.
        left += if self.mixed { self.rest(self.metadata) } else { 0 };
        if left < wanted {
            return Err(Error::NoSpace { what: "metadata", wanted, left });
        }
        if !self.grows() {
            if !self.mixed {
                self.add_chunk(ChunkKind::Data)?;
            }
            while self.expected.data > 0 && self.add_chunk(ChunkKind::Data).is_ok() {}
            self.check_writable()?;
        }
        Ok(self)
    }

    /// Fails where the kernel could write next to nothing to a filesystem without content.
    fn check_writable(&self) -> Result<()> {
        let (wanted, left) = (self.writable_data(), self.free_of(ChunkKind::Data) + self.rest(self.data));
        match self.expected.is_known || left >= wanted {
            true => Ok(()),
            false => Err(Error::NoSpace { what: "data", wanted, left }),
        }
    }

    /// Bytes that chunks of a profile may still have.
    fn rest(&self, profile: Profile) -> u64 {
        let rest = self.devices.iter().map(|device| device.size.saturating_sub(device.used).saturating_sub(MIB));
        rest.sum::<u64>() / u64::from(profile.geometry().ncopies)
    }

    /// Bytes that each of so many devices must have for a filesystem without content.
    pub fn least_size(options: &Options, devices: usize) -> u64 {
        let fits =
            |size: u64| Self::begin(options, iter::repeat_n((size, false), devices), &Estimate::default()).is_ok();
        let sector = u64::from(options.sectorsize);
        let (mut least, mut step) = (MIB, MIB);
        while !fits(least) && least < UNBOUNDED {
            least *= 2;
            step = least / 4;
        }
        while step >= sector {
            if fits(least - step) {
                least -= step;
            }
            step /= 2;
        }
        least
    }

    /// Whether devices that do not grow have room for all that is expected.
    pub fn has_room(&self) -> bool {
        self.expected.is_met() && self.try_least().is_ok()
    }

    /// Whether such devices have room for what is sure to come.
    pub fn try_least(&self) -> Result<()> {
        let Expected { least_data, least_metadata, .. } = self.expected;
        let mut layout = self.clone();
        layout.try_free("data", ChunkKind::Data, least_data)?;
        if self.mixed { Ok(()) } else { layout.try_free("metadata", ChunkKind::Metadata, least_metadata) }
    }

    /// Has so many bytes free for a kind.
    fn try_free(&mut self, what: &'static str, kind: ChunkKind, wanted: u64) -> Result<()> {
        while self.free_of(kind) < wanted && self.add_chunk(kind).is_ok() {}
        let left = self.free_of(kind);
        if left < wanted { Err(Error::NoSpace { what, wanted, left }) } else { Ok(()) }
    }

    fn flags(&self, kind: ChunkKind) -> BlockGroupFlags {
        let (bits, profile) = match kind {
            ChunkKind::System => (block_group::SYSTEM, self.metadata),
            _ if self.mixed => (block_group::DATA | block_group::METADATA, self.metadata),
            ChunkKind::Metadata => (block_group::METADATA, self.metadata),
            ChunkKind::Data => (block_group::DATA, self.data),
        };
        BlockGroupFlags(bits | profile.geometry().bit)
    }

    /// Sum of the sizes of all devices.
    pub fn total_bytes(&self) -> u64 {
        self.devices.iter().fold(0, |sum, device| sum.saturating_add(device.size))
    }

    /// Whether a device becomes larger where that is needed.
    pub fn grows(&self) -> bool {
        self.devices.iter().any(|device| device.grows)
    }

    /// Bytes of all chunks of a kind.
    fn length_of(&self, kind: ChunkKind) -> u64 {
        let flags = self.flags(kind);
        self.groups.iter().filter(|group| group.chunk.flags == flags).map(|group| group.chunk.length).sum()
    }

    /// Bytes that are free for a kind.
    fn free_of(&self, kind: ChunkKind) -> u64 {
        let flags = self.flags(kind);
        self.groups.iter().filter(|group| group.chunk.flags == flags).map(|group| group.free.bytes()).sum()
    }

    /// Finds the place of a chunk. Devices grow rather than have data in crumbs or metadata in two chunks.
    fn place(&mut self, kind: ChunkKind) -> Result<Placement> {
        let (flags, limits) = (self.flags(kind), self.limits(kind));
        let profile = flags.profile().unwrap_or(Profile::Single);
        let much = if kind == ChunkKind::Data || self.mixed { MIB } else { limits.chunk_size.unwrap_or(MIB) };
        loop {
            let devices = self.devices.iter();
            let devices = devices.map(|device| (device.devid, device.limit.saturating_sub(device.used), &device.holes));
            let placed = place_on(flags, profile, &limits, devices);
            let is_much = placed.as_ref().is_ok_and(|placement| placement.length >= much);
            if is_much || self.devices.iter_mut().map(Device::grow).filter(|grown| *grown).count() == 0 {
                return placed;
            }
        }
    }

    fn add_chunk(&mut self, kind: ChunkKind) -> Result<()> {
        let placement = self.place(kind)?;
        let flags = self.flags(kind);
        let profile = flags.profile().unwrap_or(Profile::Single);
        let logical = self.groups.last().map_or(FIRST_LOGICAL, |group| group.chunk.end());
        let uuid_of = |devid: u64| {
            let device = self.devices.iter().find(|device| device.devid == devid);
            device.map(|device| device.uuid).unwrap_or_default()
        };
        let chunk = new_chunk(logical, placement.length, &placement.stripes, flags, profile, self.sectorsize, uuid_of)?;
        for (devid, physical) in &placement.stripes {
            if let Some(device) = self.devices.iter_mut().find(|device| device.devid == *devid) {
                device.take(*physical, placement.stripe_size);
            }
        }
        let free = without_excluded(&chunk);
        if kind != ChunkKind::System {
            self.expected.subtract(kind == ChunkKind::Metadata && !self.mixed, chunk.length);
        }
        self.groups.push(Group { chunk, free, used: 0 });
        Ok(())
    }

    /// Takes the space of a tree block.
    pub fn take_block(&mut self, kind: ChunkKind) -> Result<Logical> {
        loop {
            let (flags, nodesize) = (self.flags(kind), self.nodesize);
            let groups = self.groups.iter_mut().filter(|group| group.chunk.flags == flags);
            for group in groups {
                if let Some(logical) = group.free.take_block(nodesize) {
                    group.used += u64::from(nodesize);
                    return Ok(logical);
                }
            }
            self.add_chunk(kind)?;
        }
    }

    /// Takes at least `least` and at most `most` bytes for data, in one piece behind all data before. Both are multiples
    /// of the sector size.
    pub fn take_data(&mut self, least: u64, most: u64) -> Result<(Logical, u64)> {
        loop {
            let (flags, next) = (self.flags(ChunkKind::Data), self.next_data);
            let groups = self.groups.iter_mut().filter(|group| group.chunk.flags == flags && group.chunk.end() > next);
            for group in groups {
                let from = |(start, length): (Logical, u64)| {
                    let skipped = next.0.saturating_sub(start.0);
                    (Logical(start.0 + skipped), length.saturating_sub(skipped))
                };
                let found = group.free.iter().map(from).find(|(_, length)| *length >= least && *length > 0);
                if let Some((start, length)) = found {
                    let length = length.min(most);
                    group.free.remove(start, length);
                    group.used += length;
                    self.next_data = Logical(start.0 + length);
                    return Ok((start, length));
                }
            }
            self.add_chunk(ChunkKind::Data)?;
        }
    }

    /// Gives back the space of a block that was not written.
    pub fn give_back_block(&mut self, logical: Logical) {
        let nodesize = self.nodesize.into();
        if let Some(group) = self.groups.iter_mut().rfind(|group| group.chunk.logical <= logical) {
            group.free.add(logical, nodesize);
            group.used -= nodesize;
        }
    }

    /// Makes files as short as their devices.
    pub fn cut_images(&self, writer: &MkfsWriter) -> Result<()> {
        self.devices.iter().try_for_each(|device| {
            let image = writer.image(device.devid).filter(|image| !image.is_device());
            image.map_or(Ok(()), |image| image.set_size(device.size))
        })
    }

    /// Makes images that grow as large as their devices.
    pub fn fit_images(&self, writer: &MkfsWriter) -> Result<()> {
        self.devices.iter().filter(|device| device.grows).try_for_each(|device| {
            let image = writer.image(device.devid).filter(|image| image.size() < device.size);
            image.map_or(Ok(()), |image| image.set_size(device.size))
        })
    }

    /// The chunk that holds an address.
    pub fn chunk_at(&self, logical: Logical) -> Result<&ChunkMapping> {
        let index = self.groups.partition_point(|group| group.chunk.end() <= logical);
        let group = self.groups.get(index).filter(|group| group.chunk.logical <= logical);
        group.map(|group| &group.chunk).ok_or(Error::NoChunk { logical })
    }

    /// Bytes in use, once however many copies there are.
    pub fn used(&self) -> u64 {
        self.groups.iter().map(|group| group.used).sum()
    }
}
