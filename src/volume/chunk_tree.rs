//! From the system chunk array to all chunks: the chunk tree.

use std::collections::{HashMap, HashSet};

use crate::block::verify::Expected;
use crate::block::{Block, BlockKind};
use crate::disk::flags::block_group;
use crate::disk::volume::{Chunk, DevItem, Stripe};
use crate::disk::{KeyType, Logical};
use crate::error::{Addressed, ChunkProblem, Error, NoGoodCopy, Result};

use super::chunk_map::{ChunkMap, ChunkMapping};
use super::chunk_search::{is_misplaced, search};
use super::device::Device;
use super::notice::Notice;
use super::opened::{Volume, path};
use super::root_choice::RootChoice;
use super::sys_chunk_array::Entries;

/// What the chunk tree says, as far as it can be read.
#[derive(Default)]
struct Items {
    chunks: Vec<(Logical, Vec<u8>)>,
    devices: Vec<DevItem>,
}

impl Volume {
    /// Fills the chunk map. The chunk tree is read through the chunks of the system chunk array, and where those do not
    /// lead to it, from where its blocks lie on the devices; where the two disagree, the tree is right. Chunks that make no sense are left out and noticed. Returns the
    /// device items.
    pub(super) fn load_chunks(&mut self, choice: &RootChoice) -> Result<Vec<DevItem>> {
        self.load_array();
        self.choose_chunk_root(choice)?;
        let superblock = &self.superblock;
        let root = Expected {
            level: Some(superblock.chunk_root_level),
            generation: Some(superblock.chunk_root_generation.into()),
            ..Expected::at(superblock.chunk_root())
        };
        let of_array = std::mem::take(&mut self.chunks);
        let mut items = self.read_chunk_tree(root, &of_array)?;
        // As they stand in a sound tree: each is added behind the others then, and none is moved.
        items.chunks.sort_by_key(|(logical, _)| *logical);
        self.refuse_strangers(&items)?;
        self.chunks = ChunkMap::default();
        for (logical, data) in items.chunks {
            match Chunk::read_with_stripes(&data) {
                Some((chunk, stripes, _)) => self.add_chunk(logical, chunk, stripes),
                None => self.notices.push(Notice::Chunk { logical, problem: ChunkProblem::TooShort }),
            }
        }
        self.compare_array(&of_array);
        for chunk in of_array {
            // What the tree maps otherwise is its to say.
            let _ = self.chunks.insert(chunk);
        }
        Ok(items.devices)
    }

    /// Fills the chunk map from the system chunk array.
    pub(super) fn load_array(&mut self) {
        let superblock = self.superblock.clone();
        for entry in Entries::new(superblock.sys_chunk_array()) {
            match entry {
                Ok(entry) => self.add_chunk(Logical(entry.key.offset), entry.chunk, entry.stripes),
                Err(bad) => {
                    let (offset, problem) = (bad.offset, bad.problem.to_string());
                    self.notices.push(Notice::SysChunkArray { offset, problem });
                }
            }
        }
    }

    /// Notices where the system chunk array would not lead the kernel to the SYSTEM chunks of the chunk tree, which are in
    /// the map by now. Of what cannot be read of either nothing is said.
    fn compare_array(&mut self, of_array: &ChunkMap) {
        let mut notices = Vec::new();
        let mut notice = |logical, problem| notices.push(Notice::SysChunk { logical, problem });
        let is_whole = !self.notices.iter().any(|notice| {
            matches!(notice, Notice::Chunk { .. } | Notice::ChunkTreeBlock { .. } | Notice::SysChunkArray { .. })
        });
        for chunk in of_array.iter() {
            match self.chunks.find(chunk.logical) {
                Some(of_tree) if of_tree == chunk => {}
                Some(_) => notice(chunk.logical, "is not as the chunk tree has it"),
                None if is_whole => notice(chunk.logical, "is not in the chunk tree"),
                None => {}
            }
        }
        for chunk in self.chunks.iter().filter(|chunk| is_whole && chunk.flags.contains(block_group::SYSTEM)) {
            if of_array.find(chunk.logical).is_none() {
                notice(chunk.logical, "is missing, which the chunk tree has");
            }
        }
        self.notices.extend(notices);
    }

    fn add_chunk(&mut self, logical: Logical, chunk: &Chunk, stripes: &[Stripe]) {
        let added = ChunkMapping::new(logical, chunk, stripes)
            .and_then(|chunk| self.chunks.insert(chunk).map_err(|(_, other)| ChunkProblem::Overlaps { other }));
        if let Err(problem) = added {
            self.notices.push(Notice::Chunk { logical, problem });
        }
    }

    /// A seed has its own fsid: that it is of this filesystem, only the chunk tree knows.
    fn refuse_strangers(&self, items: &Items) -> Result<()> {
        let is_whole = !self.notices.iter().any(|notice| matches!(notice, Notice::ChunkTreeBlock { .. }));
        let has_item = |uuid| items.devices.iter().any(|item| item.uuid == uuid);
        let is_stranger = |device: &&Device| device.fsid() != self.superblock.fsid && !has_item(device.uuid());
        match self.devices.iter().find(is_stranger) {
            Some(stranger) if is_whole => Err(Error::Unrelated {
                first: path(&self.devices[0]),
                second: path(stranger),
                problem: "devices of different filesystems",
            }),
            _ => Ok(()),
        }
    }

