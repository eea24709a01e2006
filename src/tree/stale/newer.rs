//! The walk over all that is newer than the superblocks of the devices that are judged.

use std::collections::{BTreeMap, HashSet};

use crate::block::verify::Expected;
use crate::block::{BlockKind, ItemRef};
use crate::disk::extent::ExtentItem;
use crate::disk::flags::extent::DATA;
use crate::disk::inode::{FileExtentDisk, FileExtentItem, file_extent_type};
use crate::disk::root::RootItem;
use crate::disk::{Key, KeyType, Logical, Transid, objectid};
use crate::tree::TreeRoot;
use crate::volume::Missed;
use crate::volume::Volume;

use super::copies::block_is_on;
use super::suspect::Suspect;

/// A range of data, and the generation that wrote it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct DataRange {
    start: u64,
    end: u64,
    generation: Transid,
}

/// What is newer than the oldest of the superblocks that are judged.
#[derive(Default)]
pub struct Newer {
    /// Tree blocks in chunks with parity.
    pub in_rows: BTreeMap<Logical, Expected>,
    data: Vec<DataRange>,
}

impl Newer {
    /// Ranges of data newer than `generation`, start and end, sorted and disjoint.
    pub fn data_after(&self, generation: Transid) -> Vec<(u64, u64)> {
        let newer = self.data.iter().filter(|range| range.generation > generation);
        let mut ranges: Vec<(u64, u64)> = Vec::new();
        for range in newer {
            match ranges.last_mut().filter(|last| range.start <= last.1) {
                Some(last) => last.1 = last.1.max(range.end),
                None => ranges.push((range.start, range.end)),
            }
        }
        ranges
    }
}

/// A block to read.
struct Task {
    tree: u64,
    expected: Expected,
    /// On the path to the first key of a tree that is not dropped yet: that key, and the level of its pointer.
    drop_progress: Option<(Key, u8)>,
}

/// Reads every tree block that is newer than the oldest of the suspects' superblocks, and judges the copies that the
/// suspects should have of it. Ends early when each of them is found to lack something.
///
/// What is below a pointer that is not newer was there before: no block is older than a child of it. Levels only go down
/// and each block is entered once, so that damaged trees end too.
pub fn judge_blocks(volume: &Volume, suspects: &mut [Suspect<'_>]) -> Newer {
    let mut walk = Walk { volume, oldest: Transid(u64::MAX), newer: Newer::default(), pending: Vec::new() };
    walk.oldest = suspects.iter().map(Suspect::generation).min().unwrap_or(walk.oldest);
    let superblock = volume.stored_superblock();
    for root in [TreeRoot::root_tree_of(superblock), TreeRoot::chunk_tree_of(superblock)] {
        walk.push(root.key.objectid, root.expected(), None);
    }
    let mut entered = HashSet::new();
    let (mut buffer, mut copy) = (Vec::new(), Vec::new());
    while let Some(task) = walk.pending.pop() {
        if !suspects.iter().any(Suspect::is_open) {
            break;
        }
        let expected = task.expected;
        if !entered.insert((expected.logical, expected.generation)) {
            continue;
        }
        let generation = expected.generation.unwrap_or(Transid(u64::MAX));
        let behind = |suspect: &&mut Suspect<'_>| suspect.is_open() && suspect.generation() < generation;
        match volume.read_block(&expected, &mut buffer) {
            Ok(read) => {
                for suspect in suspects.iter_mut().filter(behind) {
                    suspect.judge(block_is_on(volume, suspect, &expected, &mut copy));
                }
                let chunk = volume.chunks().find(expected.logical);
                if chunk.is_some_and(|chunk| chunk.profile.geometry().nparity > 0) {
                    walk.newer.in_rows.insert(expected.logical, expected);
                }
                match read.block.kind() {
                    BlockKind::Node(node) => walk.enter(&task, node.block().level(), node.ptrs()),
                    BlockKind::Leaf(leaf) => leaf.items().flatten().for_each(|item| walk.take(task.tree, &item)),
                }
            }
            Err(bad) => {
                let problem = format!("no copy of it can be read: {bad}");
                let missed = Missed { what: "tree block", logical: expected.logical, problem };
                suspects.iter_mut().filter(behind).for_each(|suspect| suspect.judge(Err(missed.clone())));
            }
        }
    }
    walk.newer.data.sort_unstable();
    walk.newer.data.dedup();
    walk.newer
}

struct Walk<'v> {
    volume: &'v Volume,
    oldest: Transid,
    newer: Newer,
    /// The next one last.
    pending: Vec<Task>,
}

impl Walk<'_> {
    fn push(&mut self, tree: u64, expected: Expected, drop_progress: Option<(Key, u8)>) {
        if expected.generation.is_none_or(|generation| generation > self.oldest) {
            self.pending.push(Task { tree, expected, drop_progress });
        }
    }

    /// Goes on to the children of a node, but for those that are dropped already.
    fn enter(&mut self, task: &Task, level: u8, ptrs: &[crate::disk::node::KeyPtr]) {
        let kept = task.drop_progress.filter(|(_, lowest)| level >= *lowest);
        let before = |(key, _): (Key, u8)| ptrs.partition_point(|ptr| Key::from(&ptr.key) <= key).saturating_sub(1);
        let first = kept.map_or(0, before);
        for (index, ptr) in ptrs.iter().enumerate().skip(first).rev() {
            let drop_progress = kept.filter(|(_, lowest)| index == first && level > *lowest);
            self.push(task.tree, Expected::child(ptr, level), drop_progress);
        }
    }

    /// Takes what an item leads to: a tree, or data.
    fn take(&mut self, tree: u64, item: &ItemRef<'_>) {
        match item.key.key_type {
            KeyType::ROOT_ITEM if tree == objectid::ROOT_TREE => {
                if let Some(root_item) = RootItem::read(item.data) {
                    let root = TreeRoot::of_item(item.key, &root_item);
                    self.push(root.key.objectid, root.expected(), root_item.drop_progress());
                }
            }
            KeyType::EXTENT_ITEM => {
                if let Some((extent, _)) = ExtentItem::read_prefix(item.data)
                    && extent.flags.get() & DATA != 0
                {
                    self.take_data(item.key.objectid, item.key.offset, extent.generation.into());
                }
            }
            // Space that was allocated before and is written now is as new as this item, not as its extent.
            KeyType::EXTENT_DATA => {
                if let Some((extent, rest)) = FileExtentItem::read_prefix(item.data)
                    && extent.r#type == file_extent_type::REG
                    && let Some((disk, _)) = FileExtentDisk::read_prefix(rest)
                    && disk.disk_bytenr.get() != 0
                {
                    let (start, length) = match extent.compression {
                        0 => (disk.disk_bytenr.get().saturating_add(disk.offset.get()), disk.num_bytes.get()),
                        _ => (disk.disk_bytenr.get(), disk.disk_num_bytes.get()),
                    };
                    self.take_data(start, length, extent.generation.into());
                }
            }
            _ => {}
        }
    }

    fn take_data(&mut self, start: u64, length: u64, generation: Transid) {
        let end = start.saturating_add(length);
        if generation > self.oldest && start < end && self.volume.chunks().find(Logical(start)).is_some() {
            self.newer.data.push(DataRange { start, end, generation });
        }
    }
}
