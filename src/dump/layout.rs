//! Where chunks lie on devices, of a filesystem as it is or as it would be.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::disk::{BlockGroupFlags, Logical, Physical};

use super::chunks::{ChunkList, Range, RangeState, flag_names, with_gaps};

/// The devices of a filesystem, and what lies on them.
#[derive(Clone, Debug, Serialize)]
pub struct Layout {
    /// By logical address.
    pub chunks: Vec<LayoutChunk>,
    /// By number.
    pub devices: Vec<LayoutDevice>,
}

/// A chunk and its block group.
#[derive(Clone, Debug, Serialize)]
pub struct LayoutChunk {
    /// Where it begins.
    pub logical: Logical,
    /// Logical bytes.
    pub length: u64,
    /// DATA, METADATA and SYSTEM, of which a chunk of mixed block groups has two.
    #[serde(serialize_with = "flag_names")]
    pub r#type: BlockGroupFlags,
    /// As btrfs-progs names it, such as `RAID1`.
    pub profile: &'static str,
    /// Bytes in use, if they are known.
    pub used: Option<u64>,
    /// Where its stripes lie.
    pub stripes: Vec<LayoutStripe>,
}

/// A stripe of a chunk.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct LayoutStripe {
    /// Of its device.
    pub devid: u64,
    /// Where it begins on the device.
    pub offset: Physical,
    /// Bytes on the device.
    pub length: u64,
}

/// A device, from its beginning to its end.
#[derive(Clone, Debug, Serialize)]
pub struct LayoutDevice {
    /// Its id.
    pub devid: u64,
    /// Nothing for a missing device.
    pub path: Option<String>,
    /// Nothing for a missing device.
    pub total_bytes: Option<u64>,
    /// By offset, without gaps.
    pub ranges: Vec<Range>,
}

impl Layout {
    /// The layout of these chunks. Devices that only stripes name are missing.
    pub fn new(chunks: Vec<LayoutChunk>, devices: impl IntoIterator<Item = (u64, String, u64)>) -> Self {
        let missing = |devid| LayoutDevice { devid, path: None, total_bytes: None, ranges: Vec::new() };
        let there = |(devid, path, total_bytes)| {
            (devid, LayoutDevice { path: Some(path), total_bytes: Some(total_bytes), ..missing(devid) })
        };
        let mut rows: BTreeMap<u64, LayoutDevice> = devices.into_iter().map(there).collect();
        for chunk in &chunks {
            for &LayoutStripe { devid, offset, length } in &chunk.stripes {
                let range = Range { offset, length, state: RangeState::Allocated, chunk: Some(chunk.logical) };
                rows.entry(devid).or_insert_with(|| missing(devid)).ranges.push(range);
            }
        }
        let filled = |device: LayoutDevice| {
            let ranges = with_gaps(device.ranges, device.total_bytes);
            LayoutDevice { ranges, ..device }
        };
        Self { chunks, devices: rows.into_values().map(filled).collect() }
    }

    /// Bytes of devices that no chunk has and that new chunks may have.
    pub fn unallocated(&self) -> u64 {
        let ranges = self.devices.iter().flat_map(|device| &device.ranges);
        let free = ranges.filter(|range| range.state == RangeState::Free).map(|range| range.length);
        free.fold(0, u64::saturating_add)
    }

    /// The chunk that begins at `logical`.
    pub fn chunk(&self, logical: Logical) -> Option<&LayoutChunk> {
        let index = self.chunks.binary_search_by_key(&logical, |chunk| chunk.logical);
        index.ok().and_then(|index| self.chunks.get(index))
    }
}

impl From<&ChunkList> for Layout {
    fn from(list: &ChunkList) -> Self {
        let chunks = list.chunks.iter().map(|chunk| LayoutChunk {
            logical: chunk.logical,
            length: chunk.length,
            r#type: chunk.r#type,
            profile: chunk.profile,
            used: chunk.used,
            stripes: chunk
                .stripes
                .iter()
                .map(|stripe| LayoutStripe { devid: stripe.devid, offset: stripe.offset, length: stripe.length })
                .collect(),
        });
        let devices = list.devices.iter().map(|device| LayoutDevice {
            devid: device.devid,
            path: device.path.clone(),
            total_bytes: device.total_bytes,
            ranges: device.ranges.clone(),
        });
        Self { chunks: chunks.collect(), devices: devices.collect() }
    }
}
