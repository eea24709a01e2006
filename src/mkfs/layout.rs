//! Where a new filesystem has its chunks, and what of them is in use.

use crate::chunk::item;
use crate::chunk::placement::{Limits, MAX_STRIPE, STRIPE_ALIGNMENT, place_on};
use crate::disk::fields::Uuid;
use crate::disk::flags::block_group;
use crate::disk::{BlockGroupFlags, Logical, Physical, Profile, STRIPE_LEN};
use crate::error::{Error, Result};
use crate::space::{FreeExtents, Holes, without_superblocks};
use crate::volume::{ChunkMapping, FirstWriter};

use super::maker::Estimate;
use super::options::Options;

const MIB: u64 = 1 << 20;
/// Blocks without which the kernel lets nobody write, of which it wants to have enough for itself (its global reserve).
const METADATA_NODES: u64 = 640;
/// Bytes of data that stay free where a device is cut: the kernel wants a block for each file that is written, also for
/// one that will stand in a leaf.
const DATA_LEFT: u64 = MIB;
/// Where the first chunk begins.
const FIRST_LOGICAL: Logical = Logical(MIB);
/// What a device that grows may grow to.
const UNBOUNDED: u64 = 1 << 60;

/// What chunks are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    System,
    Metadata,
    Data,
}

/// A device and what chunks have of it.
#[derive(Clone, Debug)]
pub struct Device {
    pub devid: u64,
    pub uuid: Uuid,
    /// Bytes of the filesystem on it.
    pub size: u64,
    /// Whether it becomes as large as its chunks need.
    pub grows: bool,
    /// Bytes that chunks have.
    pub used: u64,
    holes: Holes,
}

impl Device {
    fn new(devid: u64, uuid: Uuid, size: u64, grows: bool) -> Self {
        let holes = Holes::of_device(if grows { UNBOUNDED } else { size });
        Self { devid, uuid, size, grows, used: 0, holes }
    }

