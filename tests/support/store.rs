//! Blocks in memory, with reference counts: the simplest store that knows snapshots.

use std::collections::{BTreeMap, HashMap};

use rbtrfs::block::edit::NewBlock;
use rbtrfs::block::item::{Rules, check_block};
use rbtrfs::block::verify::{Expected, Format};
use rbtrfs::block::{Block, BlockKind};
use rbtrfs::disk::fields::Uuid;
use rbtrfs::disk::{CsumType, Key, Logical, Superblock, Transid};
use rbtrfs::error::{AddressProblem, Addressed, Error, Result};
use rbtrfs::finding::Finding;
use rbtrfs::tree::TreeRoot;
use rbtrfs::tree::edit::Blocks;

const FSID: Uuid = Uuid([7; 16]);
/// A tree of which the checks know nothing, which holds any items and may be empty.
pub const TREE: u64 = 100;

struct Stored {
    bytes: Box<[u8]>,
    /// Pointers and roots that lead here.
    refs: usize,
}

pub struct Store {
    nodesize: u32,
    pub generation: Transid,
    next: Logical,
    blocks: HashMap<Logical, Stored>,
    /// Blocks that were copied.
    pub copied: usize,
    /// Allocations until there is no more space.
    pub space: usize,
}

fn children(bytes: &[u8]) -> Vec<Expected> {
    let block = Block::new(bytes).unwrap();
    match block.kind() {
        BlockKind::Leaf(_) => Vec::new(),
        BlockKind::Node(node) => node.ptrs().iter().map(|ptr| Expected::child(ptr, block.level())).collect(),
    }
}

impl Store {
    pub fn new(nodesize: u32) -> Self {
        let (generation, next) = (Transid(1), Logical(1 << 20));
        Self { nodesize, generation, next, blocks: HashMap::new(), copied: 0, space: usize::MAX }
    }

    fn address(&mut self) -> Result<Logical> {
        let problem = || Error::NoSpace { what: "metadata", wanted: self.nodesize.into(), left: 0 };
        self.space = self.space.checked_sub(1).ok_or_else(problem)?;
        self.next.0 += u64::from(self.nodesize);
        Ok(self.next)
    }

    fn header(&self, logical: Logical, level: u8) -> NewBlock {
        let generation = self.generation;
        NewBlock { logical, level, generation, owner: TREE, fsid: FSID, chunk_tree_uuid: Uuid([9; 16]) }
    }

    pub fn bytes(&self, logical: Logical) -> &[u8] {
        &self.blocks[&logical].bytes
    }

    /// Puts arbitrary bytes in the place of a block.
    pub fn put(&mut self, logical: Logical, bytes: &[u8]) {
        self.blocks.insert(logical, Stored { bytes: bytes.into(), refs: 1 });
    }

    pub fn addresses(&self) -> Vec<Logical> {
        let mut addresses: Vec<_> = self.blocks.keys().copied().collect();
        addresses.sort();
        addresses
    }

    /// Keeps the tree as it is, and begins another transaction.
    pub fn snapshot(&mut self, root: &TreeRoot) -> TreeRoot {
        self.blocks.get_mut(&root.logical).unwrap().refs += 1;
        self.generation.0 += 1;
        *root
    }

    pub fn drop_tree(&mut self, logical: Logical) {
        let block = self.blocks.get_mut(&logical).unwrap();
        block.refs -= 1;
        if block.refs == 0 {
            let block = self.blocks.remove(&logical).unwrap();
            for child in children(&block.bytes) {
                self.drop_tree(child.logical);
            }
        }
    }

    fn is_editable(&self, logical: Logical) -> bool {
        let block = &self.blocks[&logical];
        block.refs == 1 && Block::new(&block.bytes).unwrap().generation() == self.generation
    }

    /// All items of a tree, from the blocks themselves.
    pub fn items(&self, root: Logical) -> BTreeMap<Key, Vec<u8>> {
        let block = Block::new(self.bytes(root)).unwrap();
        match block.kind() {
            BlockKind::Leaf(leaf) => {
                leaf.items().map(|item| item.unwrap()).map(|item| (item.key, item.data.to_vec())).collect()
            }
            BlockKind::Node(_) => {
                children(self.bytes(root)).iter().flat_map(|child| self.items(child.logical)).collect()
            }
        }
    }

    /// The checksums of all blocks of a tree.
    pub fn sums(&self, root: Logical) -> Vec<(Logical, u32)> {
        let mut sums = vec![(root, crc(self.bytes(root)))];
        for child in children(self.bytes(root)) {
            sums.extend(self.sums(child.logical));
        }
        sums
    }