    /// The items of the chunk tree. A tree whose root is readable is read as far as it goes. The chunks that the blocks
    /// tell of lead to further blocks; those that no chunk leads to are searched for on the devices.
    fn read_chunk_tree(&mut self, root: Expected, of_array: &ChunkMap) -> Result<Items> {
        let mut tree = ChunkTree { pending: vec![root], seen: HashSet::from([root.logical]), ..ChunkTree::default() };
        let mut mapped = 0;
        self.chunks = of_array.clone();
        while !tree.pending.is_empty() {
            let lost = self.read_pending(&mut tree);
            if lost.is_empty() {
                break;
            }
            if tree.items.chunks.len() > mapped {
                mapped = tree.items.chunks.len();
                self.chunks = tree.items.map_over(of_array);
                tree.pending = lost.iter().map(|(expected, _)| *expected).collect();
                continue;
            }
            self.search_lost(lost, root, &mut tree)?;
        }
        self.notices.append(&mut tree.notices);
        Ok(tree.items)
    }

    /// Reads what is pending and all that it leads to. Returns the blocks of which no copy is good.
    fn read_pending(&self, tree: &mut ChunkTree) -> Vec<(Expected, NoGoodCopy)> {
        let mut lost = Vec::new();
        let mut buffer = Vec::new();
        while let Some(expected) = tree.pending.pop() {
            match self.read_block(&expected, &mut buffer) {
                Ok(read) => tree.take(read.block),
                Err(bad) => lost.push((expected, bad)),
            }
        }
        lost
    }

    /// Searches the devices for blocks that are misplaced, once for each.
    fn search_lost(&self, lost: Vec<(Expected, NoGoodCopy)>, root: Expected, tree: &mut ChunkTree) -> Result<()> {
        let mut problems: HashMap<Logical, NoGoodCopy> = HashMap::new();
        let mut misplaced = Vec::new();
        let mut gone = Vec::new();
        for (expected, bad) in lost {
            problems.insert(expected.logical, bad);
            match is_misplaced(self, expected.logical) {
                true => misplaced.push(expected),
                false => gone.push(expected),
            }
        }
        let of_no_chunk = |logical| NoGoodCopy { logical, bad: Vec::new() };
        let problem_of = |logical| problems.get(&logical).cloned().unwrap_or_else(|| of_no_chunk(logical));
        gone.extend(search(self, misplaced, |block, place| {
            let logical = block.logical();
            tree.notices.push(Notice::FoundBlock { logical, problem: problem_of(logical).to_string(), place });
            tree.take(block);
        }));
        for Expected { logical, .. } in gone {
            let bad = problem_of(logical);
            if logical == root.logical {
                return Err(Error::Block { what: Addressed::ChunkRoot, logical, problem: bad.into() });
            }
            tree.notices.push(Notice::ChunkTreeBlock { logical, problem: bad.to_string() });
        }
        Ok(())
    }
}

/// The chunk tree as far as it was read.
#[derive(Default)]
struct ChunkTree {
    pending: Vec<Expected>,
    /// Blocks that are or were pending.
    seen: HashSet<Logical>,
    items: Items,
    notices: Vec<Notice>,
}

impl ChunkTree {
    fn take(&mut self, block: Block<'_>) {
        match block.kind() {
            BlockKind::Node(node) => {
                for ptr in node.ptrs().iter().rev() {
                    let child = Expected::child(ptr, block.level());
                    if self.seen.insert(child.logical) {
                        self.pending.push(child);
                    } else {
                        let problem = "is in the tree twice".to_owned();
                        self.notices.push(Notice::ChunkTreeBlock { logical: child.logical, problem });
                    }
                }
            }
            BlockKind::Leaf(leaf) => {
                for item in leaf.items().flatten() {
                    match item.key.key_type {
                        KeyType::CHUNK_ITEM => self.items.chunks.push((Logical(item.key.offset), item.data.to_vec())),
                        KeyType::DEV_ITEM => {
                            self.items.devices.extend(DevItem::read_prefix(item.data).map(|(device, _)| *device));
                        }
                        _ => {}
                    }
                }
            }
        }
    }
}

impl Items {
    /// The chunks so far, and of the array what they do not contradict.
    fn map_over(&self, of_array: &ChunkMap) -> ChunkMap {
        let mut chunks = ChunkMap::default();
        let of_tree = self.chunks.iter().filter_map(|(logical, data)| {
            let (chunk, stripes, _) = Chunk::read_with_stripes(data)?;
            ChunkMapping::new(*logical, chunk, stripes).ok()
        });
        for chunk in of_tree.chain(of_array.iter().cloned()) {
            // Of two that overlap the first counts.
            let _ = chunks.insert(chunk);
        }
        chunks
    }
}
