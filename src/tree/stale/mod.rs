//! Which devices miss a part of what was written after their superblocks.
//!
//! A superblock that is behind proves nothing: a crash between two superblock writes leaves it on a device that has all
//! blocks, and a device that was missing from a single commit is no further behind. A device is current if every tree
//! block newer than its superblock is on it wherever it should have a copy, if the parity that it holds of rows with newer
//! blocks or data is that of the rows, and if newer data that has checksums verifies on it. Data without checksums cannot
//! be told. Where no copy of a newer block can be read, the device is not current: what it should hold is not known.

mod copies;
mod newer;
mod rows;
mod suspect;

use crate::disk::volume::DevItem;
use crate::disk::{Key, KeyType, objectid};
use crate::volume::{Device, Missed, StaleDevice, Volume};

use super::TreeRoot;
use super::csums::CsumRoot;
use copies::{data_is_on, has_data, pieces_of};
use newer::{Newer, judge_blocks};
use rows::{Parts, Rows};
use suspect::Suspect;

/// The devices whose superblock is behind and that are not current, with the first thing that each was found to miss.
pub fn stale_devices(volume: &Volume) -> Vec<StaleDevice> {
    let mut suspects = Suspect::all(volume);
    suspects.iter_mut().for_each(|suspect| suspect.judge(has_item(volume, suspect.device())));
    let newer = judge_blocks(volume, &mut suspects);
    for index in 0..suspects.len() {
        if suspects[index].is_open() {
            let judged = judge_rows_and_data(volume, &suspects, index, &newer);
            suspects[index].judge(judged);
        }
    }
    let stale = suspects.into_iter().map(|suspect| (suspect.uuid(), suspect.into_missed()));
    stale.filter_map(|(uuid, missed)| missed.map(|missed| StaleDevice { uuid, missed })).collect()
}

/// A device that was removed while it was away is no longer one of the filesystem.
fn has_item(volume: &Volume, device: &Device) -> Result<(), Missed> {
    let superblock = volume.stored_superblock();
    let missed = |problem: String| {
        Err(Missed { what: "its item in the chunk tree at", logical: superblock.chunk_root(), problem })
    };
    // The target of a replacement has none yet.
    if device.devid() == 0 {
        return Ok(());
    }
    let key = Key::new(objectid::DEV_ITEMS, KeyType::DEV_ITEM, device.devid());
    match TreeRoot::chunk_tree_of(superblock).find(volume, key) {
        Ok(Some(data)) if DevItem::read_prefix(&data).is_some_and(|(item, _)| item.uuid == device.uuid()) => Ok(()),
        Ok(_) => missed("there is none with its id and uuid, it is no device of the filesystem any more".to_owned()),
        Err(bad) => missed(format!("the tree cannot be read: {bad}")),
    }
}

/// What follows for one device once all newer blocks are known.
fn judge_rows_and_data(volume: &Volume, suspects: &[Suspect<'_>], index: usize, newer: &Newer) -> Result<(), Missed> {
    let suspect = &suspects[index];
    let mut parts = Parts::default();
    let nodesize = volume.format().nodesize as usize;
    let is_newer = |generation| generation > suspect.generation();
    for (logical, expected) in &newer.in_rows {
        if expected.generation.is_none_or(is_newer) {
            volume.chunks().pieces(*logical, nodesize).flatten().for_each(|piece| parts.add(piece));
        }
    }
    let ranges = newer.data_after(suspect.generation());
    if ranges.is_empty() || !has_data(volume) {
        return Rows::new(volume, suspects, newer, None).are_on(suspect, &parts);
    }
    let root_tree = TreeRoot::root_tree_of(volume.stored_superblock());
    let unknown = |bad: crate::volume::NoGoodCopy| Missed {
        what: "data whose checksums are in tree block",
        logical: bad.logical,
        problem: format!("no copy of it can be read: {bad}"),
    };
    let csums = CsumRoot::of(volume, &root_tree).map_err(unknown)?;
    let mut judged = Ok(());
    let read = csums.for_each(volume, &ranges, |run| {
        if judged.is_ok() {
            pieces_of(volume, run).filter_map(|(piece, _)| piece.ok()).for_each(|piece| parts.add(piece));
            judged = data_is_on(volume, suspect, run);
        }
    });
    read.map_err(unknown)?;
    judged?;
    Rows::new(volume, suspects, newer, Some(&csums)).are_on(suspect, &parts)
}
