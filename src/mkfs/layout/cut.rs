//! The end of a device that is cut behind its content.

use crate::disk::STRIPE_LEN;
use crate::tree::reservation::to_write_files;

use super::expected::{DATA_LEFT, Expected};
use super::{ChunkKind, Group, Layout, MIB};

impl Layout {
    /// Makes room for what the kernel needs to write, where there is too little. `global` is what the trees that describe
    /// space have.
    pub fn leave_room(&mut self, global: u64) {
        let metadata = to_write_files(self.nodesize, global);
        if self.mixed {
            self.leave(ChunkKind::Data, metadata + DATA_LEFT);
        } else {
            self.leave(ChunkKind::Metadata, metadata);
            self.leave(ChunkKind::Data, DATA_LEFT);
        }
    }

    /// Cuts the chunk at the end to whole rows of what is used of it and of what the kernel needs to write.
    pub fn cut(&mut self, global: u64) {
        let metadata = to_write_files(self.nodesize, global);
        let Some(last) = (0..self.groups.len()).max_by_key(|index| end_of(&self.groups[*index])) else { return };
        let flags = self.groups[last].chunk.flags;
        let wanted = match flags {
            _ if flags == self.flags(ChunkKind::System) => return,
            _ if self.mixed => metadata + DATA_LEFT,
            _ if flags == self.flags(ChunkKind::Metadata) => metadata,
            _ => DATA_LEFT,
        };
        let kind = if flags == self.flags(ChunkKind::Metadata) { ChunkKind::Metadata } else { ChunkKind::Data };
        self.cut_group(last, self.free_of(kind).saturating_sub(wanted));
    }

    /// Has so many bytes free for a kind, if the devices have room for them.
    fn leave(&mut self, kind: ChunkKind, wanted: u64) {
        let missing = wanted.saturating_sub(self.free_of(kind));
        if missing > 0 {
            let (metadata, data) = if kind == ChunkKind::Metadata { (missing, 0) } else { (0, missing) };
            self.expected = Expected::only(metadata, data);
            // A device without room for it is not to become smaller either.
            let _ = self.add_chunk(kind);
        }
    }

    /// Takes up to so many free bytes from the end of a group. What its devices lose by that stays a hole.
    fn cut_group(&mut self, index: usize, most: u64) {
        let Group { chunk, free, .. } = &mut self.groups[index];
        let row = chunk.data_stripes() * STRIPE_LEN;
        let tail = free.iter().last().filter(|(start, length)| start.0 + length == chunk.end().0);
        let cut = tail.map_or(0, |(_, length)| length.min(most)).min(chunk.length.saturating_sub(row)) / row * row;
        if cut == 0 {
            return;
        }
        chunk.length -= cut;
        free.remove(chunk.end(), cut);
        for stripe in &chunk.stripes {
            if let Some(device) = self.devices.iter_mut().find(|device| device.devid == stripe.devid) {
                device.used -= cut / chunk.data_stripes();
            }
        }
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
}

/// Where the last stripe of a group ends on its device.
fn end_of(group: &Group) -> u64 {
    let ends = group.chunk.stripes.iter().map(|stripe| stripe.physical.0.saturating_add(group.chunk.stripe_size()));
    ends.max().unwrap_or_default()
}
