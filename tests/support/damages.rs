//! Damage by chance, on all copies.

use rbtrfs::block::Block;
use rbtrfs::disk::Logical;
use rbtrfs::disk::flags::block_group::DATA;
use rbtrfs::disk::superblock::SUPER_OFFSETS;
use rbtrfs::image::Image;
use rbtrfs::tree::{Levels, TreeRoot, Walk};
use rbtrfs::volume::Volume;

use super::contents::{blocks, trees};
use super::inject::Injector;
use super::random::Random;

/// A filesystem that is to be damaged: what it holds, while it is whole.
pub struct Target<'i> {
    injector: &'i Injector,
    nodesize: usize,
    blocks: Vec<Logical>,
    /// Nodes, or the root of a tree that has none, and the tree.
    nodes: Vec<(u64, Vec<Logical>)>,
    /// Blocks of former states, with their owner and level.
    older: Vec<((u64, u8), Vec<u8>)>,
    chunk_root: Logical,
    /// Chunks of tree blocks.
    chunks: Vec<(Logical, u64)>,
}

impl<'i> Target<'i> {
    pub fn new(injector: &'i Injector) -> Self {
        let volume = injector.volume();
        let nodesize = volume.format().nodesize as usize;
        let mut all: Vec<Logical> = blocks(&volume).map(|expected| expected.logical).collect();
        all.sort_unstable();
        all.dedup();
        let chunks: Vec<_> = volume.chunks().iter().filter(|chunk| chunk.flags.0 & DATA == 0).collect();
        let chunks = chunks.into_iter().map(|chunk| (chunk.logical, chunk.length)).collect();
        let mut target = Self {
            injector,
            nodesize,
            nodes: nodes(&volume),
            older: Vec::new(),
            chunk_root: TreeRoot::chunk_tree(&volume).logical,
            blocks: all,
            chunks,
        };
        target.older = target.former_blocks(&volume);
        target
    }

    /// What stands in the free space of the chunks of tree blocks.
    fn former_blocks(&self, volume: &Volume) -> Vec<((u64, u8), Vec<u8>)> {
        let fsid = volume.superblock().metadata_fsid();
        let places = self.chunks.iter().flat_map(|(start, length)| (start.0..start.0 + length).step_by(self.nodesize));
        let free = places.map(Logical).filter(|place| self.blocks.binary_search(place).is_err());
        free.filter_map(|place| {
            let mut bytes = vec![0; self.nodesize];
            volume.read(place, 1, &mut bytes).ok()?;
            let block = Block::new(&bytes)?;
            let kind = (block.header().owner.get(), block.level());
            (block.header().fsid == fsid && block.logical() == place).then_some((kind, bytes))
        })
        .collect()
    }

    /// Damages `count` tree blocks. Returns what was done.
    pub fn damage_blocks(&self, count: usize, random: &mut Random) -> Vec<String> {
        (0..count).filter_map(|_| self.damage_block(random)).collect()
    }