    /// Verifies trees and the store: all that the format says of blocks and keys, and that each block is in the trees as
    /// often as its reference count says. Returns how full the leaves of the first tree are, from 0 to 1.
    pub fn verify(&self, roots: &[TreeRoot]) -> f64 {
        let format =
            Format { csum_type: CsumType::Crc32c, nodesize: self.nodesize, sectorsize: 4096, fsids: vec![FSID] };
        let mut superblock = Superblock::zeroed();
        superblock.generation = self.generation.0.into();
        let rules = Rules::new(&format, &superblock);
        let mut seen: HashMap<Logical, usize> = HashMap::new();
        let (mut used, mut room) = (0, 0);
        for (index, root) in roots.iter().enumerate() {
            let mut previous = None;
            let mut pending = vec![root.expected()];
            while let Some(expected) = pending.pop() {
                let uses = seen.entry(expected.logical).or_default();
                *uses += 1;
                if *uses > 1 {
                    // What is shared was looked at already, and its keys must not be taken for those that follow.
                    previous = Block::new(self.bytes(expected.logical)).unwrap().first_key();
                    continue;
                }
                let mut bytes = self.bytes(expected.logical).to_vec();
                format.csum_type.stamp(&mut bytes);
                let block = format.verify(&bytes, &expected).unwrap_or_else(|error| panic!("{expected:?}: {error}"));
                assert_eq!(block.header().flags.get(), 1 << 56 | 1);
                check_block(block, TREE, &rules, &mut |problem| {
                    assert_eq!(problem.code(), "item-type-new", "{problem}");
                });
                assert!(block.nritems() > 0 || expected.logical == root.logical, "{expected:?} is empty");
                match block.kind() {
                    BlockKind::Leaf(leaf) => {
                        assert!(
                            previous.is_none_or(|previous| Some(previous) < block.first_key()),
                            "order over leaves"
                        );
                        previous = block.last_key();
                        let data = leaf.headers().last().map_or(leaf.data_size(), |item| item.offset.get()) as usize;
                        let gap = &bytes[101 + 25 * leaf.headers().len()..101 + data];
                        assert!(gap.iter().all(|byte| *byte == 0), "unused bytes of {expected:?}");
                        if index == 0 {
                            (used, room) = (used + block.used(), room + block.capacity());
                        }
                    }
                    BlockKind::Node(node) => {
                        let gap = &bytes[101 + 33 * node.ptrs().len()..];
                        assert!(gap.iter().all(|byte| *byte == 0), "unused bytes of {expected:?}");
                        assert!(block.nritems() > 1 || expected.logical != root.logical, "a root with one child");
                        pending.extend(children(&bytes).into_iter().rev());
                    }
                }
            }
        }
        for (logical, block) in &self.blocks {
            assert_eq!(seen.get(logical), Some(&block.refs), "uses and references of block {logical}");
        }
        assert_eq!(seen.len(), self.blocks.len(), "blocks in trees and in the store");
        used as f64 / room as f64
    }
}

fn crc(bytes: &[u8]) -> u32 {
    u32::from_le_bytes(*CsumType::Crc32c.compute(bytes).first_chunk().unwrap())
}

fn missing(logical: Logical) -> Error {
    Error::Block { what: Addressed::TreeBlock, logical, problem: AddressProblem::NotEditable }
}

impl Blocks for Store {
    type Bytes<'b> = &'b [u8];

    fn read(&self, expected: &Expected) -> Result<&[u8]> {
        self.blocks.get(&expected.logical).map(|block| &*block.bytes).ok_or(missing(expected.logical))
    }

    fn make_editable(&mut self, tree: u64, expected: &Expected, parent: Option<Logical>) -> Result<Logical> {
        assert_eq!(tree, TREE);
        assert!(parent.is_none_or(|parent| self.is_editable(parent)));
        if !self.blocks.contains_key(&expected.logical) {
            return Err(missing(expected.logical));
        }
        if self.is_editable(expected.logical) {
            return Ok(expected.logical);
        }
        let copy = self.address()?;
        let mut bytes = self.bytes(expected.logical).to_vec();
        bytes[48..56].copy_from_slice(&copy.0.to_le_bytes());
        bytes[80..88].copy_from_slice(&self.generation.0.to_le_bytes());
        // As btrfs-progs leaves them.
        let block = Block::new(&bytes).unwrap();
        let element = if block.level() == 0 { 25 } else { 33 };
        if block.room() > 0 {
            let unused = 101 + element * block.count();
            bytes[unused] = 0xff;
        }
        let original = self.blocks.get_mut(&expected.logical).unwrap();
        original.refs -= 1;
        if original.refs == 0 {
            self.blocks.remove(&expected.logical);
        } else {
            for child in children(&bytes) {
                self.blocks.get_mut(&child.logical).unwrap().refs += 1;
            }
        }
        self.put(copy, &bytes);
        self.copied += 1;
        Ok(copy)
    }

    fn bytes_mut<const N: usize>(&mut self, blocks: [Logical; N]) -> Result<[&mut [u8]; N]> {
        assert!(blocks.iter().all(|block| self.is_editable(*block)), "a block is changed that is not editable");
        let blocks = self.blocks.get_disjoint_mut(blocks.each_ref());
        Ok(blocks.map(|block| &mut *block.unwrap().bytes))
    }

    fn allocate(&mut self, tree: u64, level: u8, _first_key: Key) -> Result<Logical> {
        assert_eq!(tree, TREE);
        let logical = self.address()?;
        let mut bytes = vec![0xff; self.nodesize as usize];
        self.header(logical, level).write(&mut bytes).unwrap();
        self.put(logical, &bytes);
        Ok(logical)
    }

    fn free(&mut self, tree: u64, block: Logical, level: u8) {
        assert_eq!(tree, TREE);
        assert!(self.is_editable(block));
        let freed = self.blocks.remove(&block).unwrap();
        assert_eq!(Block::new(&freed.bytes).unwrap().level(), level);
    }
}
