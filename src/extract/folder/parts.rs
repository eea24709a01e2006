//! Files in parts that threads write, in the order of the disk.

use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize};

use crate::files::FileKind;

use super::super::batch::{Prepared, in_disk_order};

/// Data of a file that one thread writes at once.
const PART: u64 = 16 << 20;

/// A file that is being written, in parts.
pub struct Unfinished {
    /// What became of it when its first part was begun.
    pub begun: Mutex<Option<Begun>>,
    pub parts_left: AtomicUsize,
    pub is_bad: AtomicBool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begun {
    Made,
    /// An earlier run had written it.
    PassedOver,
    Failed,
}

/// A part of a file.
pub struct Part {
    pub index: usize,
    pub range: Range<u64>,
}

/// The parts of the files of a batch, in the order of the disk.
pub fn parts(batch: &[Prepared]) -> impl Iterator<Item = Part> {
    let is_file = |index: &usize| batch[*index].kind == FileKind::File && batch[*index].link_to.is_none();
    let files = in_disk_order(batch).into_iter().filter(is_file);
    files.flat_map(|index| parts_of(&batch[index]).map(move |range| Part { index, range }))
}

/// The parts of a file; an empty one for an empty file.
fn parts_of(prepared: &Prepared) -> impl Iterator<Item = Range<u64>> {
    let mut next = Some(0);
    std::iter::from_fn(move || {
        let start = next?;
        let end = part_end(prepared, start);
        next = (end < prepared.size).then_some(end);
        Some(start..end)
    })
}

/// Where a part ends that begins at `start`: behind so much data, and at the end of the file if that is holes.
fn part_end(prepared: &Prepared, start: u64) -> u64 {
    let mut left = PART;
    let data = &prepared.layout.data;
    let from = data.partition_point(|range| range.end <= start);
    for range in data.iter().skip(from) {
        let begin = range.start.max(start);
        if range.end - begin > left {
            // At a border of blocks, so that both parts may share theirs.
            let end = (begin + left).checked_next_multiple_of(PART);
            return end.map_or(prepared.size, |end| end.min(prepared.size));
        }
        left -= range.end - begin;
    }
    prepared.size
}

impl Unfinished {
    pub fn new(prepared: &Prepared) -> Self {
        let parts_left = AtomicUsize::new(parts_of(prepared).count());
        Self { begun: Mutex::new(None), parts_left, is_bad: AtomicBool::new(false) }
    }
}
