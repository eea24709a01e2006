//! Data that two file extents describe in different ways. Where blocks of two commits meet, the later commit is right.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use crate::disk::Logical;
use crate::disk::flags::incompat;
use crate::disk::inode::{FileExtentDisk, FileExtentItem};
use crate::survey::{Coverage, Cursor, Job};

use super::super::plan::Plan;
use super::file_extents::{FoundExtent, can_have_length, find_all};

/// What file extents, or a tree block, say of an extent: address and length.
type Described = (Logical, u64);

/// Lets the best of several file extents that contradict each other keep its extent. The other file extents take its length, if one bit
/// makes the difference, or become holes.
pub fn decide(plan: &mut Plan<'_>, job: &Job<'_>) {
    let ranges = contested(plan);
    if ranges.is_empty() {
        return;
    }
    let range_of = |logical: Logical| ranges.partition_point(|(start, _)| *start <= logical).checked_sub(1);
    let is_within = |logical: Logical| range_of(logical).is_some_and(|index| logical < ranges[index].1);
    let found = find_all(plan, job, |logical, _| is_within(logical));
    let mut newest: BTreeMap<Described, u64> = BTreeMap::new();
    let mut extents: Vec<(Described, FoundExtent, bool)> = Vec::new();
    for mut extent in found {
        let is_mended = mend_length(plan, &mut extent);
        let Some((item, disk)) = extent.parts() else { continue };
        let described = (disk.disk_bytenr.into(), disk.disk_num_bytes.get());
        let generation = newest.entry(described).or_default();
        *generation = item.generation.get().max(*generation);
        extents.push((described, extent, is_mended));
    }
    let kept = keep(plan, &newest);
    for (described, extent, is_mended) in extents {
        match kept.contains(&described) {
            true if is_mended => extent.put(plan, "a bit of the length of its extent is put back"),
            true => {}
            false => settle(plan, extent, described, &kept),
        }
    }
}

/// Gives a file extent the length that the extent item knows, or the file itself of data that is not compressed, if one bit makes the
/// difference.
fn mend_length(plan: &Plan<'_>, extent: &mut FoundExtent) -> bool {
    let Some((item, disk)) = extent.parts() else { return false };
    let logical = Logical::from(disk.disk_bytenr);
    let known = plan.survey.claims.extents.find(logical, &mut Cursor::default()).map(|extent| extent.length);
    let of_file = (item.compression == 0 && known.is_none()).then_some(item.ram_bytes.get());
    let is_meant = |other: &u64| is_one_bit_off(item, disk, *other);
    let Some(right) = known.or(of_file).filter(is_meant) else { return false };
    disk.disk_num_bytes = right.into();
    true
}

/// Whether one bit of its length makes the difference to an extent of `length` bytes that can be the one of this file extent.
fn is_one_bit_off(item: &FileExtentItem, disk: &FileExtentDisk, length: u64) -> bool {
    (length ^ disk.disk_num_bytes.get()).is_power_of_two() && can_have_length(item, disk, length)
}

/// Ranges in which extents overlap that are not the same, by address.
fn contested(plan: &Plan<'_>) -> Vec<(Logical, Logical)> {
    let nodesize = u64::from(plan.volume.format().nodesize);
    let is_mixed = plan.superblock.has_incompat(incompat::MIXED_GROUPS);
    let blocks = &plan.survey.blocks;
    let of_blocks = blocks.records.iter().filter(|_| is_mixed).map(|block| (block.logical, nodesize));
    let (mut of_blocks, mut of_data) =
        (of_blocks.peekable(), blocks.data.iter().map(|data| (data.logical, data.length)).peekable());
    let mut ranges = Vec::new();
    let mut last: Option<(Described, Logical, bool)> = None;
    loop {
        let is_block = match (of_blocks.peek(), of_data.peek()) {
            (Some(block), Some(data)) => block < data,
            (Some(_), None) => true,
            (None, Some(_)) => false,
            (None, None) => break,
        };
        let next = if is_block { of_blocks.next() } else { of_data.next() };
        let Some((logical, length)) = next else { break };
        let end = Logical(logical.0.saturating_add(length));
        match &mut last {
            Some((first, reach, is_contested)) if logical < *reach => {
                *is_contested |= *first != (logical, length);
                *reach = end.max(*reach);
            }
            _ => {
                ranges.extend(last.filter(|(_, _, is_contested)| *is_contested).map(|(first, end, _)| (first.0, end)));
                last = Some(((logical, length), end, false));
            }
        }
    }
    ranges.extend(last.filter(|(_, _, is_contested)| *is_contested).map(|(first, end, _)| (first.0, end)));
    ranges
}

/// Picks the descriptions that the repair keeps, none of which overlaps another one or a tree block. A description that an extent item
/// confirms wins; then the one of the latest generation; then the one whose data has checksums.
fn keep(plan: &Plan<'_>, newest: &BTreeMap<Described, u64>) -> BTreeSet<Described> {
    let extents = &plan.survey.claims.extents;
    let rank = |(described, generation): &(Described, u64)| {
        let (logical, length) = *described;
        let is_known = extents.find(logical, &mut Cursor::default()).is_some_and(|extent| extent.length == length);
        let has_csums = plan.survey.csums.coverage(logical.0, length) == Coverage::All;
        Reverse((is_known, *generation, has_csums, Reverse(length)))
    };
    let mut by_rank: Vec<(Described, u64)> =
        newest.iter().map(|(described, generation)| (*described, *generation)).collect();
    by_rank.sort_by_key(rank);
    let mut kept: BTreeSet<Described> = BTreeSet::new();
    for (described, _) in by_rank {
        let (logical, length) = described;
        let end = Logical(logical.0.saturating_add(length));
        let reaches = |(start, length): &Described| start.0.saturating_add(*length) > logical.0;
        let is_taken = kept.range(..(end, 0)).next_back().is_some_and(reaches);
        if !is_taken && !has_block(plan, logical, end) {
            kept.insert(described);
        }
    }
    kept
}

fn has_block(plan: &Plan<'_>, start: Logical, end: Logical) -> bool {
    let nodesize = u64::from(plan.volume.format().nodesize);
    let from = start.0.saturating_sub(nodesize.saturating_sub(1));
    plan.survey.blocks.records.iter_from(from).next().is_some_and(|block| block.logical < end)
}

/// Settles a file extent that loses its extent: it takes the length that others say of the extent, or becomes a hole.
fn settle(plan: &mut Plan<'_>, mut extent: FoundExtent, (logical, _): Described, kept: &BTreeSet<Described>) {
    let at_same_place = kept.range((logical, 0)..).next().copied().filter(|other| other.0 == logical);
    let Some((item, disk)) = extent.parts() else { return };
    match at_same_place.filter(|(_, other)| is_one_bit_off(item, disk, *other)) {
        Some((_, other)) => {
            disk.disk_num_bytes = other.into();
            extent.put(plan, "a bit of the length of its extent is put back: others have that one");
        }
        None => extent.give_up(plan, format!("{logical} is the data of other files, a hole takes its place")),
    }
}
