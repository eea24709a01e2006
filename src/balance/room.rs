//! Where the contents of block groups would go, told without moving anything: free space of other block groups first, then new
//! chunks.

use std::collections::BTreeSet;

use crate::chunk::limits;
use crate::chunk::placement::{Limits, place_on};
use crate::disk::{BlockGroupFlags, Logical, Physical, Profile};
use crate::dump::layout::{Layout, LayoutChunk, LayoutStripe};
use crate::relocate::Takers;
use crate::space::Holes;
use crate::trans::Filesystem;
use crate::volume::ChunkMapping;

/// Block groups and devices as they would be.
#[derive(Clone, Debug)]
pub struct Room {
    groups: Vec<Group>,
    devices: Vec<Device>,
    limits: Limits,
    next: Logical,
}

#[derive(Clone, Debug)]
struct Group {
    logical: Logical,
    length: u64,
    flags: BlockGroupFlags,
    used: u64,
    /// Whether it is to be emptied.
    is_source: bool,
    /// Whether anything can be written there: no device is missing.
    is_usable: bool,
    stripes: Vec<(u64, Physical)>,
    stripe_size: u64,
}

#[derive(Clone, Debug)]
struct Device {
    devid: u64,
    path: String,
    total_bytes: u64,
    available: u64,
    holes: Holes,
    is_writable: bool,
}

/// What the contents of a block group would need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lack {
    /// Bytes that have no place.
    pub bytes: u64,
}

impl Room {
    /// The room of the filesystem as it is, of which `sources` are to be emptied.
    pub fn of(fs: &Filesystem, sources: &BTreeSet<Logical>) -> Self {
        let chunks = fs.chunks();
        let space = fs.space();
        let group = |chunk: &ChunkMapping| {
            let group = space.group(chunk.logical)?;
            Some(Group {
                logical: chunk.logical,
                length: chunk.length,
                flags: chunk.flags,
                used: group.used,
                is_source: sources.contains(&chunk.logical),
                is_usable: group.is_usable(),
                stripes: chunk.stripes.iter().map(|stripe| (stripe.devid, stripe.physical)).collect(),
                stripe_size: chunk.stripe_size(),
            })
        };
        let path_of = |devid: u64| {
            let mut devices = fs.volume().devices().iter().filter(|device| device.devid() == devid);
            devices.next().map(|device| device.image().path().display().to_string())
        };
        let devices = chunks.devices.iter().map(|device| {
            let (devid, total_bytes) = (device.item.devid.get(), device.item.total_bytes.get());
            Device {
                devid,
                path: path_of(devid).unwrap_or_default(),
                total_bytes,
                available: total_bytes.saturating_sub(device.item.bytes_used.get()),
                holes: device.holes.clone(),
                is_writable: device.is_writable,
            }
        });
        Self {
            groups: chunks.map.iter().filter_map(group).collect(),
            devices: devices.collect(),
            limits: limits(fs, &chunks),
            next: chunks.map.iter().last().map_or(Logical(0), |chunk| chunk.end()),
        }
    }

    /// Bytes in use of a block group, with what came into it.
    pub fn used(&self, logical: Logical) -> u64 {
        self.groups.iter().find(|group| group.logical == logical).map_or(0, |group| group.used)
    }

    /// Empties a block group into others of `profile` and into new ones, and gives its chunk back. Without room nothing is
    /// changed. Returns whether the chunk is gone: the last of its type stays if it is empty and as it should be.
    pub fn empty(&mut self, logical: Logical, profile: Profile, takers: Takers) -> Result<bool, Lack> {
        let Some(index) = self.groups.iter().position(|group| group.logical == logical) else { return Ok(false) };
        let source = self.groups[index].clone();
        let type_bits = source.flags.type_bits();
        let flags = BlockGroupFlags(type_bits | profile.geometry().bit);
        let is_target = |group: &Group| {
            group.is_usable
                && group.flags == flags
                && group.logical != logical
                && (!group.is_source || takers == Takers::All)
        };
        let is_staying = |group: &Group| !group.is_source && group.flags.type_bits() == type_bits;
        if source.used == 0 && source.flags == flags && !self.groups.iter().any(is_staying) {
            self.groups[index].is_source = false;
            return Ok(false);
        }
        let (before, next) = (self.groups.len(), self.next);
        loop {
            let targets = self.groups.iter().filter(|group| is_target(group));
            let room = targets.map(|group| group.length.saturating_sub(group.used)).reduce(u64::saturating_add);
            if room.is_some_and(|room| room >= source.used) {
                break;
            }
            if !self.add_chunk(type_bits, profile) {
                for group in self.groups.split_off(before) {
                    self.give_back(&group);
                }
                self.next = next;
                return Err(Lack { bytes: source.used.saturating_sub(room.unwrap_or_default()) });
            }
        }
        let mut left = source.used;
        for is_source in [false, true] {
            for group in self.groups.iter_mut().filter(|group| is_target(group) && group.is_source == is_source) {
                let taken = left.min(group.length.saturating_sub(group.used));
                group.used += taken;
                left -= taken;
            }
        }
        self.groups.retain(|group| group.logical != logical);
        self.give_back(&source);
        Ok(true)
    }

    /// The stripes of a block group are free.
    fn give_back(&mut self, group: &Group) {
        for (devid, physical) in &group.stripes {
            if let Some(device) = self.devices.iter_mut().find(|device| device.devid == *devid) {
                device.holes.give_back(*physical, group.stripe_size);
                device.available = device.available.saturating_add(group.stripe_size);
            }
        }
    }

    fn add_chunk(&mut self, type_bits: u64, profile: Profile) -> bool {
        let flags = BlockGroupFlags(type_bits | profile.geometry().bit);
        let devices = self.devices.iter().filter(|device| device.is_writable);
        let devices = devices.map(|device| (device.devid, device.available, &device.holes));
        let Ok(placement) = place_on(flags, profile, &self.limits, devices) else { return false };
        for (devid, physical) in &placement.stripes {
            if let Some(device) = self.devices.iter_mut().find(|device| device.devid == *devid) {
                device.holes.take(*physical, placement.stripe_size);
                device.available = device.available.saturating_sub(placement.stripe_size);
            }
        }
        let Some(next) = self.next.checked_add(placement.length) else { return false };
        self.groups.push(Group {
            logical: self.next,
            length: placement.length,
            flags,
            used: 0,
            is_source: false,
            is_usable: true,
            stripes: placement.stripes,
            stripe_size: placement.stripe_size,
        });
        self.next = next;
        true
    }

    /// What lies where.
    pub fn layout(&self) -> Layout {
        let chunk = |group: &Group| LayoutChunk {
            logical: group.logical,
            length: group.length,
            r#type: group.flags,
            profile: group.flags.profile().map_or("unknown", Profile::name),
            used: Some(group.used),
            stripes: group
                .stripes
                .iter()
                .map(|(devid, offset)| LayoutStripe { devid: *devid, offset: *offset, length: group.stripe_size })
                .collect(),
        };
        let device = |device: &Device| (device.devid, device.path.clone(), device.total_bytes);
        Layout::new(self.groups.iter().map(chunk).collect(), self.devices.iter().map(device))
    }
}
