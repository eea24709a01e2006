//! The kernel's own blocks as the judge: made anew of their items in any order, they are the same bytes.

use rbtrfs::block::edit::{LeafMut, NewBlock, NewItem, NodeMut, clear_unused, transfer};
use rbtrfs::block::{Block, BlockKind};
use rbtrfs::disk::flags::header::RELOC;

use super::Random;
use crate::support::contents::*;
use crate::support::*;

/// The first bytes of each block are its checksum.
const CSUM_END: usize = 32;

fn made_anew(block: Block<'_>, random: &mut Random) -> Vec<u8> {
    let header = block.header();
    let new = || {
        let mut bytes = vec![0xff; block.bytes().len()];
        let header = NewBlock {
            logical: block.logical(),
            level: block.level(),
            generation: block.generation(),
            owner: header.owner.get(),
            fsid: header.fsid,
            chunk_tree_uuid: header.chunk_tree_uuid,
        };
        header.write(&mut bytes).unwrap();
        bytes
    };
    let mut order: Vec<usize> = (0..block.count()).collect();
    for index in 1..order.len() {
        order.swap(index, random.below(index + 1));
    }
    let mut bytes = new();
    for slot in order {
        let at = Block::new(&bytes).unwrap().slot_of(block.key(slot).unwrap());
        match block.kind() {
            BlockKind::Leaf(leaf) => {
                let item = leaf.item(slot).unwrap();
                LeafMut::new(&mut bytes).unwrap().insert(at, &[NewItem { key: item.key, data: item.data }]).unwrap();
            }
            BlockKind::Node(node) => NodeMut::new(&mut bytes).unwrap().insert(at, &[node.ptrs()[slot]]).unwrap(),
        }
    }
    // There and back, in parts.
    let (count, mut other) = (block.count(), new());
    let cut = random.below(count + 1);
    transfer(&mut other, 0, &mut bytes, cut..count).unwrap();
    transfer(&mut other, 0, &mut bytes, 0..cut).unwrap();
    other
}

#[test]
fn blocks_are_those_that_the_kernel_writes() {
    let mut random = Random(10);
    for name in kernel_image_names("blocks_are_those_that_the_kernel_writes") {
        let Some(images) = kernel_image_or_skip(&name) else { return };
        let volume = open(&images);
        let mut buffer = Vec::new();
        let mut compared = 0;
        for expected in blocks(&volume) {
            let Ok(read) = volume.read_block(&expected, &mut buffer) else { continue };
            if read.block.header().flag_bits() & RELOC != 0 {
                continue;
            }
            let anew = made_anew(read.block, &mut random);
            let mut bytes = read.block.bytes().to_vec();
            clear_unused(&mut bytes).unwrap();
            assert!(anew[CSUM_END..] == bytes[CSUM_END..], "{name}: block {}", expected.logical);
            compared += 1;
        }
        assert!(compared > 5, "{name}: {compared} blocks");
    }
}
