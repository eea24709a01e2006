//! File extents that lead to where no data can be, and of which no extent item knows where they led to.

use crate::disk::flags::block_group::DATA;
use crate::disk::inode::{FileExtentDisk, FileExtentItem, InodeItem, file_extent_type};
use crate::disk::{Key, KeyType, Logical, objectid};
use crate::problem::{BlockGroupProblem, Problem};
use crate::survey::{Coverage, Job};
use crate::volume::{ChunkMapping, Volume};

use super::super::plan::Plan;
use super::file_extents::{can_have_length, find_all};

/// Puts back a bit of the address or length of these file extents, or has holes take their place.
pub fn decide(plan: &mut Plan<'_>, problems: &[Problem], job: &Job<'_>) {
    let chunks_are_known = !plan.survey.blocks.lack_of(objectid::CHUNK_TREE) && !problems.iter().any(is_of_chunks);
    let volume = plan.volume;
    for mut extent in find_all(plan, job, |logical, length| data_chunk(volume, logical, length).is_none()) {
        let has_sums = has_sums(plan, extent.tree, extent.key.objectid);
        let Some((item, disk)) = extent.parts() else { continue };
        let is_summed = has_sums && item.r#type == file_extent_type::REG;
        match unflipped(plan, is_summed, item, disk) {
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
fn unflipped(plan: &Plan<'_>, is_summed: bool, item: &FileExtentItem, disk: &FileExtentDisk) -> Option<(Logical, u64)> {
    let (bytenr, length) = (disk.disk_bytenr.get(), disk.disk_num_bytes.get());
    let sectorsize = u64::from(plan.volume.format().sectorsize);
    let is_possible = |length: u64| length > 0 && can_have_length(item, disk, length);
    let all = (0..u64::BITS).flat_map(|bit| [(bytenr ^ 1 << bit, length), (bytenr, length ^ 1 << bit)]);
    let places: Vec<(Logical, u64)> = all
        .filter(|(bytenr, length)| bytenr % sectorsize == 0 && length % sectorsize == 0 && is_possible(*length))
        .map(|(bytenr, length)| (Logical(bytenr), length))
        .filter(|(bytenr, length)| data_chunk(plan.volume, *bytenr, *length).is_some())
        .collect();
    let has_csums = |(bytenr, length): &&(Logical, u64)| plan.survey.csums.coverage(bytenr.0, *length) == Coverage::All;
    let is_unused = |(bytenr, length): &&(Logical, u64)| {
        let end = Logical(bytenr.0.saturating_add(*length));
        !plan.survey.csums.is_any(*bytenr, *length) && plan.survey.claims.extents.over(*bytenr, end).next().is_none()
    };
    // Data that is preallocated, or of a file without checksums, has none.
    let mut fitting = places.iter().filter(|place| if is_summed { has_csums(place) } else { is_unused(place) });
    let only = fitting.next()?;
    fitting.next().is_none().then_some(*only)
}

/// Whether the data of an inode has checksums.
fn has_sums(plan: &Plan<'_>, tree: u64, inode: u64) -> bool {
    let item = plan.root(tree).and_then(|root| root.find(plan.volume, Key::new(inode, KeyType::INODE_ITEM, 0)).ok()?);
    let item = item.as_deref().and_then(InodeItem::read_prefix);
    item.is_none_or(|(item, _)| item.has_csums())
}

/// Whether a chunk may be missing, or another one than its item says.
fn is_of_chunks(problem: &Problem) -> bool {
    match problem {
        Problem::Chunk(_) | Problem::DeviceExtent(_) => true,
        Problem::BlockGroup(problem) => {
            !matches!(problem, BlockGroupProblem::Used { .. } | BlockGroupProblem::Outside { .. })
        }
        _ => false,
    }
}
