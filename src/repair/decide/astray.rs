//! File extents that lead to where no data can be, and of which no extent item knows where they led to.

use crate::disk::flags::block_group::DATA;
use crate::disk::inode::{FileExtentDisk, FileExtentItem};
use crate::disk::{Logical, objectid};
use crate::survey::{Coverage, Job};
use crate::volume::{ChunkMapping, Volume};

use super::super::plan::Plan;
use super::file_extents::find_all;

/// Puts back a bit of their address or length, or has holes take their place.
pub fn decide(plan: &mut Plan<'_>, job: &Job<'_>) {
    let chunks_are_known = !plan.survey.blocks.lack_of(objectid::CHUNK_TREE);
    let volume = plan.volume;
    for mut extent in find_all(plan, job, |logical, length| data_chunk(volume, logical, length).is_none()) {
        let Some((item, disk)) = extent.parts() else { continue };
        match unflipped(plan, item, disk) {
            Some((bytenr, length)) => {
                (disk.disk_bytenr, disk.disk_num_bytes) = (bytenr.0.into(), length.into());
                extent.put(plan, "a bit of the address or length of its extent is put back: data is there");
            }
            None if chunks_are_known => {
                let why = format!("{} holds no data, a hole takes its place", Logical::from(disk.disk_bytenr));
                extent.give_up(plan, why);
            }
            None => {}
        }
    }
}

/// The chunk for data that a range lies in, if there is one.
pub fn data_chunk(volume: &Volume, logical: Logical, length: u64) -> Option<&ChunkMapping> {
    let chunk = volume.chunks().find(logical).filter(|chunk| chunk.flags.contains(DATA))?;
    logical.checked_add(length).is_some_and(|end| end <= chunk.end()).then_some(chunk)
}

/// Address and length with one bit of one of them put back, if there is one way alone to have data there.
fn unflipped(plan: &Plan<'_>, item: &FileExtentItem, disk: &FileExtentDisk) -> Option<(Logical, u64)> {
    let (bytenr, length) = (disk.disk_bytenr.get(), disk.disk_num_bytes.get());
    let sectorsize = u64::from(plan.volume.format().sectorsize);
    let is_long_enough = |length: u64| {
        let used = disk.offset.get().checked_add(disk.num_bytes.get());
        length > 0 && (item.compression != 0 || used.is_some_and(|used| used <= length))
    };
    let all = (0..u64::BITS).flat_map(|bit| [(bytenr ^ 1 << bit, length), (bytenr, length ^ 1 << bit)]);
    let places: Vec<(Logical, u64)> = all
        .filter(|(bytenr, length)| bytenr % sectorsize == 0 && length % sectorsize == 0 && is_long_enough(*length))
        .map(|(bytenr, length)| (Logical(bytenr), length))
        .filter(|(bytenr, length)| data_chunk(plan.volume, *bytenr, *length).is_some())
        .collect();
    let has_csums = |(bytenr, length): &&(Logical, u64)| plan.survey.csums.coverage(bytenr.0, *length) == Coverage::All;
    let is_unused = |(bytenr, length): &&(Logical, u64)| {
        let end = Logical(bytenr.0.saturating_add(*length));
        !plan.survey.csums.is_any(*bytenr, *length) && plan.survey.claims.extents.over(*bytenr, end).next().is_none()
    };
    let with_csums: Vec<_> = places.iter().filter(has_csums).collect();
    // Data that is preallocated, or of a file without checksums.
    let without: Vec<_> = places.iter().filter(is_unused).collect();
    match (with_csums.as_slice(), without.as_slice()) {
        ([only], _) | ([], [only]) => Some(**only),
        _ => None,
    }
}
