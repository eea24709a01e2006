//! Tree blocks through everything that reads one block.

use rbtrfs::block::verify::{Expected, Format};
use rbtrfs::block::{Block, BlockKind};
use rbtrfs::disk::{CsumType, Key, KeyType, objectid};
use rbtrfs::dump::Style;
use rbtrfs::dump::json::{Json, JsonLines};
use rbtrfs::dump::text::{Printer, Text};
use rbtrfs::dump::tree::Form;

use crate::mutate::Mutator;
use crate::random::Random;
use crate::small_image::{self, FSID, Options, PieceKind, SECTORSIZE};
use crate::{Target, assert_json};

/// Tree blocks of one kind from small images.
pub struct Blocks {
    leaves: bool,
    seeds: Vec<Vec<u8>>,
    values: Vec<u64>,
}

impl Blocks {
    pub fn leaves() -> Self {
        Self::new(true)
    }

    pub fn nodes() -> Self {
        Self::new(false)
    }

    fn new(leaves: bool) -> Self {
        let pieces = [4096, 16384]
            .into_iter()
            .flat_map(|nodesize| small_image::pieces(&Options { nodesize, ..Options::default() }));
        let blocks = pieces.filter(|piece| piece.kind == PieceKind::TreeBlock).map(|piece| piece.bytes);
        let seeds: Vec<_> = blocks.filter(|bytes| leaves == is_leaf(bytes)).collect();
        let values = seeds.iter().filter_map(|bytes| Block::new(bytes)).map(|block| block.logical().0).collect();
        Self { leaves, seeds, values }
    }
}

fn is_leaf(bytes: &[u8]) -> bool {
    Block::new(bytes).is_some_and(|block| block.level() == 0)
}

impl Target for Blocks {
    type Input = Vec<u8>;

    fn name(&self) -> &'static str {
        if self.leaves { "leaf" } else { "node" }
    }

    fn input(&self, mut random: Random) -> Vec<u8> {
        let mut block = random.pick(&self.seeds).clone();
        let mut mutator = Mutator { random, values: &self.values };
        if self.leaves && mutator.random.one_in(2) {
            mutator.new_leaf(&mut block);
        } else {
            mutator.block(&mut block);
        }
        CsumType::Crc32c.stamp(&mut block);
        block
    }

    fn run(&self, input: &Vec<u8>) {
        let nodesize = input.len() as u32;
        let format = Format { csum_type: CsumType::Crc32c, nodesize, sectorsize: SECTORSIZE, fsids: vec![FSID] };
        let Some(block) = Block::new(input) else { return };
        let _ = format.verify(input, &Expected::at(block.logical()));
        if let BlockKind::Node(node) = block.kind() {
            for ptr in node.ptrs() {
                let _ = format.verify(input, &Expected::child(ptr, block.level()));
            }
        }
        for (csum_type, plain) in [(CsumType::Crc32c, true), (CsumType::Xxhash, false), (CsumType::Sha256, false)] {
            let style = Style {
                hide_names: plain,
                csum_headers: !plain,
                csum_items: !plain,
                csum_type,
                sectorsize: SECTORSIZE,
                simple_quota: !plain,
            };
            let tree = plain.then_some(Key::new(objectid::FS_TREE, KeyType::ROOT_ITEM, 0));
            let mut text = Vec::new();
            let _ = Text { style }.block(&mut Printer::default(), tree, block, true, &mut text);
            let mut json = Vec::new();
            let _ = Json { style }.block(&mut (), tree, block, true, &mut json);
            assert_json(&json);
            let mut lines = Vec::new();
            let _ = JsonLines { style }.block(&mut (), tree, block, true, &mut lines);
            lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).for_each(assert_json);
        }
    }

    fn save(&self, input: &Vec<u8>, path: &std::path::Path) -> std::io::Result<()> {
        std::fs::write(path, input)
    }

    fn load(&self, path: &std::path::Path) -> std::io::Result<Vec<u8>> {
        std::fs::read(path)
    }
}