    fn take(&mut self, start: Physical, length: u64) {
        self.holes.take(start, length);
        self.used += length;
        if self.grows {
            self.size = self.size.max(start.0.saturating_add(length));
        }
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

#[derive(Clone, Debug)]
pub struct Layout {
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
    /// What is yet to come of data, and what there will be of metadata.
    expected: Estimate,
}

impl Layout {
    /// The chunks that every filesystem has, on devices of so many bytes, each with whether it grows. Metadata stands
    /// before data, so that a device can be cut behind the data.
    pub fn begin(options: &Options, devices: impl Iterator<Item = (u64, bool)>, estimate: &Estimate) -> Result<Self> {
        let devices = (1..).zip(devices);
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
            expected: *estimate,
        };
        layout.add_first_chunks()?;
        Ok(layout)
    }

    fn add_first_chunks(&mut self) -> Result<()> {
        self.add_chunk(Kind::System)?;
        let (mut left, wanted) = (0, self.least_metadata());
        let expected = self.expected_metadata();
        while left == 0 || left < expected {
            match self.add_chunk(Kind::Metadata) {
                // What is expected may be more than what comes.
                Err(_) if left > 0 => break,
                added => added?,
            }
            left += self.groups.last().map_or(0, |group| group.chunk.length);
        }
        // Mixed groups have the rest of the devices, too.
        let rest = self.devices.iter().map(|device| device.size.saturating_sub(device.used)).sum::<u64>();
        left += if self.mixed { rest / u64::from(self.metadata.geometry().ncopies) } else { 0 };
        if left < wanted {
            return Err(Error::NoSpace { what: "metadata", wanted, left });
        }
        if !self.mixed && !self.devices.iter().any(|device| device.grows) {
            self.add_chunk(Kind::Data)?;
        }
        Ok(())
    }

    fn least_metadata(&self) -> u64 {
        u64::from(self.nodesize) * METADATA_NODES
    }

    /// What the content will need, if that is known, and what the kernel needs beside it.
    fn expected_metadata(&self) -> u64 {
        match self.expected.metadata {
            0 => 0,
            bytes => bytes.saturating_add(self.least_metadata()),
        }
    }

    fn flags(&self, kind: Kind) -> BlockGroupFlags {
        let (bits, profile) = match kind {
            Kind::System => (block_group::SYSTEM, self.metadata),
            _ if self.mixed => (block_group::DATA | block_group::METADATA, self.metadata),
            Kind::Metadata => (block_group::METADATA, self.metadata),
            Kind::Data => (block_group::DATA, self.data),
        };
        BlockGroupFlags(bits | profile.geometry().bit)
    }

    /// Sum of the sizes of all devices.
    pub fn total_bytes(&self) -> u64 {
        self.devices.iter().fold(0, |sum, device| sum.saturating_add(device.size))
    }

    /// The kernel's sizes, but for system chunks, which may be small, for what is estimated, and for metadata where the
    /// kernel would take all of a small device for it.
    fn limits(&self, kind: Kind) -> Limits {
        let total_rw_bytes = self.total_bytes();
        let kernel = Limits { total_rw_bytes, nodesize: self.nodesize, chunk_size: None, alignment: STRIPE_ALIGNMENT };
        match kind {
            Kind::System => {
                Limits { chunk_size: Some((total_rw_bytes / 128).clamp(MIB, 32 * MIB)), alignment: MIB, ..kernel }
            }
            Kind::Metadata if !self.mixed && self.expected.metadata > 0 => {
                let most = kernel.wanted(self.flags(kind), Profile::Single).max(MIB);
                Limits { chunk_size: Some(self.expected_metadata().clamp(MIB, most)), alignment: MIB, ..kernel }
            }
            // A tenth of the filesystem is no bound for data that is known to come: its extents would be cut.
            Kind::Data if !self.mixed && self.expected.data > 0 => {
                let chunk_size = Some(self.expected.data.clamp(MIB, MAX_STRIPE));
                Limits { total_rw_bytes: u64::MAX, chunk_size, alignment: MIB, ..kernel }
            }
            Kind::Metadata if !self.mixed => {
                let smallest = self.devices.iter().map(|device| device.size).min().unwrap_or_default();
                let most = smallest / 3 * 2 / u64::from(self.metadata.geometry().dev_stripes);
                let needed = self.least_metadata();
                let usual = if total_rw_bytes / 10 < STRIPE_ALIGNMENT { 0 } else { STRIPE_ALIGNMENT };
                let alignment = needed.max(usual).min(most).next_multiple_of(STRIPE_LEN).max(STRIPE_LEN);
                Limits { alignment, ..kernel }
            }
            _ => kernel,
        }
    }

    fn add_chunk(&mut self, kind: Kind) -> Result<()> {
        let flags = self.flags(kind);
        let profile = flags.profile().unwrap_or(Profile::Single);
        let limits = self.limits(kind);
        let devices = self.devices.iter().map(|device| {
            let size = if device.grows { UNBOUNDED } else { device.size };
            (device.devid, size.saturating_sub(device.used), &device.holes)
        });
        let placement = place_on(flags, profile, &limits, devices)?;
        let logical = self.groups.last().map_or(FIRST_LOGICAL, |group| group.chunk.end());
        let uuid_of = |devid: u64| {
            let device = self.devices.iter().find(|device| device.devid == devid);
            device.map(|device| device.uuid).unwrap_or_default()
        };
        let chunk = item::map(logical, &placement, flags, profile, self.sectorsize, uuid_of)?;
        for (devid, physical) in &placement.stripes {
            if let Some(device) = self.devices.iter_mut().find(|device| device.devid == *devid) {
                device.take(*physical, placement.stripe_size);
            }
        }
        let free = without_superblocks(&chunk);
        if kind == Kind::Data {
            self.expected.data = self.expected.data.saturating_sub(chunk.length);
        }
        self.groups.push(Group { chunk, free, used: 0 });
        Ok(())
    }

    /// Takes the space of a tree block.
    pub fn take_block(&mut self, kind: Kind) -> Result<Logical> {
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
            let (flags, next) = (self.flags(Kind::Data), self.next_data);
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
            self.add_chunk(Kind::Data)?;
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

    /// Cuts the last data chunk to whole rows of what is used of it, and a little more. What its devices lose by that
    /// stays a hole.
    pub fn cut_last_data_chunk(&mut self) {
        if self.mixed {
            return;
        }
        let flags = self.flags(Kind::Data);
        let last = self.groups.iter().rfind(|group| group.chunk.flags == flags);
        let left = last.map_or(0, |group| group.chunk.end().0.saturating_sub(self.next_data.0));
        if left < DATA_LEFT {
            // A device without room for it is not to become smaller either.
            let _ = self.add_chunk(Kind::Data);
        }
        let Some(index) = self.groups.iter().rposition(|group| group.chunk.flags == flags) else { return };
        let chunk = &self.groups[index].chunk;
        let row = chunk.data_stripes() * STRIPE_LEN;
        let needed = (self.next_data.0.saturating_sub(chunk.logical.0) + DATA_LEFT).next_multiple_of(row);
        if needed >= chunk.length {
            return;
        }
        let cut = (chunk.length - needed) / chunk.data_stripes();
        for stripe in &chunk.stripes {
            if let Some(device) = self.devices.iter_mut().find(|device| device.devid == stripe.devid) {
                device.used -= cut;
            }
        }
        let group = &mut self.groups[index];
        group.free.remove(Logical(group.chunk.logical.0 + needed), group.chunk.length - needed);
        group.chunk.length = needed;
    }

    /// Has each device end so many bytes behind its last chunk, if it grows or is not shorter.
    pub fn shrink_devices(&mut self, slack: u64) {
        for device in &mut self.devices {
            let mut end = MIB;
            for Group { chunk, .. } in &self.groups {
                let own = chunk.stripes.iter().filter(|stripe| stripe.devid == device.devid);
                end = own.fold(end, |end, stripe| end.max(stripe.physical.0.saturating_add(chunk.stripe_size())));
            }
            let end = end.saturating_add(slack).checked_next_multiple_of(self.sectorsize.into());
            device.size = match end {
                Some(end) if device.grows || end < device.size => end,
                _ => device.size,
            };
        }
    }

    /// Makes files as short as their devices.
    pub fn cut_images(&self, writer: &FirstWriter) -> Result<()> {
        self.devices.iter().try_for_each(|device| {
            let image = writer.image(device.devid).filter(|image| !image.is_device());
            image.map_or(Ok(()), |image| image.set_size(device.size))
        })
    }

    /// Makes images that grow as large as their devices.
    pub fn fit_images(&self, writer: &FirstWriter) -> Result<()> {
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
