//! Filesystems for zoned devices.
//!
//! The size of a zone is not on the disk. A device extent is as long as a zone, and on a device without zones of its own
//! the kernel takes the first one's length for it (`calculate_emulated_zone_size` in fs/btrfs/zoned.c).

use crate::disk::Physical;
use crate::disk::flags::incompat;
use crate::disk::superblock::{SUPER_INFO_SIZE, SUPER_OFFSETS};
use crate::problem::ZonedProblem;
use crate::volume::Volume;

use super::device_extents::{DeviceExtent, DeviceExtents};
use super::findings::Findings;

/// Where the pairs of zones begin that hold superblocks.
const LOG_OFFSETS: [Physical; 3] = [Physical(0), Physical(512 << 30), Physical(4 << 40)];

const MIN_ZONE_SIZE: u64 = 4 << 20;
const MAX_ZONE_SIZE: u64 = 8 << 30;

pub fn check(volume: &Volume, extents: &DeviceExtents<'_>, findings: &Findings) {
    let superblock = volume.superblock();
    if !superblock.has_incompat(incompat::ZONED) {
        return;
    }
    if superblock.has_incompat(incompat::MIXED_GROUPS) {
        findings.report(ZonedProblem::Mixed {});
    }
    let Some(DeviceExtent { devid, offset, length: zone_size, .. }) = extents.first() else { return };
    if !zone_size.is_power_of_two() || !(MIN_ZONE_SIZE..=MAX_ZONE_SIZE).contains(&zone_size) {
        findings.report(ZonedProblem::ZoneSize { devid, offset, length: zone_size });
        return;
    }
    let logs = LOG_OFFSETS.map(|start| (start, zone_size * 2));
    let regular = SUPER_OFFSETS.map(|start| (start, SUPER_INFO_SIZE as u64));
    for DeviceExtent { devid, offset, length, .. } in extents.iter() {
        if !(offset.0 | length).is_multiple_of(zone_size) {
            findings.report(ZonedProblem::Unaligned { devid, offset, length, zone_size });
        }
        let end = offset.0.saturating_add(length);
        let is_over = |(start, size): &(Physical, u64)| offset.0 < start.0.saturating_add(*size) && start.0 < end;
        // The regular places lie within the zones of the first pair where zones are large.
        if let Some((superblock, _)) = logs.iter().chain(&regular).find(|place| is_over(place)).copied() {
            findings.report(ZonedProblem::OverSuperblock { devid, offset, length, superblock });
        }
    }
}
