//! The superblock's totals against what they are the sums of.

use crate::disk::Logical;
use crate::problem::{Sizes, TotalsProblem};
use crate::survey::{ExtentList, Items};
use crate::volume::Volume;

use super::block_groups::{BlockGroups, knows_extents, used_bytes};
use super::devices::Devices;
use super::findings::Findings;

pub fn check(
    volume: &Volume,
    devices: &Devices<'_>,
    groups: &BlockGroups<'_>,
    extent_tree: &Items,
    extents: &ExtentList,
    findings: &Findings,
) {
    let superblock = volume.superblock();
    if devices.are_complete() {
        let (have, expect) = (superblock.num_devices.get(), devices.count());
        if have != expect {
            findings.report(TotalsProblem::NumDevices { have, expect });
        }
        let have = superblock.total_bytes.get();
        let sums = devices.total_bytes(volume);
        let sizes = || devices.records().iter().map(|record| record.item.total_bytes.get());
        if sizes().try_fold(0, u64::checked_add).is_none() {
            findings.report(TotalsProblem::TotalOverflow { sizes: Sizes(sizes().collect()) });
        }
        if !sums.contains(&have) {
            let [expect, _] = sums;
            findings.report(match have < expect {
                true => TotalsProblem::TotalShort { have, expect },
                false => TotalsProblem::TotalLong { have, expect },
            });
        }
    }
    let everything = (Logical(0), Logical(u64::MAX));
    let of_extents = || used_bytes(extents, everything.0, everything.1);
    let sum = if knows_extents(extent_tree, everything.0, everything.1) { Some(of_extents()) } else { groups.used() };
    let have = superblock.bytes_used.get();
    if let Some(expect) = sum.filter(|expect| *expect != have) {
        findings.report(TotalsProblem::BytesUsed { have, expect });
    }
}