    /// Damages one block. Nothing is done where the chunks are known no more.
    fn damage_block(&self, random: &mut Random) -> Option<String> {
        let injector = self.injector;
        let images = injector.images().iter().map(|image| Image::open_unmapped(image).unwrap()).collect();
        let volume = Volume::open(images).ok()?;
        let block = self.blocks[random.below(self.blocks.len())];
        volume.chunks().find(block)?;
        let mut there = vec![0; self.nodesize];
        volume.read(block, 1, &mut there).ok()?;
        drop(volume);
        Some(match random.below(7) {
            0 => {
                injector.block_unstamped(block, |bytes| bytes.fill(0));
                format!("{block} zeroed")
            }
            1 => {
                let (at, bit) = (random.below(self.nodesize), random.below(8));
                injector.block_unstamped(block, |bytes| bytes[at] ^= 1 << bit);
                format!("{block} bit {at}.{bit} flipped on the disk")
            }
            2 => {
                let (at, bit) = (32 + random.below(1000), random.below(8));
                injector.block(block, |bytes| bytes[at] ^= 1 << bit);
                format!("{block} bit {at}.{bit} flipped in memory")
            }
            3 => {
                let seed = random.next() | 1;
                injector.block_unstamped(block, |bytes| {
                    let mut noise = Random(seed);
                    bytes.iter_mut().for_each(|byte| *byte = noise.next() as u8);
                });
                format!("{block} overwritten")
            }
            4 => {
                injector.block(block, |bytes| {
                    let generation = Block::new(bytes).unwrap().generation().0;
                    bytes[80..88].copy_from_slice(&generation.saturating_sub(1).to_le_bytes());
                });
                format!("{block} of another generation")
            }
            5 => {
                let kind = Block::new(&there).map(|block| (block.header().owner.get(), block.level()));
                let of_kind: Vec<_> = self.older.iter().filter(|(of, _)| Some(*of) == kind).collect();
                let (_, older) = of_kind.get(random.below(of_kind.len()))?;
                injector.block(block, |bytes| {
                    bytes.copy_from_slice(older);
                    bytes[48..56].copy_from_slice(&block.0.to_le_bytes());
                });
                format!("{block} has an older block of its tree")
            }
            _ => {
                let other = self.blocks[random.below(self.blocks.len())];
                // Without the chunk root the other block would not be found.
                if [block, other].contains(&self.chunk_root) {
                    return None;
                }
                injector.swap_blocks(block, other);
                format!("{block} and {other} swapped")
            }
        })
    }

    /// Loses what much hangs on.
    pub fn damage_much(&self, random: &mut Random) -> String {
        match random.below(5) {
            0 | 1 => {
                let (tree, nodes) = &self.nodes[random.below(self.nodes.len())];
                let node = nodes[random.below(nodes.len())];
                self.injector.block_unstamped(node, |bytes| bytes.fill(0));
                format!("{node} of tree {tree} zeroed")
            }
            2 => {
                let kept = random.below(3);
                self.lose_superblocks(|mirror| mirror != kept);
                format!("all superblocks but that of mirror {kept} zeroed")
            }
            3 => {
                self.injector.block_unstamped(self.chunk_root, |bytes| bytes.fill(0));
                format!("{} of the chunk tree's root zeroed", self.chunk_root)
            }
            _ => {
                let (start, length) = self.chunks[random.below(self.chunks.len())];
                let inside = start..Logical(start.0 + length);
                let lost: Vec<_> = self.blocks.iter().filter(|block| inside.contains(block)).collect();
                for block in &lost {
                    // The chunk tree may be among them, without which the others have no place.
                    if *block != &self.chunk_root {
                        self.injector.block_unstamped(**block, |bytes| bytes.fill(0));
                    }
                }
                if inside.contains(&self.chunk_root) {
                    self.injector.block_unstamped(self.chunk_root, |bytes| bytes.fill(0));
                }
                format!("the chunk at {start} zeroed")
            }
        }
    }

    fn lose_superblocks(&self, is_lost: impl Fn(usize) -> bool) {
        for (image, path) in self.injector.images().iter().enumerate() {
            let size = std::fs::metadata(path).unwrap().len();
            let places = SUPER_OFFSETS.iter().enumerate().filter(|(mirror, at)| is_lost(*mirror) && at.0 < size);
            for (_, offset) in places {
                self.injector.bytes(image, offset.0, 4096, |bytes| bytes.fill(0));
            }
        }
    }
}

/// Nodes of each tree, or its root where it has none.
fn nodes(volume: &Volume) -> Vec<(u64, Vec<Logical>)> {
    let of_tree = |root: TreeRoot| {
        let walk = Walk::new(volume, root.expected(), Levels::All);
        let nodes: Vec<Logical> = walk.filter(|block| block.level > Some(0)).map(|block| block.logical).collect();
        (root.key.objectid, if nodes.is_empty() { vec![root.logical] } else { nodes })
    };
    trees(volume).into_iter().map(of_tree).collect()
}
